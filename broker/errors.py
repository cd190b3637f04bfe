"""Why something that was asked for cannot be done.

A request has come in, or a schedule is due, and cannot be carried out: the text tells the
sender what to change. broker/api/requests.py answers with it.
"""


class Rejected(ValueError):
    """What was asked for cannot be done; the text names the field and what it should be."""

    status = 400


class NotFound(Rejected):
    """There is no such message, queue, schedule, …"""

    status = 404


class LimitReached(Rejected):
    """The account already has as many as it may have."""

    status = 412


class TooLarge(Rejected):
    """The body is larger than the settings allow."""

    status = 413
