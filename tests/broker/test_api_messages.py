"""`/v2/messages`: how a message is shown, and every way to cancel one or many."""

from urllib.parse import quote

import pytest

from broker.dispatcher import Dispatcher
from broker.models import Event, Message, State
from broker.publishing import store, store_lists
from groupcommit.writer import writer
from tests.broker.calls import ask
from tests.broker.messages import ERROR, NOW, OK, Destination, new_message

pytestmark = pytest.mark.django_db(transaction=True)

URL = "https://a.test/p?b=1,2"
OTHER = {"token": "other-token", "current": "sig_a", "next": "sig_b"}


@pytest.fixture
def other_token(settings) -> str:
    settings.BROKER_ACCOUNTS = settings.BROKER_ACCOUNTS | {"other": OTHER}
    return OTHER["token"]


async def stored(**fields: object) -> Message:
    message = new_message(**fields)
    await writer.write(store, message)
    return message


async def get(message_id: str) -> dict[str, object]:
    answer = await ask("GET", f"messages/{message_id}")
    assert answer.status == 200, answer.body
    return answer.json


async def cancel(query: str = "", body: object = b"") -> object:
    answer = await ask("DELETE", f"messages{query}", body)
    assert answer.status == 200, answer.body
    return answer.json["cancelled"]


async def left() -> list[str]:
    """The labels of the messages that have not been cancelled."""
    waiting = Message.objects.exclude(state=State.CANCELED).order_by("id")
    return [message.labels.strip(",") async for message in waiting]


async def test_finished_message_is_still_shown():
    delivered, failed = await stored(), await stored(max_retries=0)
    await Dispatcher(Destination(OK, ERROR), lambda: NOW).run_once()
    for message in (delivered, failed):
        assert (await get(message.message_id))["messageId"] == message.message_id
        assert (await ask("DELETE", f"messages/{message.message_id}")).status == 404
    assert await cancel() == 0


async def test_waiting_message_is_cancelled_at_once():
    message = await stored()
    answer = await ask("DELETE", f"messages/{message.message_id}")
    assert (answer.status, answer.json) == (202, {"cancelled": 1})
    for method in ("GET", "DELETE"):
        answer = await ask(method, f"messages/{message.message_id}")
        assert answer.status == 404
        assert message.message_id in answer.error
    lines = Event.objects.order_by("id").values_list("state", flat=True)
    assert [state async for state in lines] == ["CREATED", "CANCEL_REQUESTED", "CANCELED"]


async def test_active_message_is_gone_once_cancelled():
    message = await stored(state=State.ACTIVE, claimed_by="somebody")
    assert (await ask("DELETE", f"messages/{message.message_id}")).status == 202
    for method in ("GET", "DELETE"):
        assert (await ask(method, f"messages/{message.message_id}")).status == 404
    assert (await Message.objects.aget()).state == State.CANCEL_REQUESTED


async def test_unknown_message_is_not_found():
    for message_id in ("msg_unknown", "msg_unknown/", "%00", "a%0Ab", "%FF", "a.b", "x" * 300):
        for method in ("GET", "DELETE"):
            answer = await ask(method, f"messages/{message_id}")
            assert (answer.status, list(answer.json)) == (404, ["error"]), message_id


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("", {"messageIds": ["msg_a", "msg_b", "msg_x"]}),
        ("", {"messageIds": "msg_a,msg_b"}),
        ("?messageIds=msg_a&messageIds=msg_b&messageIds=msg_b", b""),
        ("?messageIds=msg_a,msg_b&label=c", b""),
    ],
)
async def test_messages_are_cancelled_by_their_ids(query, body):
    for name in "abc":
        await stored(message_id=f"msg_{name}", labels=f",{name},")
    assert await cancel(query, body) == 2
    assert await left() == ["c"]
    assert await cancel(query, body) == 0


@pytest.mark.parametrize(
    ("query", "body"), [("", b""), ("/", {}), ("?count=100", b""), ("?cursor=", b"")]
)
async def test_all_messages_are_cancelled(query, body):
    waiting = await stored(due_at=NOW + 10**9)
    queued = await stored(queue_name="q")
    limited = await stored(flow_control_key="k", flow_control={"rate": 1, "period": 1})
    under_way = await stored(state=State.ACTIVE)
    assert await cancel(query, body) == 4
    for message in (waiting, queued, limited, under_way):
        assert (await ask("GET", f"messages/{message.message_id}")).status == 404
    assert await cancel(query, body) == 0


