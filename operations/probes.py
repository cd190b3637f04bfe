"""Where the doctor's own requests arrive: what the site sees of them, and whether it accepts them.

No message passes here. A stranger is told nothing: a request needs a pass that SECRET_KEY has
signed a moment ago, or a signature of the queue. None of these views changes anything.
"""

import secrets
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

from django.conf import settings
from django.core import signing
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from broker.clock import now_ms
from jobs.signatures import Delivery, signed, site_url

PASS_HEADER, PASS_SECONDS = "X-Doctor-Pass", 30
# The doctor says that it comes from this address, which belongs to nobody: what stands behind
# it in the header that arrives was added on the way. https://www.rfc-editor.org/rfc/rfc5737
MARKER = "192.0.2.77"
NOT_THE_DOCTOR = "this is not the doctor of this site"

type View = Callable[..., Coroutine[Any, Any, HttpResponse]]


def signer() -> signing.TimestampSigner:
    return signing.TimestampSigner(salt="operations.doctor")


def new_pass() -> str:
    """What shows for half a minute that a request comes from this site's doctor."""
    return signer().sign(secrets.token_urlsafe(12))


def for_doctor(view: View) -> View:
    """Let only the doctor see a view, by POST; 403 otherwise."""

    @never_cache
    @require_POST
    @wraps(view)
    async def wrapper(request: HttpRequest) -> HttpResponse:
        try:
            signer().unsign(request.headers.get(PASS_HEADER, ""), max_age=PASS_SECONDS)
        except signing.BadSignature:
            return JsonResponse({"error": NOT_THE_DOCTOR}, status=403)
        return await view(request)

    return wrapper


@csrf_exempt
@for_doctor
async def seen(request: HttpRequest) -> HttpResponse:
    """How the request looks here, behind all proxies. `added` is how many addresses they have
    added to X-Forwarded-For, `time` this site's clock in unix ms.
    """
    try:
        site, allowed = site_url(request), bool(request.get_host())
    except DisallowedHost:
        site, allowed = settings.PUBLIC_URL, False
    return JsonResponse(
        {
            "scheme": request.scheme,
            "host": request.META.get("HTTP_HOST", ""),
            "host_is_allowed": allowed,
            "address": request.META.get("REMOTE_ADDR") or "",
            "added": added_addresses(request.headers.get("X-Forwarded-For", "")),
            "forwarded_proto": request.headers.get("X-Forwarded-Proto", ""),
            "site": site,
            "public_url": settings.PUBLIC_URL,
            "proxies": settings.PROXIES,
            "time": now_ms(),
        }
    )


def added_addresses(header: str) -> int:
    """How many addresses stand behind the doctor's own, or how many in all if a proxy has
    removed that.
    """
    addresses = [address.strip() for address in header.split(",") if address.strip()]
    if MARKER in addresses:
        return len(addresses) - 1 - addresses.index(MARKER)
    return len(addresses)


@for_doctor
async def form(request: HttpRequest) -> HttpResponse:
    """Accept what has passed the site's own protection of forms."""
    return JsonResponse({"accepted": True})


@never_cache
@signed
async def signature(request: HttpRequest, delivery: Delivery) -> HttpResponse:
    """Accept what the queue has signed, and do nothing with it."""
    return JsonResponse({"accepted": True})
