"""Why something that was asked for cannot be done.

A request has come in, or a schedule fires, and the message goes no further: the text tells its
sender what to change. broker/api/requests.py makes an answer of it.
"""


class Rejected(ValueError):
    """What was asked for cannot be done; the text names the field and what it should be."""

    status = 400


class NotFound(Rejected):
    """There is no such message, queue, schedule, …"""

    status = 404


class LimitReached(Rejected):
    """The account may not have another one."""

    status = 412


class TooLarge(Rejected):
    """The body is larger than the settings allow."""

    status = 413
