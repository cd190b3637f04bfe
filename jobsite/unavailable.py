"""Answer 503 in words where the database does not answer.

A message that is being published, or has just been delivered, comes this far at least. Its sender
is told to try again: a publisher by this answer, the queue by the same.
"""

from inspect import iscoroutinefunction
from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils.cache import add_never_cache_headers
from django.utils.deprecation import MiddlewareMixin

from groupcommit import outages

# Programs call these, and browsers do not.
IN_JSON = ("/v2/", "/api/", "/healthz")


class UnavailableMiddleware(MiddlewareMixin):
    """Calls the view itself, so it must be the last middleware.

    Django would pass an exception to `process_exception` in the thread that all synchronous code
    shares, which may be busy waiting for the database.
    """

    get_response: Any

    def __init__(self, get_response: Any) -> None:
        super().__init__(get_response)
        if self.async_mode:
            self.process_view: Any = self.call_view
        else:
            self.process_exception: Any = self.answer_for

    async def __acall__(self, request: HttpRequest) -> Any:
        return await self.get_response(request)

    async def call_view(
        self, request: HttpRequest, view: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if not iscoroutinefunction(view):
            view = sync_to_async(view, thread_sensitive=True)
        try:
            return await view(request, *args, **kwargs)
        except Exception as error:
            if response := self.answer_for(request, error):
                return response
            raise

    def answer_for(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """503 for a view that the database has failed; None for any other error."""
        return unavailable(request, error) if outages.reported(error) else None


def unavailable(request: HttpRequest, error: Exception) -> HttpResponse:
    """503: a page, a line of text for htmx, or JSON. None of them needs the database."""
    words = outages.in_words(error)
    response: HttpResponse
    if request.path_info.startswith(IN_JSON) or prefers_json(request):
        response = JsonResponse({"error": words}, status=503)
    elif is_htmx(request):
        text = f"{words[0].upper()}{words[1:]}."
        response = HttpResponse(text, status=503, content_type="text/plain; charset=utf-8")
    else:
        response = HttpResponse(render_to_string("503.html", {"words": words}), status=503)
    response["Retry-After"] = str(outages.RETRY_AFTER_SECONDS)
    add_never_cache_headers(response)
    response._has_been_logged = True  # type: ignore[attr-defined]  # as an outage, not as a 5xx
    return response


def prefers_json(request: HttpRequest) -> bool:
    """Whether this is a program: no browser asks for a page without naming HTML."""
    return "text/html" not in request.headers.get("Accept", "") and not is_htmx(request)


def is_htmx(request: HttpRequest) -> bool:
    return "HX-Request" in request.headers
