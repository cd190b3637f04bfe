"""What the doctor has found, ready to be shown: a state, words, facts and a remedy, no secrets.

No message passes here. outside.py and inside.py make findings, doctor.py collects them.
"""

from typing import Any, NamedTuple

from django.conf import settings

from console.masking import MASK, masked

OK, PROBLEM, UNKNOWN = "ok", "problem", "cannot be checked"
SHORTEST_SECRET = 6


class Finding(NamedTuple):
    """The result of one check. `facts` are pairs of a name and a value; `remedy` says in words
    what to do, "" if there is nothing to do.
    """

    name: str
    state: str
    words: str
    remedy: str = ""
    facts: tuple[tuple[str, str], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The same as a JSON object."""
        return self._asdict() | {"facts": dict(self.facts)}


def without_secrets(finding: Finding) -> Finding:
    """A finding to show: an error's text may quote a password."""
    return Finding(
        finding.name,
        finding.state,
        hidden(finding.words),
        hidden(finding.remedy),
        tuple((name, hidden(value)) for name, value in finding.facts),
    )


def hidden(text: str) -> str:
    for secret in passwords():
        text = text.replace(secret, MASK)
    return masked(text)


def passwords() -> list[str]:
    """Passwords of the database and the mail server; the site's own tokens and keys are known
    to console/masking.py.
    """
    mailers: dict[str, Any] = settings.MAILERS
    found = [str(database.get("PASSWORD") or "") for database in settings.DATABASES.values()]
    found += [str(each.get("OPTIONS", {}).get("password") or "") for each in mailers.values()]
    found += [settings.EMAIL_URL.partition("//")[2].rpartition("@")[0].partition(":")[2]]
    return [secret for secret in found if len(secret) >= SHORTEST_SECRET]
