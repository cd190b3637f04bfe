"""What a bin has caught.

A message's ten requests end here unless they were given another target: each is a row, kept
to be looked at, until 500 newer ones have come.
"""

import json
from typing import Self

from django.db import models
from django.utils import timezone

LARGEST_BODY = 64 * 1024
KEPT = 500
LONGEST_METHOD = 16


class EntryQuerySet(models.QuerySet["Entry"]):
    def bin(self, name: str) -> Self:
        """A bin's entries, newest first."""
        return self.filter(bin=name).order_by("-id")

    def drop_oldest(self, name: str) -> int:
        """Delete what lies beyond the newest 500 of a bin; how many that were."""
        beyond = self.bin(name).values_list("id", flat=True)[KEPT : KEPT + 1].first()
        return self.filter(bin=name, id__lte=beyond).delete()[0] if beyond else 0


class Entry(models.Model):
    """One caught request."""

    bin = models.CharField(max_length=64)
    at = models.DateTimeField(default=timezone.now)
    method = models.CharField(max_length=LONGEST_METHOD)
    path = models.TextField()
    headers = models.JSONField(default=list, help_text="[[name, value], …]")
    body = models.BinaryField()
    truncated = models.BooleanField(default=False)

    objects = EntryQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["bin", "-id"], name="newest_of_bin")]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def text(self) -> str:
        """The body for reading: JSON indented, bytes that are no text replaced."""
        text = bytes(self.body).decode(errors="replace")
        try:
            pretty = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
            pretty.encode()  # fails for half a surrogate pair, which no page can hold
        except (ValueError, RecursionError):
            return text
        return pretty
