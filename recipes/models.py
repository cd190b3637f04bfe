"""What the examples keep beside their jobs: the day's mails, uploads and their files.

No message passes here. A job's message carries an upload's id, never the image.
"""

import secrets
from datetime import date, datetime
from typing import Any, Self

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import models
from django.db.models import F
from django.db.models.signals import post_delete
from django.dispatch import receiver
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


class StoredFile(models.Model):
    """A file of `storage.DatabaseStorage`."""

    name = models.CharField(primary_key=True, max_length=255)
    content = models.BinaryField()
    size = models.PositiveIntegerField()
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.name


class UploadQuerySet(models.QuerySet["Upload"]):
    def owned_by(self, owner: str) -> Self:
        """The uploads of one visitor, newest first."""
        return self.filter(owner=owner).order_by("-created_at", "-id")

    def older_than(self, moment: datetime) -> Self:
        """What may go; deleting a row deletes its files, too."""
        return self.filter(created_at__lt=moment)

    def delete_all_but_newest(self, kept: int) -> int:
        """Delete what is beyond so many, oldest first; how many were deleted."""
        beyond = self.order_by("-created_at", "-id").values_list("id", flat=True)[kept:]
        return Upload.objects.filter(id__in=list(beyond)).delete()[0]


def new_upload_id() -> str:
    """Return 128 random bits in hex: whoever knows an image's URL may see the image."""
    return secrets.token_hex(16)


class Upload(models.Model):
    """An image that a visitor has sent, and what was made of it.

    `before`, `after` and `thumbnail` say what each file holds, once it is there and is known to
    be an image: {format, width, height, bytes}. The files are in `STORAGES["uploads"]`.
    """

    KINDS = ("before", "after", "thumbnail")
    MOST_A_VISITOR = 10
    MOST_IN_ALL = 200

    id = models.CharField(primary_key=True, max_length=32, default=new_upload_id, editable=False)
    owner = models.CharField(max_length=64)
    name = models.CharField(max_length=255, help_text="what the visitor calls the file")
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    thumbnail = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    objects = UploadQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["owner", "-created_at"], name="recent_uploads")]

    def __str__(self) -> str:
        return self.name

    def read(self, kind: str) -> bytes:
        """One of the files. FileNotFoundError if it is not there."""
        with storages["uploads"].open(f"{self.id}/{kind}") as file:
            content: bytes = file.read()
        return content

    def keep(self, kind: str, content: bytes, facts: dict[str, Any]) -> None:
        """Store one of the files, in place of an earlier one, and what it holds."""
        storage, name = storages["uploads"], f"{self.id}/{kind}"
        storage.delete(name)
        storage.save(name, ContentFile(content))
        setattr(self, kind, facts)
        Upload.objects.filter(id=self.id).update(**{kind: facts})


@receiver(post_delete, sender=Upload)
def delete_files(instance: Upload, **kwargs: Any) -> None:
    """However an upload is deleted, its files go with it."""
    for kind in Upload.KINDS:
        storages["uploads"].delete(f"{instance.id}/{kind}")
