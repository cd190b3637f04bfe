"""What a bin has caught.

The ten requests of a job end here unless they have another target. Each is a row, kept until
500 newer ones have come to its bin.
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
        """Delete all but the newest 500 entries of a bin, and return how many were deleted."""
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
        """The body for reading: JSON is indented, bytes that are not UTF-8 are replaced."""
        text = bytes(self.body).decode(errors="replace")
        try:
            pretty = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
            pretty.encode()  # fails for half a surrogate pair, which a page cannot contain
        except (ValueError, RecursionError):
            return text
        return pretty
