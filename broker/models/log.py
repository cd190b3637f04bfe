"""What has happened to messages: the lines of their logs, and the dead letters.

Every step of a message's way adds an `Event`, in the same transaction. A message that no
attempt could deliver stays as a `DeadLetter` until it is retried, deleted, or too old.
"""

from collections.abc import Sequence

from django.db import models

from broker.models.message import Message, State
from groupcommit.raw import execute
from groupcommit.statements import places

# Adds a line to the log of each message in a table: its state, the moment (unix ms), an error, b"".
ADD_LINES = (
    "INSERT INTO broker_event (account, message_id, state, time, error, response_header,"
    " response_body) SELECT account, id, %s, %s, %s, '{}', %s FROM"
)


def created_lines(vendor: str) -> str:
    """Return SQL that adds the first line to the log of each message in a table."""
    empty = "''" if vendor == "postgresql" else "x''"
    return (
        "INSERT INTO broker_event (account, message_id, state, time, next_delivery_time, error,"
        f" response_header, response_body) SELECT account, id, '{State.CREATED}', created_at,"
        " CASE WHEN not_before > created_at THEN not_before END,"
        f" '', '{{}}', {empty} FROM"
    )


def add_line(messages: Sequence[int], state: State, now: int, error: str = "") -> None:
    """Add the same line to the logs of several messages, in one statement."""
    if messages:
        which = f"id IN {places(1, len(messages))} ORDER BY id"
        execute(f"{ADD_LINES} broker_message WHERE {which}", [state, now, error, b"", *messages])


class Event(models.Model):
    """One line of a message's log."""

    account = models.CharField(max_length=64, default="site")
    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="events")
    state = models.CharField(max_length=16, choices=State)
    time = models.BigIntegerField()
    error = models.TextField(blank=True)
    response_status = models.PositiveIntegerField(null=True)
    response_header = models.JSONField(default=dict)
    response_body = models.BinaryField(default=bytes)
    next_delivery_time = models.BigIntegerField(null=True)

    class Meta:
        indexes = [models.Index(fields=["account", "id"], name="events_of_account")]

    def __str__(self) -> str:
        return f"{self.state} {self.message_id}"


class DeadLetter(models.Model):
    """A message that no attempt could deliver, with the last response."""

    account = models.CharField(max_length=64, default="site")
    message = models.OneToOneField(Message, on_delete=models.CASCADE, related_name="dead_letter")
    failed_at = models.BigIntegerField()
    response_status = models.PositiveIntegerField(help_text="0 if there was no answer")
    response_header = models.JSONField(default=dict)
    response_body = models.BinaryField(default=bytes)

    class Meta:
        indexes = [
            models.Index(fields=["account", "id"], name="dead_letters_of_account"),
            models.Index(fields=["failed_at"], name="dead_letters_by_age"),
        ]

    def __str__(self) -> str:
        return self.dlq_id

    @property
    def dlq_id(self) -> str:
        """`<unix ms>-<seq>`, as QStash forms them."""
        return f"{self.failed_at}-{self.pk}"
