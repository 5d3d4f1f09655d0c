import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0002_destination_only'),
    ]

    operations = [
        migrations.CreateModel(
            name='Identity',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('issuer', models.CharField(editable=False, max_length=255, verbose_name='issuer')),
                ('subject', models.CharField(editable=False, max_length=255, verbose_name='subject')),
                ('gave_admin', models.BooleanField(default=False, editable=False, verbose_name='makes a global admin')),
                ('gave_domains', models.JSONField(default=list, editable=False)),
                ('created', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='connected')),
                ('last_used', models.DateTimeField(editable=False, null=True, verbose_name='last used')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='identities', to=settings.AUTH_USER_MODEL, verbose_name='user')),
            ],
            options={
                'verbose_name': 'connected account',
                'verbose_name_plural': 'connected accounts',
                'ordering': ['pk'],
                'constraints': [models.UniqueConstraint(fields=('issuer', 'subject'), name='identity_unique')],
            },
        ),
    ]
