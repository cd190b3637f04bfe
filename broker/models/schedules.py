"""Schedules: messages that are published repeatedly.

A schedule is a publish request kept for later; firing.py publishes it whenever its cron
expression says so. What it has published is a message like any other.
"""

from django.db import models
from django.db.models import Q

from broker.clock import now_ms


class Schedule(models.Model):
    """A destination, options, a body, and when; `next_at` is null while paused."""

    account = models.CharField(max_length=64)
    schedule_id = models.CharField(max_length=255)
    cron = models.CharField(max_length=255)
    destination = models.TextField()
    options = models.JSONField(default=dict, help_text="publish options, {name: [value, …]}")
    body = models.BinaryField(default=bytes)
    caller_ip = models.CharField(max_length=45, blank=True)
    created_at = models.BigIntegerField(default=now_ms)
    paused = models.BooleanField(default=False)
    next_at = models.BigIntegerField(null=True)
    last_at = models.BigIntegerField(null=True)
    last_messages = models.JSONField(default=list, help_text="ids published by the last trigger")
    error = models.TextField(blank=True, help_text="why the last trigger published nothing")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["account", "schedule_id"], name="one_schedule")
        ]
        indexes = [
            models.Index(
                fields=["next_at"], condition=Q(next_at__isnull=False), name="due_schedule"
            )
        ]

    def __str__(self) -> str:
        return self.schedule_id
