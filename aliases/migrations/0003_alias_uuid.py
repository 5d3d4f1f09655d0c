import uuid

from django.db import migrations, models

BATCH = 5_000


def give_each_its_own(apps, schema_editor):
    """A column's default is computed once for all rows: these need one each."""
    connection = schema_editor.connection
    alias = apps.get_model("aliases", "Alias")
    field = alias._meta.get_field("uuid")
    table, key, column = map(
        connection.ops.quote_name, (alias._meta.db_table, alias._meta.pk.column, field.column)
    )
    rows = alias.objects.using(connection.alias).filter(uuid=None).order_by("pk").values_list("pk", flat=True)
    last = 0
    while keys := list(rows.filter(pk__gt=last)[:BATCH]):
        last = keys[-1]
        values = [(field.get_db_prep_value(uuid.uuid4(), connection), pk) for pk in keys]
        with connection.cursor() as cursor:
            cursor.executemany(f"UPDATE {table} SET {column} = %s WHERE {key} = %s", values)  # noqa: S608


class Migration(migrations.Migration):

    dependencies = [
        ('aliases', '0002_expiry'),
    ]

    operations = [
        migrations.AddField(
            model_name='alias',
            name='uuid',
            field=models.UUIDField(editable=False, null=True),
        ),
        migrations.RunPython(give_each_its_own, migrations.RunPython.noop),
        migrations.AlterField(
            model_name='alias',
            name='uuid',
            field=models.UUIDField(default=uuid.uuid4, editable=False, unique=True),
        ),
    ]
