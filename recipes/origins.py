"""Who may post to an example: a form of this site, or a program; never another site's page.

A form carries Django's CSRF token. A program has no page to take one from, so anything but a
form is judged by what a browser cannot help telling: where the request comes from.
"""

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.middleware.csrf import CsrfViewMiddleware

FORMS = {"application/x-www-form-urlencoded", "multipart/form-data"}


def is_form(request: HttpRequest) -> bool:
    """Whether a browser's form has sent this."""
    return request.content_type in FORMS


def refusal(request: HttpRequest) -> HttpResponseBase | None:
    """The 403 for a request that must not act, or None. For views that are `csrf_exempt`.

    A form is parsed here to find its token. For uploads, call this in a thread.
    """
    if is_form(request):
        return CsrfViewMiddleware(get_response).process_view(request, get_response, (), {})
    if is_from_elsewhere(request):
        return JsonResponse(
            {"error": "Requests from pages of other sites are refused."}, status=403
        )
    return None


def get_response(request: HttpRequest) -> HttpResponse:
    """What Django's middleware must be given and does not call here."""
    raise NotImplementedError


def is_from_elsewhere(request: HttpRequest) -> bool:
    """Whether a browser says that a page of another origin has sent this.

    Every browser sends Sec-Fetch-Site or, with a POST, Origin; curl and other programs send
    neither, and have no visitor's cookie that somebody else could misuse.
    https://developer.mozilla.org/en-US/docs/Web/HTTP/Headers/Sec-Fetch-Site
    """
    if site := request.headers.get("Sec-Fetch-Site"):
        return site not in {"same-origin", "none"}
    own = [f"{request.scheme}://{request.get_host()}", *settings.CSRF_TRUSTED_ORIGINS]
    return request.headers.get("Origin", own[0]) not in own
