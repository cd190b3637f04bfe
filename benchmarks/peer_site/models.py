"""What every queue keeps of a job here: how far it has come, and when it ended."""

from django.db import models


class Job(models.Model):
    status = models.CharField(max_length=10, default="queued", db_index=True)
    steps_done = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.id}: {self.status}"
