"""`GET /v2/events`: the log of messages, newest line first.

The message is anywhere; this tells where it has been.
"""

import base64
from typing import Any

from django.http import HttpRequest, JsonResponse

from broker.api.requests import authenticated, refuse
from broker.models import Event

MOST_EVENTS = 1000


@authenticated
async def list_events(request: HttpRequest) -> JsonResponse:
    """Answer `{"events": [{"time", "messageId", "state", "url", …}]}` for `?messageId=`.
    https://upstash.com/docs/qstash/api-reference/logs/list-logs
    """
    events = Event.objects.select_related("message").order_by("-id")
    for name, value in request.GET.items():
        if name == "messageId":
            events = events.filter(message__message_id=value)
        elif name != "qstash_token":
            return refuse(400, f"unknown filter {name}: this queue knows messageId")
    return JsonResponse({"events": [as_json(event) async for event in events[:MOST_EVENTS]]})


def as_json(event: Event) -> dict[str, Any]:
    """One log line as on the wire: times in unix ms, what is absent left out."""
    message = event.message
    line: dict[str, Any] = {
        "time": event.time,
        "messageId": message.message_id,
        "state": event.state,
        "url": message.url,
        "method": message.method,
        "maxRetries": message.max_retries,
        "header": message.header,
        "error": event.error,
        "nextDeliveryTime": event.next_delivery_time,
        "responseStatus": event.response_status,
        "responseHeader": event.response_header,
        "responseHeaders": event.response_header,
        "responseBody": base64.b64encode(event.response_body).decode(),
        "body": base64.b64encode(message.body).decode(),
        "callerIP": message.caller_ip,
        "failureCallback": message.failure_callback,
        "retryDelayExpr": message.retry_delay_expression,
        "retryDelayExpression": message.retry_delay_expression,
        "label": message.labels[0] if message.labels else "",
        "labels": message.labels,
    }
    return {name: value for name, value in line.items() if value or name == "maxRetries"}
