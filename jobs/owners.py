"""Whose job it is that a message gets on arrival, if it names none.

The message is a schedule's or a URL group's. Its publisher writes the owner into its body,
sealed with the site's secret key; `receiving.py` reads it from there when it makes the job. So
nobody becomes the owner of a job whom this site has not named.
"""

from typing import Any

from django.core.signing import BadSignature, Signer

signer = Signer(salt="jobs.owner")


def sealed(owner: str) -> str:
    """An owner as a message's body carries it; empty for nobody."""
    return signer.sign(owner) if owner else ""


def owner_in(payload: dict[str, Any]) -> str:
    """The owner that a payload names, empty for nobody. ValueError if this site did not seal it."""
    if not (seal := payload.get("owner", "")):
        return ""
    try:
        return signer.unsign(str(seal))
    except BadSignature as error:
        raise ValueError("owner is not one that this site has sealed") from error
