"""`/v2/dlq`: dead letters are shown, listed, filtered and deleted, each account its own."""

import hashlib

import pytest

from broker.delivery import Outcome
from broker.dispatcher import Dispatcher
from broker.models import DeadLetter
from broker.publishing import store
from groupcommit.writer import writer
from tests.broker.calls import ask
from tests.broker.letters import ALL_FIELDS, buried, waiting
from tests.broker.messages import ERROR, NO_ANSWER, NOW, Destination, new_message

pytestmark = pytest.mark.django_db(transaction=True)

OTHER = {"token": "other-token", "current": "sig_a", "next": "sig_b"}


@pytest.fixture
def other_token(settings) -> str:
    settings.BROKER_ACCOUNTS = settings.BROKER_ACCOUNTS | {"other": OTHER}
    return OTHER["token"]


async def letters(query: str = "") -> list[dict[str, object]]:
    answer = await ask("GET", f"dlq{query}")
    assert answer.status == 200, answer.body
    return answer.json["messages"]


async def left() -> str:
    return "".join([letter["label"] for letter in await letters()])


async def test_message_without_attempts_left_can_be_looked_at():
    message = new_message(max_retries=0, body=b"hi")
    await writer.write(store, message)
    await Dispatcher(Destination(ERROR), lambda: NOW).run_once()
    (letter,) = await letters()
    assert letter == {
        "messageId": message.message_id,
        "url": "http://target.test/",
        "method": "POST",
        "maxRetries": 0,
        "notBefore": NOW,
        "createdAt": NOW,
        "body": "hi",
        "dlqId": (await DeadLetter.objects.aget()).dlq_id,
        "responseStatus": 500,
        "responseHeader": {"X-A": ["1"]},
        "responseBody": "oops",
    }
    assert (await ask("GET", f"dlq/{letter['dlqId']}")).json == letter


async def test_letter_without_an_answer_has_status_0():
    await buried(outcome=NO_ANSWER)
    (letter,) = await letters()
    assert [letter[name] for name in letter if name.startswith("response")] == [0]


async def test_binary_answer_is_shown_in_base64():
    await buried(outcome=Outcome(500, {}, b"\xff", "HTTP 500"))
    (letter,) = await letters()
    assert (letter["responseBodyBase64"], "responseBody" in letter) == ("/w==", False)


async def test_letter_shows_its_message_except_redacted_fields():
    await buried(**ALL_FIELDS)
    (letter,) = await letters()
    assert letter["body"] == f"REDACTED:{hashlib.sha256(b'\xff').hexdigest()}"
    assert "bodyBase64" not in letter
    told = {"queueName": "q", "topicName": "g", "rate": 3, "period": 60, "labels": ["a", "b"]}
    assert letter | told == letter


async def test_letters_are_listed_newest_first_in_pages():
    ids = await buried(5)
    pages, cursor = [], ""
    while not pages or cursor:
        answer = await ask("GET", f"dlq?count=2&cursor={cursor}")
        pages.append([letter["dlqId"] for letter in answer.json["messages"]])
        cursor = answer.json.get("cursor")
    assert pages == [[ids[4], ids[3]], [ids[2], ids[1]], [ids[0]]]
    assert "cursor" not in (await ask("GET", "dlq?count=5")).json
    assert (await ask("GET", "dlq?label=x")).json == {"messages": []}


async def test_no_more_than_100_are_listed_at_once():
    await buried(101)
    answer = await ask("GET", "dlq?count=1000")
    assert (len(answer.json["messages"]), "cursor" in answer.json) == (100, True)


async def test_letters_are_filtered():
    await buried(labels=",a,", outcome=NO_ANSWER)
    await buried(**ALL_FIELDS | {"message_id": "msg_b", "labels": ",b,"})
    for query in (
        "messageId=msg_b",
        "url=https%3A%2F%2Fa.test%2Fp%3Fb%3D1%2C2",
        "topicName=g",
        "queueName=q",
        "scheduleId=scd_1",
        "responseStatus=503&responseStatus=500",
        "responseStatus=500,503",
        "callerIp=::1",
        "callerIP=::1",
        "label=b&label=c",
        "flowControlKey=k",
        f"fromDate={NOW}&label=b&responseStatus=500",
    ):
        assert [letter["label"] for letter in await letters(f"?{query}")] == ["b"], query
    assert await letters("?label=b&responseStatus=0") == []


async def test_filtered_letters_are_deleted_and_retried():
    await buried(4)
    assert (await ask("DELETE", "dlq?label=1&label=3")).json == {"deleted": 2}
    assert (await ask("DELETE", "dlq", {"label": "3"})).json == {"deleted": 0}
    assert len((await ask("POST", "dlq/retry?label=0&responseStatus=500")).json["responses"]) == 1
    assert (await ask("POST", "dlq/retry", {"label": ["0", "1"]})).json == {"responses": []}
    assert await left() == "2"


