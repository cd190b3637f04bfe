"""What every request to `/v2/` has in common: who asks, for what, and how to refuse it.

A publisher speaks QStash's protocol to us. Past this module its message is on its way into
publishing.py.
"""

import hmac
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any
from urllib.parse import parse_qsl

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from broker.publishing import PublishError

LARGEST_MESSAGE = 1024 * 1024

type View = Callable[..., Coroutine[Any, Any, JsonResponse]]


def refuse(status: int, error: str) -> JsonResponse:
    return JsonResponse({"error": error}, status=status)


def authenticated(view: View) -> View:
    """Let a view answer only who knows the token; turn a PublishError into a 400."""

    @csrf_exempt
    @wraps(view)
    async def wrapper(request: HttpRequest, *args: str) -> JsonResponse:
        if not hmac.compare_digest(given_token(request).encode(), settings.BROKER_TOKEN.encode()):
            return refuse(401, "unable to authenticate: invalid token")
        try:
            return await view(request, *args)
        except PublishError as error:
            return refuse(400, str(error))

    return wrapper


def given_token(request: HttpRequest) -> str:
    """The bearer token, from the header or the query."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    return request.GET.get("qstash_token", "")


def raw_target(request: HttpRequest) -> str:
    """The path and query as the client sent them: Django's are decoded already.

    A destination may hold `%2F` or `//`, and its bytes must arrive unchanged.
    """
    if scope := getattr(request, "scope", None):
        path: str = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
        query = scope["query_string"].decode("latin-1")
        return path.partition("?")[0] + (f"?{query}" if query else "")
    return str(request.META.get("RAW_URI") or request.get_full_path())


def destination_after(prefix: str, request: HttpRequest) -> tuple[str, dict[str, str]]:
    """The destination behind `/v2/publish/`, and the options given in its query."""
    path, _, query = raw_target(request).partition("?")
    destination = path.partition(prefix)[2]
    options: dict[str, str] = {}
    rest: list[str] = []
    for pair in query.split("&") if query else []:
        name = pair.partition("=")[0].lower()
        if name.startswith("upstash-"):
            options |= dict(parse_qsl(pair, keep_blank_values=True))
        elif name != "qstash_token":
            rest.append(pair)
    for scheme in ("http", "https"):  # a proxy may have merged the two slashes
        if destination.startswith(f"{scheme}:/") and not destination.startswith(f"{scheme}://"):
            destination = destination.replace(":/", "://", 1)
    return destination + ("?" + "&".join(rest) if rest else ""), options
