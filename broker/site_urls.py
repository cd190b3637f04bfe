"""The map of a site that is nothing but the queue, as `manage.py broker` serves it.

A publisher's message comes in below `/v2/`; whatever else is asked for is told in JSON that it
is not here.
"""

from typing import Any

from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.urls import include, path

from broker.models import now_ms, queue_is_stuck


def healthz(request: HttpRequest) -> JsonResponse:
    """200 while the database answers and due messages are claimed; 503 and why otherwise."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        if queue_is_stuck(now_ms()):
            return error(503, "messages are due and nothing claims them")
    except DatabaseError as failure:
        return error(503, f"the database does not answer: {failure}")
    return JsonResponse({"database": "ok", "dispatcher": "ok"})


def error(status: int, text: str) -> JsonResponse:
    return JsonResponse({"error": text}, status=status)


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    return error(400, "this request cannot be read")


def not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    return error(404, f"there is no {request.path}, all of this queue is below /v2/")


def server_error(request: HttpRequest, *arguments: Any) -> JsonResponse:
    return error(500, "something went wrong, the server's log says what")


urlpatterns = [
    path("healthz", healthz),
    path("v2/", include("broker.urls")),
]
handler400, handler404, handler500 = bad_request, not_found, server_error
