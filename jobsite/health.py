"""`/healthz`: whether the database answers and the queue delivers.

No message passes here. The site and `manage.py broker` serve the same view.
"""

import time
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from broker.clock import now_ms
from broker.models import queue_is_stuck

STUCK = "queue is not running: messages are due and nothing claims them"


@never_cache
@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """200 while the database answers and due messages are claimed; 503 and why otherwise."""
    report, healthy = examine()
    response = JsonResponse(report, status=200 if healthy else 503)
    if request.method == "HEAD":
        response.content = b""  # gunicorn would log a warning about a body
    return response


def examine() -> tuple[dict[str, Any], bool]:
    """What `/healthz` reports, and whether all is well."""
    started = time.perf_counter()
    hosted = bool(settings.QSTASH_TOKEN)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        stuck = not hosted and queue_is_stuck(now_ms())
    except DatabaseError as error:
        return {"database": f"not answering: {error}"}, False
    report = {
        "database": "ok",
        "database_milliseconds": round(1000 * (time.perf_counter() - started), 1),
        "queue": "hosted" if hosted else "embedded",
        "dispatcher": STUCK if stuck else "ok",
    }
    return report, not stuck
