"""What every request to `/v2/` has in common: who asks, for what, and how it is refused.

A client speaks QStash's protocol. A message goes on to publish.py; other requests go to the
module of their resource.
"""

import json
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import parse_qs, quote_from_bytes, unquote_to_bytes

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.request import UnreadablePostError
from django.views.decorators.csrf import csrf_exempt

from broker.accounts import account_for
from broker.errors import Rejected, TooLarge
from broker.headers import header_text
from broker.options import checked_options

# What a request target may contain (RFC 3986); other bytes are encoded.
TARGET = "%:/?#[]@!$&'()*+,;=-._~\"<>\\^`{|}"

type Handler = Callable[..., Coroutine[Any, Any, HttpResponse]]


class Call:
    """A request with a valid token: whose it is, its path, query, headers and body."""

    def __init__(self, request: HttpRequest, account: str) -> None:
        self.request, self.account = request, account
        self.caller_ip: str = request.META.get("REMOTE_ADDR", "")
        self.path, _, self.raw_query = raw_target(request).partition("?")
        self.query: dict[str, list[str]] = {
            name: values
            for name, values in parse(self.raw_query).items()
            if name not in {"qstash_token", "api"}
        }

    def headers(self) -> dict[str, list[str]]:
        """The request's headers, each value on its own if the server keeps them apart."""
        headers: dict[str, list[str]] = {}
        if scope := getattr(self.request, "scope", None):
            pairs = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in scope["headers"]]
        else:
            pairs = list(self.request.headers.items())
        for name, value in pairs:
            headers.setdefault(name.lower(), []).append(header_text(value))
        return headers

    def body(self, limit: int | None = None) -> bytes:
        """The body, byte for byte; TooLarge if there is more than a message may have."""
        limit = limit or settings.BROKER_MESSAGE_BYTES
        try:
            body = self.request.read(limit + 1)
        except (RequestDataTooBig, UnreadablePostError) as error:
            raise Rejected(f"the body cannot be read: {error}") from error
        if len(body) > limit:
            raise TooLarge(f"the body is larger than {limit} bytes")
        return body

    def json(self, limit: int | None = None) -> Any:
        """The body as JSON, None if there is none."""
        body = self.body(limit)
        try:
            return json.loads(body) if body.strip() else None
        except (ValueError, RecursionError) as error:
            raise Rejected(f"the body is not JSON: {error}") from error

    def destination(self, prefix: str) -> tuple[str, dict[str, list[str]]]:
        """The destination after a prefix of the path, and the options of the whole request.

        Options may be headers or in the query; headers override. The rest of the query is
        the destination's, undecoded and in order.
        """
        destination = self.path.partition(prefix)[2]
        options: dict[str, str | list[str]] = {}
        rest: list[str] = []
        for pair in self.raw_query.split("&") if self.raw_query else []:
            name = pair.partition("=")[0].lower()
            if name.startswith("upstash-"):
                options |= {key.lower(): values for key, values in parse(pair).items()}
            elif name != "qstash_token":
                rest.append(pair)
        for scheme in ("http", "https"):  # a proxy may have merged the two slashes
            if destination.startswith(f"{scheme}:/") and not destination.startswith(f"{scheme}://"):
                destination = destination.replace(":/", "://", 1)
        if rest:
            destination += "?" + "&".join(rest)
        return destination, checked_options(options | self.headers())


def parse(query: str) -> dict[str, list[str]]:
    """A query's values by name, in order; Rejected if it is not text."""
    try:
        return parse_qs(query, keep_blank_values=True, errors="strict", max_num_fields=1000)
    except ValueError as error:
        raise Rejected(f"the query cannot be read: {error}") from error


def endpoint(**handlers: Handler) -> Callable[..., Coroutine[Any, Any, HttpResponse]]:
    """One address of the API: a handler for each method, called with a `Call` and the path's parts.

    Without the token of an account it is refused; `Rejected` becomes its status and
    `{"error": "…"}`.
    """

    @csrf_exempt
    async def view(request: HttpRequest, *args: str, **kwargs: str) -> HttpResponse:
        try:
            if settings.BROKER_DEV_USERS and is_foreign(request):
                return refuse(403, "the published users are not for web pages")
            if not (account := account_for(given_token(request))):
                return refuse(401, "unable to authenticate: invalid token")
            handler = handlers.get(str(request.method))
            if handler is None:
                answer = refuse(405, f"use {' or '.join(handlers)}, not {request.method}")
                answer["Allow"] = ", ".join(handlers)
                return answer
            if account.read_only and request.method != "GET":
                return refuse(403, "this token may only read")
            return await handler(Call(request, account.name), *args, **kwargs)
        except Rejected as error:
            return refuse(error.status, str(error))

    return view


def is_foreign(request: HttpRequest) -> bool:
    """Whether a web page asks, and not one of the origin that is allowed."""
    return request.headers.get("Origin", settings.BROKER_ALLOW_ORIGIN) != (
        settings.BROKER_ALLOW_ORIGIN
    )


def refuse(status: int, error: str) -> JsonResponse:
    return JsonResponse({"error": error}, status=status)


@csrf_exempt
async def unknown(request: HttpRequest) -> JsonResponse:
    """Answer 404 for anything else below `/v2/`."""
    return refuse(404, f"there is no {request.path}")


def given_token(request: HttpRequest) -> str:
    """The bearer token, from the header or the query."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    query = raw_target(request).partition("?")[2]
    return parse(query).get("qstash_token", [""])[0] if "qstash_token" in query else ""


def raw_target(request: HttpRequest) -> str:
    """The path and query as the client sent them; Django has decoded its own.

    A destination may contain `%2F` or `//` and must stay unchanged; bytes that no URL may
    contain are percent-encoded.
    """
    if scope := getattr(request, "scope", None):
        path: bytes = (scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0]
        query: bytes = scope["query_string"]
        target = path + b"?" + query if query else path
    else:
        target = str(request.META.get("RAW_URI") or request.get_full_path()).encode("latin-1")
    return quote_from_bytes(target, safe=TARGET)


def unquoted(part: str) -> str:
    """A part of the path as text: SDKs do not encode names, other clients may."""
    try:
        return unquote_to_bytes(part).decode()
    except ValueError as error:
        raise Rejected(f"the path is not text: {error}") from error
