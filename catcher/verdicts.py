"""Ask whether a caught request's `Upstash-Signature` fits.

The request has just been caught. The keys are not the catcher's, so the setting
CATCHER_VERIFIER names a function that has them; its verdict is stored with the request, as a
signature is only valid for minutes. Nothing else depends on it.
"""

import base64
import binascii

from django.conf import settings
from django.http import HttpRequest
from django.utils.module_loading import import_string

from catcher.bodies import ShownBody, shown
from catcher.masking import clean

LONGEST_VERDICT = 500


def is_signed(request: HttpRequest) -> bool:
    """Whether a request has a signature to be verified, for which its whole body is needed."""
    return bool(settings.CATCHER_VERIFIER) and "Upstash-Signature" in request.headers


def verdict_on(request: HttpRequest, body: bytes) -> tuple[bool | None, str]:
    """Whether the signature fits, and a sentence; None and "" without a signature.

    The verifier is `(request, body) -> reason`, and the reason is empty if the signature fits.
    """
    if not is_signed(request):
        return None, ""
    reason = import_string(settings.CATCHER_VERIFIER)(request, body)
    return not reason, clean(reason)[:LONGEST_VERDICT]


def claims_in(signature: str) -> ShownBody:
    """What a JWT claims, whether or not it fits; an empty text if it cannot be read."""
    payload = signature.split(".")[1] if signature.count(".") == 2 else ""
    try:
        claims = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    except (binascii.Error, ValueError):
        claims = b""
    return shown(claims)
