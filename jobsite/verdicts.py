"""Verify what the catcher has caught, with the site's keys.

A message's destination was a bin. The catcher knows nothing of keys; its setting
CATCHER_VERIFIER names this module's function.
"""

from django.conf import settings
from django.http import HttpRequest

from jobs.signatures import SignatureError, site_url, verify


def verdict(request: HttpRequest, body: bytes) -> str:
    """Why the signature of a request does not fit; empty if it does."""
    keys = [settings.QSTASH_CURRENT_SIGNING_KEY, settings.QSTASH_NEXT_SIGNING_KEY]
    url = site_url(request) + request.get_full_path()
    try:
        verify(request.headers.get("Upstash-Signature", ""), body, url, keys)
    except SignatureError as error:
        return str(error)
    return ""
