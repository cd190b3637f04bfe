"""The URLs of `manage.py broker`: the queue under `/v2/`, and `/healthz`.

A publisher's message comes in under `/v2/`. Any other URL is answered with a 404 in JSON.
"""

from typing import Any

from django.http import HttpRequest, JsonResponse
from django.urls import include, path

from jobsite.health import healthz
from operations.metrics import metrics


def error(status: int, text: str) -> JsonResponse:
    return JsonResponse({"error": text}, status=status)


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    return error(400, "this request cannot be read")


def not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    return error(404, f"there is no {request.path}, the queue's URLs all begin with /v2/")


def server_error(request: HttpRequest, *arguments: Any) -> JsonResponse:
    return error(500, "internal error, see the server's log")


urlpatterns = [
    path("healthz", healthz),
    path("metrics", metrics),
    path("v2/", include("broker.urls")),
]
handler400, handler404, handler500 = bad_request, not_found, server_error
