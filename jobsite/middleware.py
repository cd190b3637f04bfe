"""Django's middleware, run on the event loop instead of in a thread.

Under ASGI, Django hands every synchronous hook of a middleware to a thread. Ours only
compute (the session is a signed cookie, no query anywhere), so the hop buys nothing, and
a message that waits in `/api/long-task` would keep a thread waiting with it.
"""

from contextlib import suppress
from typing import Any

from django.contrib.sessions import middleware as sessions
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.middleware import clickjacking, csp, csrf, security
from django.utils.deprecation import MiddlewareMixin
from whitenoise import middleware as whitenoise

from jobs.signatures import site_of_request, site_url


class OnTheLoop(MiddlewareMixin):
    """Call the hooks of a middleware directly, where Django would call them in a thread."""

    get_response: Any

    async def __acall__(self, request: HttpRequest) -> Any:
        response = self.process_request(request) if hasattr(self, "process_request") else None
        response = response or await self.get_response(request)
        if hasattr(self, "process_response"):
            response = self.process_response(request, response)
        return response


class SecurityMiddleware(OnTheLoop, security.SecurityMiddleware):
    """HTTPS and the headers that keep a browser on it."""


class ContentSecurityPolicyMiddleware(OnTheLoop, csp.ContentSecurityPolicyMiddleware):
    """Nothing inline, nothing from elsewhere."""


class SessionMiddleware(OnTheLoop, sessions.SessionMiddleware):
    """Who the visitor is. Needs a session engine that does no I/O: signed cookies."""


class CsrfViewMiddleware(OnTheLoop, csrf.CsrfViewMiddleware):
    """A form only counts if this site showed it."""

    def __init__(self, get_response: Any) -> None:
        super().__init__(get_response)
        if self.async_mode:
            self.process_view: Any = self.process_view_on_the_loop

    async def process_view_on_the_loop(self, *args: Any) -> HttpResponseBase | None:
        """Django calls a `process_view` that is no coroutine in a thread, too."""
        return super().process_view(*args)


class XFrameOptionsMiddleware(OnTheLoop, clickjacking.XFrameOptionsMiddleware):
    """No other site may frame the button."""


class SiteMiddleware(OnTheLoop):
    """Let a task that is enqueued during a request know where the queue shall deliver it."""

    def process_request(self, request: HttpRequest) -> None:
        with suppress(DisallowedHost):  # a health check may come with any host
            site_of_request.set(site_url(request))

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        site_of_request.set("")
        return response


class WhiteNoiseMiddleware(OnTheLoop, whitenoise.WhiteNoiseMiddleware):
    """Serve static files; WhiteNoise's own class is synchronous only."""

    def __init__(self, get_response: Any) -> None:
        super().__init__(get_response)
        self.get_response = get_response  # WhiteNoise's own __init__ has cleared it

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        if self.autorefresh:
            static_file = self.find_file(request.path_info)
        else:
            static_file = self.files.get(request.path_info)
        return self.serve(static_file, request) if static_file is not None else None

    @staticmethod
    def serve(static_file: Any, request: HttpRequest) -> HttpResponse:
        """Answer from memory: a stylesheet is small, and a stream would need a thread."""
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
