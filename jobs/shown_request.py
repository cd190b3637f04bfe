"""What a job keeps of the request that carried its message, for the strip to show.

No message passes here; `signatures.py` has just verified one.
"""

from typing import Any

from django.http import HttpRequest

KEPT_HEADERS = ("Upstash-Message-Id", "Upstash-Retried", "Upstash-Schedule-Id", "User-Agent")
LONGEST_KEPT = 128


def shown_request(request: HttpRequest, claims: dict[str, Any]) -> dict[str, Any]:
    """Headers and claims. Not the signature: whoever has one may deliver the message again."""
    given = request.headers
    headers = {name: given[name][:LONGEST_KEPT] for name in KEPT_HEADERS if name in given}
    return {"headers": headers, "claims": claims}
