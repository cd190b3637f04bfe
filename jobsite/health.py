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
from broker.models import dispatcher_is_alive, queue_is_stuck
from groupcommit import outages

NONE = "none is running, and no message waits for one"
STUCK = "queue is not running: messages are due and nothing claims them"


@never_cache
@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """200 while the database answers and due messages are claimed; 503 and why otherwise.

    A site on which no dispatcher has run yet is healthy until a message has waited for 10 s: a
    platform that kills what is unhealthy must not kill the web process before the first click.
    """
    report, healthy = examine()
    response = JsonResponse(report, status=200 if healthy else 503)
    if not healthy:
        response["Retry-After"] = str(outages.RETRY_AFTER_SECONDS)
        response._has_been_logged = True  # type: ignore[attr-defined]  # the answer says it
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
        dispatcher = "not needed" if hosted else state_of_dispatchers(now_ms())
    except DatabaseError as error:
        reason = outages.reason(error) if outages.reported(error) else str(error)
        return {"database": f"not answering: {reason}"}, False
    report = {
        "database": "ok",
        "database_milliseconds": round(1000 * (time.perf_counter() - started), 1),
        "queue": "hosted" if hosted else "embedded",
        "dispatcher": dispatcher,
    }
    return report, dispatcher != STUCK


def state_of_dispatchers(now: int) -> str:
    """`ok` while a dispatcher is alive, else what that means for the messages."""
    if dispatcher_is_alive(now):
        return "ok"
    return STUCK if queue_is_stuck(now) else NONE
