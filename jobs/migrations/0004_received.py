"""Keep what a page may show of the newest request that brought a job its message."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0003_what_pages_show")]

    operations = [
        migrations.AddField(
            "job",
            "received",
            models.JSONField(default=dict, help_text="{headers, claims}: the newest request"),
        ),
    ]
