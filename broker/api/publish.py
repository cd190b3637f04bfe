"""`POST /v2/publish/{destination}`: a publisher hands over a message.

The message is in this request. It is answered once it is durable.
"""

from django.http import HttpRequest, JsonResponse

from broker.api.requests import (
    LARGEST_MESSAGE,
    authenticated,
    destination_after,
    refuse,
)
from broker.publishing import read_message, store
from groupcommit.writer import writer


@authenticated
async def publish_message(request: HttpRequest) -> JsonResponse:
    """Answer `{"messageId": "msg_…"}`, or 202 with `deduplicated` for one known already.
    https://upstash.com/docs/qstash/api-reference/messages/publish-a-message
    """
    if request.method != "POST":
        return refuse(405, "publish with POST")
    body = request.read(LARGEST_MESSAGE + 1)
    if len(body) > LARGEST_MESSAGE:
        return refuse(413, f"the body is larger than {LARGEST_MESSAGE} bytes")
    destination, options = destination_after("/v2/publish/", request)
    headers = {**options, **{name.lower(): value for name, value in request.headers.items()}}
    caller_ip = request.META.get("REMOTE_ADDR", "")
    message = read_message(destination, headers, body, caller_ip=caller_ip)
    receipt = await writer.write(store, message)
    if receipt.deduplicated:
        return JsonResponse({"messageId": receipt.message_id, "deduplicated": True}, status=202)
    return JsonResponse({"messageId": receipt.message_id, "url": destination})
