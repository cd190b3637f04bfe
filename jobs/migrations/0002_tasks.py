"""Make a job the record of any task, and convert the jobs that are there already."""

import json

from django.db import migrations, models


def convert(apps, schema_editor):
    """The requests that a job has sent become its steps, its message the first of several."""
    Job = apps.get_model("jobs", "Job")
    for job in Job.objects.iterator():
        job.task = "jobs.tasks.long_task"
        job.args = [job.target_url]
        job.options = {"steps": 10, "retries": 3, "retry_delay": "1000 * pow(2, retried)", "timeout": 25}
        job.steps_total = 10
        job.log = [
            {"number": sent["number"], "at": sent["at"], "text": f"HTTP {sent['status']}"}
            for sent in json.loads(job.requests)
            if 200 <= sent.get("status", 0) <= 299
        ]
        if job.message_id:
            at = round(job.created_at.timestamp(), 3)
            job.messages = [{"id": job.message_id, "at": at}]
        job.last_attempted_at = job.started_at
        job.save()


class Migration(migrations.Migration):
    dependencies = [("jobs", "0001_initial")]

    operations = [
        migrations.RemoveIndex(model_name="job", name="recent"),
        migrations.RenameField(model_name="job", old_name="visitor", new_name="owner"),
        migrations.RenameField(model_name="job", old_name="sent", new_name="steps_done"),
        migrations.AddField(
            "job",
            "task",
            models.CharField(
                default="jobs.tasks.long_task",
                help_text="import path, such as jobs.tasks.long_task",
                max_length=255,
            ),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name='job',
            name='args',
            field=models.JSONField(default=list),
        ),
        migrations.AddField(
            model_name='job',
            name='backend',
            field=models.CharField(default='default', max_length=64),
        ),
        migrations.AddField(
            model_name='job',
            name='errors',
            field=models.JSONField(default=list, help_text='[{attempt, at, text, exception, traceback}]'),
        ),
        migrations.AddField(
            model_name='job',
            name='kwargs',
            field=models.JSONField(default=dict),
        ),
        migrations.AddField(
            model_name='job',
            name='last_attempted_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='job',
            name='log',
            field=models.JSONField(default=list, help_text='[{number, at: unix s, text}]'),
        ),
        migrations.AddField(
            model_name='job',
            name='messages',
            field=models.JSONField(default=list, help_text='[{id, at: unix s}], the newest last'),
        ),
        migrations.AddField(
            model_name='job',
            name='options',
            field=models.JSONField(default=dict, help_text='{steps, retries, retry_delay, timeout}'),
        ),
        migrations.AddField(
            model_name='job',
            name='queue_name',
            field=models.CharField(default='default', max_length=128),
        ),
        migrations.AddField(
            model_name='job',
            name='return_value',
            field=models.JSONField(null=True),
        ),
        migrations.AddField(
            model_name='job',
            name='run_after',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='job',
            name='steps_total',
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='job',
            name='workers',
            field=models.JSONField(default=list, help_text='which process made each attempt'),
        ),
        migrations.AlterField(
            model_name='job',
            name='attempts',
            field=models.PositiveIntegerField(default=0, help_text='at the newest message'),
        ),
        migrations.AlterField(
            model_name='job',
            name='error',
            field=models.TextField(blank=True, help_text='what went wrong last, for people'),
        ),
        migrations.AlterField(
            model_name='job',
            name='owner',
            field=models.CharField(blank=True, max_length=64),
        ),
        migrations.AlterField(
            model_name='job',
            name='status',
            field=models.CharField(choices=[('not_sent', 'not sent'), ('queued', 'queued'), ('running', 'running'), ('waiting', 'waiting for the next attempt'), ('succeeded', 'succeeded'), ('failed', 'failed'), ('cancelled', 'cancelled')], default='not_sent', max_length=10),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(fields=['owner', '-created_at'], name='recent'),
        ),
        migrations.RunPython(convert, migrations.RunPython.noop, elidable=True),
        migrations.RemoveField(
            model_name='job',
            name='message_id',
        ),
        migrations.RemoveField(
            model_name='job',
            name='requests',
        ),
        migrations.RemoveField(
            model_name='job',
            name='target_url',
        ),
    ]
