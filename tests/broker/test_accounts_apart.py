"""Nobody reaches what another account has, by any route of `/v2/`.

One account has one of everything. Another one, with a token of its own, tries every route by the
names and ids of the first; afterwards all is as it was.
"""

import json

import pytest
from asgiref.sync import sync_to_async
from django.urls import URLResolver

from broker import models
from broker.urls import urlpatterns
from tests.broker.calls import ask
from tests.broker.letters import buried

pytestmark = pytest.mark.django_db(transaction=True)

OTHER = {"token": "other-token", "current": "sig_a", "next": "sig_b"}
TABLES = [
    models.Message, models.Event, models.DeadLetter, models.Schedule, models.Queue,
    models.UrlGroup, models.Endpoint, models.FlowControl,
]  # fmt: skip
ENDPOINTS = {"endpoints": [{"url": "https://mine.test/", "name": "mine"}]}
SECRET = "a text of the first account"
# What each route is asked for, in this order, and in what statuses it may answer. {…} is theirs.
ROUTES = [
    ("GET", "messages/{message}", b"", {404}),
    ("DELETE", "messages/{message}", b"", {404}),
    ("DELETE", "messages", {"messageIds": ["{message}"]}, {200}),
    ("DELETE", "messages?messageIds={message}", b"", {200}),
    ("DELETE", "messages", b"", {200}),
    ("GET", "events", b"", {200}),
    ("GET", "events?messageId={message}", b"", {200}),
    ("GET", "events?messageIds={message}", b"", {200}),
    ("GET", "logs", b"", {200}),
    ("GET", "dlq", b"", {200}),
    ("GET", "dlq?dlqIds={letter}", b"", {200}),
    ("GET", "dlq/{letter}", b"", {404}),
    ("DELETE", "dlq", {"dlqIds": ["{letter}"]}, {200}),
    ("DELETE", "dlq?dlqIds={letter}", b"", {200}),
    ("DELETE", "dlq", b"", {200}),
    ("DELETE", "dlq/{letter}", b"", {404}),
    ("POST", "dlq/retry", b"", {201}),
    ("POST", "dlq/retry?dlqIds={letter}", b"", {201}),
    ("POST", "dlq/retry/{letter}", b"", {404}),
    ("GET", "queues", b"", {200}),
    ("GET", "queues/theirs", b"", {404}),
    ("DELETE", "queues/theirs", b"", {200, 404}),
    ("POST", "queues", {"queueName": "theirs", "parallelism": 9, "paused": True}, {200}),
    ("POST", "queues/theirs/pause", b"", {200, 404}),
    ("POST", "queues/theirs/resume", b"", {200, 404}),
    ("GET", "schedules", b"", {200}),
    ("GET", "schedules/theirs", b"", {404}),
    ("DELETE", "schedules/theirs", b"", {200, 404}),
    ("PATCH", "schedules/theirs/pause", b"", {404}),
    ("POST", "schedules/theirs/resume", b"", {404}),
    ("POST", "schedules/theirs", b"mine", {400}),
    ("GET", "topics", b"", {200}),
    ("GET", "topics/theirs", b"", {404}),
    ("PATCH", "topics/theirs", {"headers": {"Upstash-Retries": "1"}}, {404}),
    ("DELETE", "topics/theirs", b"", {200, 404}),
    ("DELETE", "topics/theirs/endpoints", {"endpoints": [{"name": "theirs"}]}, {404}),
    ("POST", "publish/theirs", b"mine", {400}),
    ("POST", "enqueue/theirs/theirs", b"mine", {400}),
    ("POST", "enqueue/theirs/https://mine.test/", b"mine", {200}),
    ("POST", "batch", [{"destination": "theirs", "body": "mine"}], {200}),
    ("GET", "flowControl", b"", {200}),
    ("GET", "flowControl/theirs", b"", {404}),
    ("POST", "flowControl/theirs/pause", b"", {200}),
    ("POST", "flowControl/theirs/resume", b"", {200}),
    ("POST", "flowControl/theirs/resetRate", b"", {200}),
    ("POST", "flowControl/theirs/pin?parallelism=9", b"", {200}),
    ("POST", "flowControl/theirs/unpin?parallelism=true", b"", {200, 404}),
    ("GET", "globalParallelism", b"", {200}),
    ("GET", "keys", b"", {200}),
    ("POST", "keys/rotate", b"", {200}),
    ("POST", "topics/theirs/endpoints", ENDPOINTS, {200}),
]


@pytest.fixture
async def theirs(settings) -> dict[str, str]:
    """One of everything, in the first account; its ids."""
    settings.BROKER_ACCOUNTS = settings.BROKER_ACCOUNTS | {"other": OTHER}
    (letter,) = await buried(body=SECRET.encode(), account="site")
    endpoints = {"endpoints": [{"url": "https://a.test/", "name": "theirs"}]}
    assert (await ask("POST", "topics/theirs/endpoints", endpoints)).status == 200
    options = {"Upstash-Flow-Control-Key": "theirs", "Upstash-Flow-Control-Value": "rate=2"}
    options |= {"Upstash-Label": SECRET, "Upstash-Deduplication-Id": "theirs"}
    told = await ask("POST", "enqueue/theirs/https://a.test/", SECRET.encode(), options)
    cron = {"Upstash-Cron": "0 0 1 1 *", "Upstash-Schedule-Id": "theirs"}
    assert (await ask("POST", "schedules/https://a.test/", SECRET.encode(), cron)).status == 200
    return {"message": told.json["messageId"], "letter": letter}


@sync_to_async
def rows() -> list[list[tuple]]:
    """All that the first account has."""
    ways = {models.Endpoint: "group__account", models.DeadLetter: "message__account"}
    return [
        list(
            table.objects.filter(**{ways.get(table, "account"): "site"})
            .order_by("pk")
            .values_list()
        )
        for table in TABLES
    ]


async def test_other_account_neither_sees_nor_changes_it(theirs):
    """All routes in one test: whatever one of them did would be seen after it."""
    before, keys = await rows(), (await ask("GET", "keys")).json
    assert all(before)
    for method, target, content, allowed in ROUTES:
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        for name, value in theirs.items():
            text = text.replace(b"{%b}" % name.encode(), value.encode())
        answer = await ask(method, target.format(**theirs), text, token=OTHER["token"])
        assert answer.status in allowed, (method, target, answer.body)
        for secret in (SECRET, "a.test", *keys.values()):
            assert secret.encode() not in answer.body, (method, target)
        assert await rows() == before, (method, target)
        assert (await ask("GET", "keys")).json == keys


async def test_deduplication_ids_are_each_accounts_own(theirs):
    own = {"Upstash-Deduplication-Id": "theirs"}
    told = await ask("POST", "publish/https://a.test/", b"", own, token=OTHER["token"])
    assert (told.status, told.json.get("deduplicated")) == (200, None)


def test_every_route_is_tried():
    for pattern in urlpatterns:
        assert not isinstance(pattern, URLResolver)
        route = str(pattern.pattern)
        tried = [
            target for _, target, _, _ in ROUTES if pattern.pattern.match(target.partition("?")[0])
        ]
        assert tried or route in {r"^openapi\.json$", ""}, route
