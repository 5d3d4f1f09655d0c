# While machines are upgraded, the release before deletes what it does not know (docs/operations.md).

from django.db import migrations

from core.db.foreign_keys import DeleteInDatabase


class Migration(migrations.Migration):
    dependencies = [
        ('mail', '0002_destination_key'),
    ]

    operations = [
        DeleteInDatabase('destinationkey', 'destination'),
    ]
