"""What a bin has caught, and what it answers.

The ten requests of a job end here unless they have another target. Each is a row, kept until
500 newer ones have come to its bin or retention.py deletes it for its age.
"""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple, Self

from django.db import models
from django.db.models import Count, F, Max
from django.db.models.functions import Substr
from django.utils import timezone

from catcher.bodies import shown
from groupcommit.statements import insert_all

LARGEST_BODY = 64 * 1024
KEPT = 500
LONGEST_METHOD = 16
# What a bin may be told to answer.
LARGEST_ANSWER = 16 * 1024
LONGEST_DELAY_SECONDS = 30
EXCERPT_BYTES = 120
LONGEST_BRIEF = 120
# `<id>-<step>`, as the keys of a job's requests are.
STEP = re.compile(r"-([0-9]{1,6})$")


class EntryQuerySet(models.QuerySet["Entry"]):
    def bin(self, name: str) -> Self:
        """A bin's entries, newest first."""
        return self.filter(bin=name).order_by("-id")

    def rows(self) -> Self:
        """Entries without their headers, with the beginnings of their bodies as `excerpt`."""
        beginning = Substr("body", 1, EXCERPT_BYTES, output_field=models.BinaryField())
        return self.defer("headers", "body").annotate(beginning=beginning)

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
    # What has a `db_default` came later; the version before stores entries without it.
    status = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="what was answered"
    )
    size = models.PositiveIntegerField(
        default=0, db_default=0, help_text="bytes that the row takes, about"
    )
    replayed = models.BooleanField(
        default=False, db_default=False, help_text="copied from an older entry"
    )
    signature_fits = models.BooleanField(null=True, help_text="null without a signature")
    verdict = models.TextField(
        blank=True, default="", db_default="", help_text="on the signature, when it came"
    )

    objects = EntryQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["bin", "-id"], name="newest_of_bin"),
            models.Index(fields=["at", "size"], name="oldest_entries"),
        ]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def header(self, name: str) -> str:
        """The value of a header, in any case; empty if there is none."""
        return next((str(v) for n, v in self.headers if str(n).lower() == name), "")

    @property
    def text(self) -> str:
        """The body for reading."""
        return shown(self.body, self.header("content-type")).text

    @property
    def own_path(self) -> str:
        """The path below the bin's own, beginning with `/` or, without one, with `?`."""
        return self.path.removeprefix(f"/catcher/{self.bin}") or "/"

    @property
    def excerpt(self) -> str:
        """The beginning of the body in one line, for a list; needs `rows()`."""
        body = bytes(self.__dict__.get("beginning") or b"")
        text, kind, _ = shown(body)
        return "binary data" if kind == "binary" else " ".join(text.split())

    @property
    def brief(self) -> str:
        """What tells this request from others like it: the path below the bin, the number at the
        end of its Idempotency-Key, and the beginning of the body. Needs `rows()` with headers.
        """
        step = STEP.search(self.header("idempotency-key"))
        parts = [self.own_path[:LONGEST_BRIEF], f"step {step[1]}" if step else "", self.excerpt]
        return " ".join(part for part in parts if part not in {"", "/"})[:LONGEST_BRIEF] or "/"


class Bin(models.Model):
    """What a bin answers, if somebody has chosen it. A bin without a row answers 200."""

    name = models.CharField(primary_key=True, max_length=64)
    status = models.PositiveSmallIntegerField(default=200)
    delay_seconds = models.FloatField(default=0)
    body = models.TextField(blank=True)
    revision = models.PositiveIntegerField(default=0, help_text="goes up with every change")
    changed_at = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return f"bin {self.name}"

    @classmethod
    def named(cls, name: str) -> "Bin":
        """A bin, with or without a row."""
        return cls.objects.filter(name=name).first() or cls(name=name)


class Version(NamedTuple):
    """How a bin is: its newest entry, how many it has, how often it was changed."""

    newest: int
    total: int
    revision: int

    def __str__(self) -> str:
        return "-".join(map(str, self))

    @classmethod
    def parsed(cls, text: str) -> "Version | None":
        """The version that a page sends; None for anything else."""
        parts = text.split("-")
        if len(parts) == 3 and all(p.isascii() and p.isdigit() and len(p) < 18 for p in parts):
            return cls(*map(int, parts))
        return None


def version_of(name: str) -> Version:
    """How a bin is now."""
    numbers = Entry.objects.filter(bin=name).aggregate(newest=Max("id"), total=Count("id"))
    revision = Bin.objects.filter(name=name).values_list("revision", flat=True).first()
    return Version(numbers["newest"] or 0, numbers["total"], revision or 0)


class Summary(NamedTuple):
    """A bin in a list: its name, how many requests it has, when the newest came."""

    name: str
    total: int
    newest_at: datetime | None


def summaries(names: Iterable[str]) -> list[Summary]:
    """Bins in the order of their names' list."""
    names = list(names)
    numbers = Entry.objects.filter(bin__in=names).values("bin").order_by()
    found = {
        row["bin"]: (row["total"], row["newest_at"])
        for row in numbers.annotate(total=Count("id"), newest_at=Max("at"))
    }
    return [Summary(name, *found.get(name, (0, None))) for name in names]


# The writer calls these with the arguments of everybody who waits (groupcommit/writer.py).


def keep(entries: list[Entry]) -> list[Bin]:
    """Store entries, delete the oldest of their bins, and return the bins, which may be unsaved.

    An entry without a status gets its bin's.
    """
    names = {entry.bin for entry in entries}
    bins = {name: Bin(name=name) for name in names} | Bin.objects.in_bulk(names)
    for entry in entries:
        entry.status = entry.status or bins[entry.bin].status
    insert_all(entries)
    for name in names:
        Entry.objects.drop_oldest(name)
    return [bins[entry.bin] for entry in entries]


def clear(names: list[str]) -> list[int]:
    """Delete all entries of bins; how many of each."""
    deleted = [Entry.objects.filter(bin=name)._raw_delete("default") for name in names]
    change([(name, {}) for name in names])
    return deleted


def change(changes: list[tuple[str, dict[str, Any]]]) -> list[None]:
    """Set what bins answer, or only say that they have changed."""
    for name, values in changes:
        Bin.objects.bulk_create([Bin(name=name)], ignore_conflicts=True)
        changed = values | {"revision": F("revision") + 1, "changed_at": timezone.now()}
        Bin.objects.filter(name=name).update(**changed)
    return [None] * len(changes)
