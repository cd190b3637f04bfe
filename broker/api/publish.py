"""`POST /v2/publish/…`, `/v2/enqueue/…`, `/v2/batch`: a publisher sends messages.

They are in this request, which is answered once they are durable.
https://upstash.com/docs/qstash/api-reference/messages/publish-a-message
"""

from itertools import chain
from typing import Any

from django.conf import settings
from django.http import JsonResponse

from broker import lanes
from broker.api.lookups import read
from broker.api.requests import Call
from broker.clock import now_ms
from broker.errors import Rejected, TooLarge
from broker.models import Message
from broker.options import checked_options
from broker.publishing import Publication, Receipt, messages_for, store_lists
from groupcommit.statements import one_by_one
from groupcommit.writer import writer


@lanes.locked_for(chain.from_iterable)
@one_by_one
def store_batch(lists: list[list[Message]]) -> list[list[Receipt]]:
    """Store the messages of a batch."""
    return store_lists(lists)


async def publish_message(call: Call) -> JsonResponse:
    """Answer `{"messageId": "msg_…"}`, a list of those for a URL group, or 202 and
    `deduplicated` for a message that was accepted before.
    """
    return await publish(read_publication(call, "/v2/publish/"))


async def enqueue_message(call: Call, queue_name: str) -> JsonResponse:
    """Publish into a queue, which is created if it is missing."""
    publication = read_publication(call, f"/v2/enqueue/{queue_name}/")
    return await publish(publication._replace(queue_name=queue_name))


async def publish_batch(call: Call) -> JsonResponse:
    """Publish each `{destination, headers, body, queue}` of a list, all stored at once; the
    answers in the same order. An item that cannot be published has `{"error": "…"}` in its place.
    https://upstash.com/docs/qstash/features/batch
    """
    items = call.json(settings.LARGEST_REQUEST)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise Rejected("the body must be a list of {destination, headers, body, queue}")
    answers: list[Any] = [None] * len(items)
    accepted: dict[int, tuple[Publication, list[Message]]] = {}
    for number, item in enumerate(items):
        try:
            publication = read_item(call, item)
            accepted[number] = publication, await prepare(publication)
        except Rejected as error:
            answers[number] = {"error": f"item {number}: {error}"}
    lists = [messages for _, messages in accepted.values()]
    receipts = await writer.write(store_batch, lists) if lists else []
    for number, of_item in zip(accepted, receipts, strict=True):
        answers[number] = answer(accepted[number][0], of_item)
    return JsonResponse(answers, safe=False)


def read_publication(call: Call, prefix: str) -> Publication:
    """What a request asks to publish; the destination follows a prefix of its path."""
    destination, options = call.destination(prefix)
    return Publication(destination, options, call.body(), call.account, call.caller_ip)


def read_item(call: Call, item: dict[str, Any]) -> Publication:
    """What one item of a batch asks to publish."""
    headers, body = item.get("headers") or {}, item.get("body") or ""
    texts = {"destination": item.get("destination"), "body": body, "queue": item.get("queue", "")}
    for name, value in texts.items():
        if not isinstance(value or "", str):
            raise Rejected(f"{name} must be a text")
    if not isinstance(headers, dict) or not all(isinstance(v, str) for v in headers.values()):
        raise Rejected("headers must be an object of texts")
    try:
        content = body.encode()
    except UnicodeEncodeError as error:
        raise Rejected(f"body is not text: {error}") from error
    if len(content) > settings.BROKER_MESSAGE_BYTES:
        raise TooLarge(f"the body is larger than {settings.BROKER_MESSAGE_BYTES} bytes")
    return Publication(
        texts["destination"] or "",
        checked_options(headers),
        content,
        call.account,
        call.caller_ip,
        texts["queue"] or None,
    )


async def publish(publication: Publication) -> JsonResponse:
    receipts = await writer.write(store_lists, await prepare(publication))
    duplicate = any(receipt.deduplicated for receipt in receipts)
    answered = answer(publication, receipts)
    return JsonResponse(answered, safe=False, status=202 if duplicate else 200)


async def prepare(publication: Publication) -> list[Message]:
    """The messages of a publication; only a URL group is looked up in the database."""
    if publication.names_group:
        return await read(lambda: messages_for(publication, now_ms()))
    return messages_for(publication, now_ms())


def answer(publication: Publication, receipts: list[Receipt]) -> Any:
    """The receipts of one publication as JSON."""
    told = [
        {"messageId": receipt.message_id, "url": receipt.url}
        | ({"deduplicated": True} if receipt.deduplicated else {})
        for receipt in receipts
    ]
    return told if publication.names_group else told[0]
