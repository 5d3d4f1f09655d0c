# While machines are upgraded, the release before deletes what it does not know (docs/operations.md).

from django.db import migrations

from core.db.foreign_keys import DeleteInDatabase


class Migration(migrations.Migration):
    # It can be repeated, and locks the tables of one foreign key at a time.
    atomic = False

    dependencies = [
        ('aliases', '0005_name_space_note'),
    ]

    operations = [
        DeleteInDatabase('namespace', 'domain'),
        DeleteInDatabase('namespace', 'owner'),
        DeleteInDatabase('namerule', 'address'),
        DeleteInDatabase('namerule', 'space'),
    ]
