"""What a receiver must check before it believes a message, and the URL it must be signed for.

The message has just arrived from the queue, or from someone who pretends to be the queue.
Nothing of it is parsed until its signature fits the raw bytes; then `receiving.py` gets it.
https://upstash.com/docs/qstash/howto/signature
"""

import base64
import hashlib
import hmac
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextvars import ContextVar
from functools import wraps
from typing import Any, NamedTuple

import jwt
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from jobs.shown_request import shown_request

logger = logging.getLogger(__name__)

# What every signature must have, and how far the queue's clock may be off, in seconds.
EXPECTED: dict[str, Any] = {
    "algorithms": ["HS256"],
    "issuer": "Upstash",
    "options": {"require": ["iss", "sub", "exp", "nbf", "body"]},
    "leeway": 5,
}
LARGEST_BODY = 1024 * 1024
MOST_DIGITS = 4


class SignatureError(Exception):
    """The message is not from our queue, not for this URL, not whole or not current."""


class Delivery(NamedTuple):
    """A message whose signature has been checked."""

    body: bytes
    message_id: str
    retried: int
    received: dict[str, Any]  # what a page may show of the request: {headers, claims}
    flush: bool = True  # False if the queue will flush how the task has ended


type View = Callable[..., Coroutine[Any, Any, HttpResponse]]

# Set by jobsite/middleware.py for the time of a request.
site_of_request: ContextVar[str] = ContextVar("site_of_request", default="")


def site_url(request: HttpRequest) -> str:
    """Return `https://jobs.example.com`: PUBLIC_URL, or the validated host of the request.

    A proxy may rewrite a request's host and scheme, so PUBLIC_URL comes first.
    """
    return settings.PUBLIC_URL or f"{request.scheme}://{request.get_host()}"


def current_site_url() -> str:
    """Return the same for code that has no request at hand; empty if there is none."""
    return settings.PUBLIC_URL or site_of_request.get()


def verify(signature: str, body: bytes, url: str, keys: Sequence[str]) -> dict[str, Any]:
    """The claims of a signature that fits; SignatureError says what does not.

    Keys are tried in order, the next one only if the signature is not of the one before:
    after a rotation, messages signed with either key are on their way.
    """
    claims = decode(signature, [key for key in keys if key])
    if not same(str(claims["sub"]), url):
        raise SignatureError(f"signed for {claims['sub']}, received at {url}")
    body_hash = base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode()
    if not same(str(claims["body"]).rstrip("="), body_hash.rstrip("=")):
        raise SignatureError("the body is not the one that was signed")
    return claims


def decode(signature: str, keys: Sequence[str]) -> dict[str, Any]:
    """Claims signed with one of the keys by HMAC-SHA256, and valid now; `key` is its number."""
    for number, key in enumerate(keys):
        try:
            return jwt.decode(signature, key, **EXPECTED) | {"key": number}
        except jwt.InvalidSignatureError:
            continue
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError) as error:
            raise SignatureError(str(error) or "the signature cannot be read") from error
    raise SignatureError("signed with none of our keys")


def same(one: str, other: str) -> bool:
    """Whether two texts are equal, in a time that does not tell how far they agree."""
    return hmac.compare_digest(*(text.encode(errors="surrogatepass") for text in (one, other)))


def signed(view: View) -> View:
    """Let a view see only messages that our queue has signed for its URL; 403 otherwise.

    The view is called with the request, the `Delivery` and what its URL captures.
    """

    @csrf_exempt
    @require_POST
    @wraps(view)
    async def wrapper(request: HttpRequest, **captured: str) -> HttpResponse:
        body = request.read(LARGEST_BODY + 1)
        if len(body) > LARGEST_BODY:
            return JsonResponse({"error": f"more than {LARGEST_BODY} bytes"}, status=413)
        url = site_url(request) + request.get_full_path()
        keys = [settings.QSTASH_CURRENT_SIGNING_KEY, settings.QSTASH_NEXT_SIGNING_KEY]
        try:
            claims = verify(request.headers.get("Upstash-Signature", ""), body, url, keys)
        except SignatureError as error:
            logger.warning("refused a message", extra={"url": url, "reason": str(error)})
            shown = f"invalid signature: {error}" if settings.DEBUG else "invalid signature"
            return JsonResponse({"error": shown}, status=403)
        message_id = request.headers.get("Upstash-Message-Id", "")[:128]
        retried = count(request.headers.get("Upstash-Retried", ""))
        received, flush = shown_request(request, claims), getattr(request, "flush_now", True)
        return await view(request, Delivery(body, message_id, retried, received, flush), **captured)

    return wrapper


def count(text: str) -> int:
    """A header's small number; 0 for anything else, as headers are not signed."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS else 0
