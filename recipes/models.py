"""What the examples keep beside their jobs: the day's mails, uploads and their files.

No message passes here. A job's message carries an upload's id, never the image.
"""

from datetime import date

from django.conf import settings
from django.db import models
from django.db.models import F
from django.utils import timezone


class MailDay(models.Model):
    """How many mails were asked for on a day (UTC), so that a public site floods nobody."""

    day = models.DateField(primary_key=True)
    count = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.count} mails on {self.day}"


def today() -> date:
    return timezone.now().date()


def take_mails(wanted: list[int]) -> list[bool]:
    """Count so many mails against today's limit; False where they would exceed it.

    The writer calls this with the arguments of everybody who waits (groupcommit/writer.py).
    """
    day, most = today(), settings.EMAIL_MOST_A_DAY
    MailDay.objects.filter(day__lt=day).delete()
    MailDay.objects.bulk_create([MailDay(day=day)], ignore_conflicts=True)
    row = MailDay.objects.filter(day=day)
    return [
        row.filter(count__lte=most - number).update(count=F("count") + number) == 1
        for number in wanted
    ]