async def test_empty_list_of_ids_cancels_nothing():
    await stored(labels=",a,")
    assert await cancel(body={"messageIds": []}) == 0
    assert await cancel(body={"label": []}) == 0
    assert await left() == ["a"]


@pytest.mark.parametrize("place", ["query", "body"])
async def test_messages_are_cancelled_by_a_filter(place):
    await stored(labels=",a,", path="/")
    fields = {"url": URL, "url_group": "g", "queue_name": "q", "schedule_id": "scd_1"}
    fields |= {"host": "a.test", "path": "/p", "caller_ip": "::1", "created_at": NOW + 5}
    flow_control = {"flow_control_key": "k/1", "flow_control": {"rate": 1, "period": 1}}
    for wanted in (
        {"url": URL},
        {"topicName": "g"},
        {"queueName": "q"},
        {"scheduleId": "scd_1"},
        {"label": "b"},
        {"flowControlKey": "k/1"},
        {"host": "a.test"},
        {"path": "/p"},
        {"callerIp": "::1"},
        {"callerIP": "::1"},
        {"fromDate": NOW + 5},
        {"toDate": NOW + 5, "fromDate": NOW + 5, "label": "b", "count": 100},
    ):
        await stored(labels=",b,", **fields, **flow_control)
        query = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in wanted.items())
        given = (f"?{query}", b"") if place == "query" else ("", wanted)
        assert await cancel(*given) == 1, wanted
        assert await left() == ["a"]


async def test_values_of_one_filter_are_alternatives():
    for name in "abc":
        await stored(labels=f",{name},", host=f"{name}.test")
    assert await cancel("?label=a&label=b&host=b.test,c.test") == 1
    assert await left() == ["a", "c"]


async def test_wrong_selector_is_refused_by_its_name():
    await stored()
    for query, body, name in (
        ("labeel=a", b"", "labeel"),
        ("", {"labeel": "a"}, "labeel"),
        ("messageId=msg_1", b"", "messageId"),
        ("state=CREATED", b"", "state"),
        ("count=many", b"", "count"),
        ("count=0", b"", "count"),
        ("fromDate=yesterday", b"", "fromDate"),
        ("toDate=-1", b"", "toDate"),
        ("", {"toDate": 1.5}, "toDate"),
        ("label=", b"", "label"),
        ("label=%00", b"", "label"),
        ("messageIds=", b"", "messageIds"),
        ("", {"messageIds": None}, "messageIds"),
        ("", {"messageIds": [1, None]}, "messageIds"),
        ("", {"queueName": "\ud800"}, "queueName"),
        ("", ["msg_1"], "body"),
        ("", b"{", "body"),
        ("label=%FF", b"", "query"),
    ):
        answer = await ask("DELETE", f"messages?{query}", body)
        assert answer.status == 400, (query, body)
        assert name in answer.error
    assert await left() == [""]


async def test_count_is_ignored_unless_the_settings_say_so(settings):
    for _ in range(5):
        await stored()
    settings.BROKER_CANCEL_COUNTS = True
    assert [await cancel("?count=2"), await cancel("?count=1")] == [2, 1]
    settings.BROKER_CANCEL_COUNTS = False
    assert await cancel("?count=1") == 2


async def test_more_messages_than_one_write_takes_are_cancelled():
    await writer.write(store_lists, [new_message() for _ in range(1100)])
    assert await cancel("?count=100") == 1100
    assert not await Message.objects.exclude(state=State.CANCELED).aexists()


async def test_messages_of_another_account_are_out_of_reach(other_token):
    message = await stored(message_id="msg_a", labels=",a,")
    for target in ("messages/msg_a", "messages?messageIds=msg_a", "messages", "messages?label=a"):
        answer = await ask("DELETE", target, token=other_token)
        assert answer.status == 404 or answer.json == {"cancelled": 0}
    assert (await ask("GET", "messages/msg_a", token=other_token)).status == 404
    assert (await get(message.message_id))["label"] == "a"
