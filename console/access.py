"""Who may see the queue's pages: everybody in development, in production only the operator.

No message passes here. The operator proves to know `CONSOLE_PASSWORD` and gets a signed cookie
for twelve hours. The cookie's key is made of the password, so a new password ends all sessions.
Attempts are counted in the database, which all processes of the site share.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.core import signing
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache

from broker.api.lookups import read
from console.models import SignIns
from console.networks import network_of
from groupcommit.transactions import write_transaction

COOKIE = "operator"
SESSION_SECONDS = 12 * 3600
# How many attempts an address, and all addresses together, have in a window.
WINDOW_SECONDS = 60
MOST_ATTEMPTS = {"one": 5, "all": 50}
KEPT_SECONDS = 3600

type View = Callable[..., Coroutine[Any, Any, HttpResponse]]


def for_operator(view: View) -> View:
    """Let only the operator see a view; anybody else is sent to the password's form.

    Without a password in production there is no such page.
    """

    @never_cache
    @wraps(view)
    async def wrapper(request: HttpRequest, **captured: Any) -> HttpResponse:
        if is_off():
            return await read(lambda: render(request, "console/off.html", status=404))
        if not is_operator(request):
            return ask_for_password(request)
        return await view(request, **captured)

    return wrapper


def is_off() -> bool:
    return not settings.CONSOLE_OPEN and not settings.CONSOLE_PASSWORD


def is_operator(request: HttpRequest) -> bool:
    """Whether the pages are open, or the request has the operator's cookie."""
    if settings.CONSOLE_OPEN:
        return True
    try:
        signer().unsign(request.COOKIES.get(COOKIE, ""), max_age=SESSION_SECONDS)
    except signing.BadSignature:
        return False
    return True


def ask_for_password(request: HttpRequest) -> HttpResponse:
    """Send a page to the form. An open page that asks for news gets 404: it then loads itself
    again, and so comes to the form, too.
    """
    if "HX-Request" in request.headers or "text/event-stream" in request.headers.get("Accept", ""):
        return HttpResponse("Sign in again.", status=404, content_type="text/plain")
    back = request.get_full_path() if request.method == "GET" else reverse("console_messages")
    form = f"{reverse('console_sign_in')}?{urlencode({'next': back})}"
    return HttpResponse(status=303, headers={"Location": form})


def signer() -> signing.TimestampSigner:
    """Signs the cookie with a key of this site and this password."""
    password = hashlib.sha256(settings.CONSOLE_PASSWORD.encode()).hexdigest()
    return signing.TimestampSigner(salt=f"console.access.{password}")


def is_password(given: str) -> bool:
    """Whether this is the password, compared in a time that does not tell how far it agrees."""
    known = settings.CONSOLE_PASSWORD
    digests = (hashlib.sha256(text.encode(errors="replace")).digest() for text in (given, known))
    return bool(known) and hmac.compare_digest(*digests)


def let_in(response: HttpResponse) -> HttpResponse:
    """Give the operator's cookie with a response."""
    response.set_cookie(
        COOKIE,
        signer().sign(secrets.token_urlsafe(12)),
        max_age=SESSION_SECONDS,
        httponly=True,
        secure=settings.SERVED_OVER_HTTPS,
        samesite="Strict",
    )
    return response


def may_try(address: str) -> bool:
    """Count an attempt before it is made; False if an address, or all, have made too many."""
    now = int(time.time())
    with write_transaction():
        SignIns.objects.filter(since__lt=now - KEPT_SECONDS).delete()
        mine = count_attempt(network_of(address), now, MOST_ATTEMPTS["one"])
        return mine and count_attempt("", now, MOST_ATTEMPTS["all"])


def count_attempt(address: str, now: int, most: int) -> bool:
    """Count one more in this window, or begin a new one; False if it is full."""
    SignIns.objects.get_or_create(address=address, defaults={"since": now})
    row = SignIns.objects.filter(address=address)
    row.filter(since__lte=now - WINDOW_SECONDS).update(since=now, attempts=0)
    return bool(row.filter(attempts__lt=most).update(attempts=F("attempts") + 1))


def forget_attempts(address: str) -> None:
    """Let an address begin anew: it knew the password."""
    with write_transaction():
        SignIns.objects.filter(address=network_of(address)).delete()