async def test_dates_are_those_of_the_failure():
    await buried(2, created_at=5, not_before=5)
    assert len(await letters(f"?fromDate={NOW}&toDate={NOW}")) == 1
    assert await letters("?toDate=5") == []


async def test_letters_are_listed_by_their_ids():
    ids = await buried(3)
    found = await letters(f"?dlqIds={ids[0]}&dlqIds={ids[2]},1-1&label=1")
    assert [letter["dlqId"] for letter in found] == [ids[2], ids[0]]


async def test_unknown_letter_is_not_found():
    await buried()
    for dlq_id in ("1-1", "1-1/", "x", "%00", "1-99999999999999999999", "1-1%0A"):
        for method, target in (("GET", "dlq"), ("DELETE", "dlq"), ("POST", "dlq/retry")):
            answer = await ask(method, f"{target}/{dlq_id}")
            assert (answer.status, list(answer.json)) == (404, ["error"]), (method, dlq_id)
    assert await left() == "0"


async def test_letter_is_deleted_once_and_its_log_stays():
    (dlq_id,) = await buried()
    assert (await ask("DELETE", f"dlq/{dlq_id}")).status == 200
    for method in ("GET", "DELETE"):
        assert (await ask(method, f"dlq/{dlq_id}")).status == 404
    assert [line["state"] for line in (await ask("GET", "events")).json["events"]][0] == "FAILED"


@pytest.mark.parametrize("place", ["query", "body"])
async def test_letters_are_deleted_by_their_ids(place):
    ids = await buried(3)
    chosen = [ids[0], ids[2], "1-1", "nonsense"]
    if place == "query":
        answer = await ask("DELETE", "dlq?" + "&".join(f"dlqIds={one}" for one in chosen))
    else:
        answer = await ask("DELETE", "dlq", {"dlqIds": chosen})
    assert answer.json == {"deleted": 2}
    assert await left() == "1"


async def test_wrong_id_with_the_same_key_hides_no_letter():
    (dlq_id,) = await buried()
    _, key = dlq_id.split("-")
    assert (await ask("DELETE", f"dlq?dlqIds={dlq_id},1-{key}")).json == {"deleted": 1}


async def test_all_are_deleted_page_by_page():
    await buried(5)
    first = (await ask("DELETE", "dlq?count=2")).json
    assert (first["deleted"], await left()) == (2, "210")
    rest = (await ask("DELETE", f"dlq?count=100&cursor={first['cursor']}")).json
    assert rest == {"deleted": 3}


async def test_more_letters_than_100_are_deleted_by_their_ids():
    ids = await buried(130)
    assert (await ask("DELETE", "dlq", {"dlqIds": ids})).json == {"deleted": 130}


async def test_empty_list_of_ids_takes_nothing():
    await buried()
    assert (await ask("DELETE", "dlq", {"dlqIds": []})).json == {"deleted": 0}
    assert (await ask("POST", "dlq/retry", {"dlqIds": []})).json == {"responses": []}
    assert await left() == "0"


async def test_wrong_filter_is_refused_by_its_name_everywhere():
    await buried()
    for name, value in (
        ("labeel", "a"),
        ("host", "a.test"),
        ("path", "/"),
        ("state", "FAILED"),
        ("count", "x"),
        ("cursor", "x"),
        ("fromDate", "x"),
        ("responseStatus", "5xx"),
        ("dlqIds", ""),
        ("label", "%00"),
    ):
        for method, target in (("GET", "dlq"), ("DELETE", "dlq"), ("POST", "dlq/retry")):
            answer = await ask(method, f"{target}?{name}={value}")
            assert answer.status == 400, (method, name)
            assert name in answer.error
    assert await left() == "0"


async def test_wrong_body_is_refused():
    await buried()
    for body in ([], {"labeel": 1}, {"label": None}, {"dlqIds": [{}]}, b"x"):
        for method, target in (("DELETE", "dlq"), ("POST", "dlq/retry")):
            assert (await ask(method, target, body)).status == 400, body
    assert await left() == "0"


async def test_letters_of_another_account_are_out_of_reach(other_token):
    (dlq_id,) = await buried()
    for method, target in (
        ("GET", f"dlq/{dlq_id}"),
        ("DELETE", f"dlq/{dlq_id}"),
        ("POST", f"dlq/retry/{dlq_id}"),
    ):
        assert (await ask(method, target, token=other_token)).status == 404
    for query in ("", f"?dlqIds={dlq_id}", "?label=0"):
        listed = await ask("GET", f"dlq{query}", token=other_token)
        deleted = await ask("DELETE", f"dlq{query}", token=other_token)
        retried = await ask("POST", f"dlq/retry{query}", token=other_token)
        assert (listed.json, deleted.json) == ({"messages": []}, {"deleted": 0})
        assert retried.json == {"responses": []}
    assert (await left(), await waiting()) == ("0", [])
