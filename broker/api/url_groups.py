"""`/v2/topics`: URL groups, one name for several endpoints.

A message published to the name becomes one message for each of them;
broker/resources/url_groups.py makes the changes.
https://upstash.com/docs/qstash/features/url-groups
"""

from typing import Any

from django.http import JsonResponse

from broker.api.lookups import show_all, show_one
from broker.api.requests import Call
from broker.changes import make
from broker.clock import now_ms
from broker.errors import Rejected
from broker.headers import canonical
from broker.models import UrlGroup
from broker.options import checked_name, checked_options, checked_url, quoted
from broker.publishing import Publication, message_to
from broker.resources import url_groups
from broker.resources.url_groups import ANY_URL, EndpointChange, GroupChange


async def list_groups(call: Call) -> JsonResponse:
    """Answer a list of groups, oldest first."""
    return await show_all(lambda: shown(call.account))


async def show_group(call: Call, name: str) -> JsonResponse:
    """Answer one group."""
    name = checked_name(name, "URL group")
    return await show_one(lambda: shown(call.account, name=name), f"URL group {name!r}")


async def add_endpoints(call: Call, name: str) -> JsonResponse:
    """Add or change `{"endpoints": [{"url", "name"}]}`, the name being optional."""
    change = change_of(call, name)
    endpoints = tuple(endpoints_in(call.json()))
    if not all(endpoint.url for endpoint in endpoints):
        raise Rejected("every one of endpoints needs a url")
    await make(url_groups.add_endpoints, change._replace(endpoints=endpoints))
    return JsonResponse({})


async def remove_endpoints(call: Call, name: str) -> JsonResponse:
    """Remove `{"endpoints": [{"name"} or {"url"}]}`, and with the last one the group."""
    change = change_of(call, name)
    endpoints = tuple(endpoints_in(call.json()))
    await make(url_groups.remove_endpoints, change._replace(endpoints=endpoints))
    return JsonResponse({})


async def set_headers(call: Call, name: str) -> JsonResponse:
    """Replace a group's default options, `{"headers": {"Upstash-Retries": "3"}}`; a value is a
    text or a list of texts.
    """
    change = change_of(call, name)
    body = call.json()
    headers = body.get("headers") if isinstance(body, dict) else None
    if not isinstance(headers, dict) or not all(map(is_header, headers.values())):
        raise Rejected("headers must be an object of texts or lists of texts")
    options = checked_options(headers)
    message_to(ANY_URL, Publication(ANY_URL, options, b""), now_ms())
    await make(url_groups.set_header, change._replace(header=options))
    return JsonResponse({})


async def delete_group(call: Call, name: str) -> JsonResponse:
    """Delete a group, if there is one."""
    await make(url_groups.delete, change_of(call, name))
    return JsonResponse({})


def change_of(call: Call, name: str) -> GroupChange:
    return GroupChange(call.account, checked_name(name, "URL group"), now_ms())


def endpoints_in(body: Any) -> list[EndpointChange]:
    """The endpoints that a body names, with their URLs as messages will have them."""
    given = body.get("endpoints") if isinstance(body, dict) else None
    if not isinstance(given, list) or not given:
        raise Rejected("endpoints must be a list of at least one {url, name}")
    return [endpoint_in(item) for item in given]


def endpoint_in(item: Any) -> EndpointChange:
    """One endpoint; what is not given becomes ""."""
    given = [item.get("url"), item.get("name")] if isinstance(item, dict) else []
    if not any(given) or not all(part is None or isinstance(part, str) for part in given):
        raise Rejected("each of endpoints must be an object {url, name} of texts")
    url, name = (part or "" for part in given)
    if url:
        checked_url(url)
    if name:
        checked_name(name, "endpoint name")
    return EndpointChange(quoted(url), name)


def is_header(value: Any) -> bool:
    """Whether a JSON value can be that of a header: a text or a list of texts."""
    texts = value if isinstance(value, list) else [value]
    return all(isinstance(text, str) for text in texts)


def shown(account: str, **which: str) -> list[dict[str, Any]]:
    """Groups as JSON."""
    groups = UrlGroup.objects.filter(account=account, **which).order_by("id")
    return [as_json(group) for group in groups.prefetch_related("endpoints")]


def as_json(group: UrlGroup) -> dict[str, Any]:
    endpoints = sorted(group.endpoints.all(), key=lambda endpoint: endpoint.pk)
    answer: dict[str, Any] = {
        "name": group.name,
        "createdAt": group.created_at,
        "updatedAt": group.updated_at,
        "endpoints": [
            {"url": end.url} | ({"name": end.name} if end.name else {}) for end in endpoints
        ],
    }
    if group.header:
        answer["headers"] = {canonical(name): values for name, values in group.header.items()}
    return answer
