"""Leave out of a caught request what nobody but its sender should know.

A request has been caught and is about to be stored. Whoever knows a bin's name sees all that
is in it, and a visitor's own browser sends its cookies of this site along, so the values of
`Authorization`, cookies and the like are never stored.
"""

import re
from collections.abc import Iterable

MASK = "••••"
# Names whose values are secret. A signature is not: it fits one body and one URL.
SECRET = re.compile(r"authorization|cookie|csrf|api-?key|token|secret|password", re.IGNORECASE)
SCHEME = re.compile(r"(basic|bearer|digest|token)\s", re.IGNORECASE)


def clean(text: str) -> str:
    """A text that every database can store: without NUL and halves of surrogate pairs."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


def without_secrets(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Headers with secret values masked; a scheme and the names of cookies stay."""
    return [(clean(name), masked(name, clean(value))) for name, value in headers]


def masked(name: str, value: str) -> str:
    """One header's value, masked if its name says that it is secret."""
    if not SECRET.search(name):
        return value
    if name.lower() == "cookie":
        names = [part.partition("=")[0].strip() for part in value.split(";")]
        return "; ".join(f"{name}={MASK}" for name in names if name)
    scheme = SCHEME.match(value)
    return f"{scheme[1]} {MASK}" if scheme else MASK
