# While machines are upgraded, the release before deletes what it does not know (docs/operations.md).

from django.db import migrations

from core.db.foreign_keys import DeleteInDatabase


class Migration(migrations.Migration):
    dependencies = [
        ('aliases', '0005_name_space_note'),
    ]

    operations = [
        DeleteInDatabase('namespace', 'domain'),
        DeleteInDatabase('namespace', 'owner'),
        DeleteInDatabase('namerule', 'address'),
        DeleteInDatabase('namerule', 'space'),
    ]
