"""Note when a job has changed, which publishes failed, and how long it has worked."""

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0002_tasks'),
    ]

    operations = [
        migrations.AddField(
            model_name='job',
            name='changed_at',
            field=models.DateTimeField(db_index=True, default=django.utils.timezone.now),
        ),
        migrations.AddField(
            model_name='job',
            name='refusals',
            field=models.JSONField(default=list, help_text='[{at, text}]: publishes that failed'),
        ),
        migrations.AddField(
            model_name='job',
            name='worked_seconds',
            field=models.FloatField(default=0, help_text='in the attempts that have ended'),
        ),
    ]
