"""Django's middleware, run on the event loop instead of in a thread.

Under ASGI, Django runs every synchronous hook of a middleware in a thread. These hooks do no
I/O (the session is a signed cookie, and none of them makes a query), so a thread would only
cost time, and a message that waits in `/api/long-task` would hold one all the while.
"""

import re
import secrets
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

from django.conf import settings
from django.contrib.sessions import middleware as sessions
from django.core.exceptions import DisallowedHost
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponsePermanentRedirect,
)
from django.middleware import clickjacking, csp, csrf, gzip, security
from django.utils.deprecation import MiddlewareMixin
from whitenoise import middleware as whitenoise

from jobs.signatures import site_of_request, site_url
from logfields import log_fields
from operations import limits
from operations.proxies import loop_warning

# It takes about 10 ms, for which the event loop serves nobody else; more is sent as it is.
LARGEST_COMPRESSED = 512 * 1024
REQUEST_ID = re.compile(r"[\w.:=+/-]{1,128}", re.ASCII)
PORT = re.compile(r"([0-9.]+):[0-9]+|\[([0-9a-fA-F:.]+)\](?::[0-9]+)?")


class OnTheLoop(MiddlewareMixin):
    """Call the hooks of a middleware directly, where Django would call them in a thread."""

    get_response: Any

    async def __acall__(self, request: HttpRequest) -> Any:
        response = self.process_request(request) if hasattr(self, "process_request") else None
        response = response or await self.get_response(request)
        if hasattr(self, "process_response"):
            response = self.process_response(request, response)
        return response


class RequestIdMiddleware(OnTheLoop):
    """Give each request an id: every line that is logged for it has it, and so has the answer.

    It is the proxy's, if there is one that is to be believed, or else made here.
    """

    def process_request(self, request: HttpRequest) -> None:
        given = request.headers.get("X-Request-Id", "") if settings.PROXIES else ""
        request_id = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
        log_fields.set({"request_id": request_id})

    def process_response(self, request: HttpRequest, response: Any) -> Any:
        response["X-Request-Id"] = log_fields.get().get("request_id", "")
        return response


class SecurityMiddleware(OnTheLoop, security.SecurityMiddleware):
    """Redirects to HTTPS, and the headers that keep a browser on it."""

    def process_request(self, request: HttpRequest) -> HttpResponsePermanentRedirect | None:
        redirect = super().process_request(request)
        if redirect is not None:
            loop_warning.look(request)
        return redirect


class AddressMiddleware(OnTheLoop):
    """Make `REMOTE_ADDR` the visitor's address, where it is that of the last proxy.

    Each proxy adds the address it was asked from to the end of X-Forwarded-For. What stands
    before the entries of our own proxies, the visitor may have written.
    """

    def process_request(self, request: HttpRequest) -> None:
        entries = request.headers.get("X-Forwarded-For", "").split(",")
        known = settings.PROXIES and len(entries) >= settings.PROXIES
        if known and (address := without_port(entries[-settings.PROXIES].strip())):
            request.META["REMOTE_ADDR"] = address


def without_port(text: str) -> str:
    """The IP address in an entry of X-Forwarded-For, some of which have a port; "" if none."""
    entry = PORT.fullmatch(text)
    try:
        return str(ip_address((entry[1] or entry[2]) if entry else text))
    except ValueError:
        return ""


class LimitsMiddleware(OnTheLoop):
    """Refuse what somebody does too often, after the form has been found to be ours."""

    def __init__(self, get_response: Any) -> None:
        super().__init__(get_response)
        self.process_view: Any = self.on_the_loop if self.async_mode else self.look

    def look(self, request: HttpRequest, *args: Any) -> HttpResponse | None:
        return limits.refusal(request)

    async def on_the_loop(self, request: HttpRequest, *args: Any) -> HttpResponse | None:
        """A coroutine, as Django would run a synchronous `process_view` in a thread."""
        return self.look(request)


class GZipMiddleware(OnTheLoop, gzip.GZipMiddleware):
    """Compress pages. What programs read is left alone, and so is what is streamed.

    A page that repeats what a visitor sent could betray a secret beside it by its length
    (the BREACH attack). Django masks the CSRF token anew in every page, and adds up to 100
    random bytes to each answer. No other secret of a visitor is on a page.
    """

    def process_response(self, request: HttpRequest, response: Any) -> Any:
        if (
            response.streaming
            or request.path_info.startswith(("/api/", "/v2/"))
            or len(response.content) > LARGEST_COMPRESSED
        ):
            return response
        return super().process_response(request, response)


class ContentSecurityPolicyMiddleware(OnTheLoop, csp.ContentSecurityPolicyMiddleware):
    """The header that forbids anything inline and anything from another origin."""


class SessionMiddleware(OnTheLoop, sessions.SessionMiddleware):
    """The visitor's session. Needs a session engine that does no I/O: signed cookies."""


class CsrfViewMiddleware(OnTheLoop, csrf.CsrfViewMiddleware):
    """Accept a form only if this site has rendered it."""

    def __init__(self, get_response: Any) -> None:
        super().__init__(get_response)
        if self.async_mode:
            self.process_view: Any = self.process_view_on_the_loop

    async def process_view_on_the_loop(self, *args: Any) -> HttpResponseBase | None:
        """A coroutine, as Django would run a synchronous `process_view` in a thread."""
        return super().process_view(*args)


class XFrameOptionsMiddleware(OnTheLoop, clickjacking.XFrameOptionsMiddleware):
    """The header that forbids other sites to show this one in a frame."""


class SiteMiddleware(OnTheLoop):
    """Let a task that is enqueued during a request know where the queue shall deliver it."""

    def process_request(self, request: HttpRequest) -> None:
        with suppress(DisallowedHost):  # a health check may come with any host
            site_of_request.set(site_url(request))

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        site_of_request.set("")
        return response


class WhiteNoiseMiddleware(OnTheLoop, whitenoise.WhiteNoiseMiddleware):
    """Serve static files. WhiteNoise's own class is synchronous."""

    def __init__(self, get_response: Any) -> None:
        super().__init__(get_response)
        self.get_response = get_response  # WhiteNoise's __init__ sets it to None

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        if self.autorefresh:
            static_file = self.find_file(request.path_info)
        else:
            static_file = self.files.get(request.path_info)
        return self.serve(static_file, request) if static_file is not None else None

    @staticmethod
    def serve(static_file: Any, request: HttpRequest) -> HttpResponse:
        """Read the whole file: a stylesheet is small, and streaming would need a thread."""
        answer = static_file.get_response(request.method, request.META)
        content = b""
        if answer.file is not None:
            with answer.file as file:
                content = file.read()
        response = HttpResponse(content, status=int(answer.status))
        del response["Content-Type"]
        for name, value in answer.headers:
            response[name] = value
        return response
