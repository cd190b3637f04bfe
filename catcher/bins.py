"""A visitor's bins: one that is made without asking, and those made by a button.

No message passes here. The session's key `bin` is the name of the visitor's own bin. Whoever
needs it first makes it up: the catcher's page, or jobs/views.py, whose ten requests go there.
"""

import secrets

from django.http import HttpRequest

REMEMBERED = 10


def own_bin(request: HttpRequest) -> str:
    """The name of the visitor's own bin; it cannot be guessed."""
    name: str = request.session.setdefault("bin", secrets.token_hex(16))
    return name


def bins_of(request: HttpRequest) -> list[str]:
    """The names of the last ten bins that the visitor has made, newest first."""
    names: list[str] = request.session.get("bins", [])
    return names


def new_bin(request: HttpRequest) -> str:
    """Make up a name, remember it in the session, and return it."""
    name = secrets.token_hex(16)
    request.session["bins"] = [name, *bins_of(request)][:REMEMBERED]
    return name
