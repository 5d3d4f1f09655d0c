# While machines are upgraded, the release before deletes what it does not know (docs/operations.md).

from django.db import migrations

from core.db.foreign_keys import DeleteInDatabase


class Migration(migrations.Migration):
    # It can be repeated, and locks the tables of one foreign key at a time.
    atomic = False

    dependencies = [
        ('rules', '0001_initial'),
    ]

    operations = [
        DeleteInDatabase('rule', 'owner'),
        DeleteInDatabase('ruledestination', 'address'),
        DeleteInDatabase('ruledestination', 'rule'),
    ]
