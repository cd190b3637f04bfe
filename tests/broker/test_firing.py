"""When schedules fire: cron expressions, daylight saving time, and what is published."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from broker.dispatcher import Dispatcher
from broker.errors import Rejected
from broker.firing import next_moment, publish_due
from broker.models import Message, Queue, Schedule, UrlGroup
from groupcommit.statements import one_by_one
from groupcommit.writer import writer
from tests.broker.messages import NOW, Destination

MINUTE = 60_000
HOUR = 60 * MINUTE
BERLIN = "CRON_TZ=Europe/Berlin "
URL = "http://target.test/"
publish_now = one_by_one(publish_due)


def ms(text: str, zone: str = "UTC", fold: int = 0) -> int:
    """`2026-03-29 02:30` in a zone as unix ms; `fold` 1 is the second of two such moments."""
    moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return int(moment.timestamp() * 1000)


def moments(cron: str, after: int, count: int) -> list[str]:
    """The next moments as UTC texts."""
    found = []
    for _ in range(count):
        after = next_moment(cron, after)
        found.append(f"{datetime.fromtimestamp(after / 1000, ZoneInfo('UTC')):%m-%d %H:%M}")
    return found


@pytest.mark.parametrize(
    ("cron", "first"),
    [
        ("* * * * *", "2026-11-21 10:01"),
        ("*/15 * * * *", "2026-11-21 10:15"),
        ("5,10-12/2 * * * *", "2026-11-21 10:05"),
        ("0 0 * * *", "2026-11-22 00:00"),
        ("0 9 1 * *", "2026-12-01 09:00"),
        ("0 9 * 2 *", "2027-02-01 09:00"),
        ("0 9 29 2 *", "2028-02-29 09:00"),
        ("0 9 * * 0", "2026-11-22 09:00"),
        ("0 9 * * 7", "2026-11-22 09:00"),
        ("0 9 * * SUN", "2026-11-22 09:00"),
        ("0 9 * * mon-fri", "2026-11-23 09:00"),
        ("0 9 * jan *", "2027-01-01 09:00"),
        ("0 9 13 * 5", "2026-11-27 09:00"),
        ("0  9\t13 *  *", "2026-12-13 09:00"),
        ("  */5 * * * *  ", "2026-11-21 10:05"),
        ("CRON_TZ=UTC 0 11 * * *", "2026-11-21 11:00"),
        (" CRON_TZ=Europe/Berlin 30 11 * * * ", "2026-11-21 10:30"),
        ("CRON_TZ=Asia/Kathmandu 0 16 * * *", "2026-11-21 10:15"),
    ],
)
def test_cron_expression_names_its_next_moment(cron, first):
    assert next_moment(cron, ms("2026-11-21 10:00")) == ms(first)


def test_next_moment_is_after_the_given_one():
    moment = ms("2026-11-21 10:15")
    assert next_moment("15 10 * * *", moment - 1) == moment
    assert next_moment("15 10 * * *", moment) == moment + 24 * HOUR


@pytest.mark.parametrize(
    "cron",
    [
        "",
        "*",
        "* * * *",
        "* * * * * *",
        "0 0 0 1 1 * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 13 *",
        "* * * * 8",
        "* * * * noday",
        "5-1 * * * *",
        "*/0 * * * *",
        "a b c d e",
        "@daily",
        "-1 * * * *",
        "١ * * * *",
        "9" * 5000 + " * * * *",
        "0 0 31 2 *",
        "0 0 30 2 *",
        "0 0 31 4,6 *",
        "CRON_TZ=Europe/Berlin",
        "CRON_TZ=Nowhere/Land * * * * *",
        "CRON_TZ= * * * * *",
        "CRON_TZ=../../etc/passwd * * * * *",
        "CRON_TZ=Europe * * * * *",
        "CRON_TZ=/etc/localtime * * * * *",
        "CRON_TZ=\0 * * * * *",
        "TZ=UTC * * * * *",
    ],
)
def test_unreadable_cron_is_refused_with_the_reason(cron):
    with pytest.raises(Rejected, match="Upstash-Cron"):
        next_moment(cron, NOW)


def test_skipped_hour_of_spring_fires_when_the_clock_jumps():
    assert moments(f"{BERLIN}30 2 * * *", ms("2026-03-28 00:00"), 3) == [
        "03-28 01:30",
        "03-29 01:00",  # 3:00 in summer time: there is no 2:30
        "03-30 00:30",
    ]


def test_repeated_hour_of_autumn_fires_once():
    assert moments(f"{BERLIN}30 2 * * *", ms("2026-10-24 00:00"), 3) == [
        "10-24 00:30",
        "10-25 00:30",  # the first 2:30, in summer time
        "10-26 01:30",
    ]


def test_quarter_hours_are_neither_skipped_nor_doubled():
    spring = moments(f"{BERLIN}*/15 * * * *", ms("2026-03-29 00:40"), 4)
    assert spring == ["03-29 00:45", "03-29 01:00", "03-29 01:15", "03-29 01:30"]
    autumn = moments(f"{BERLIN}*/30 * * * *", ms("2026-10-24 23:50"), 6)
    assert autumn[:3] == ["10-25 00:00", "10-25 00:30", "10-25 01:00"]
    assert autumn[3:] == ["10-25 01:30", "10-25 02:00", "10-25 02:30"]


def test_hourly_schedule_fires_hourly_through_both_changes():
    for day in ("2026-03-28 23:00", "2026-10-24 23:00"):
        start = ms(day)
        for hour in range(1, 8):
            assert next_moment(f"{BERLIN}0 * * * *", start + (hour - 1) * HOUR) == (
                start + hour * HOUR
            )


def test_southern_zone_changes_at_other_times():
    assert moments("CRON_TZ=America/Santiago 30 0 * * *", ms("2026-09-05 00:00"), 3) == [
        "09-05 04:30",
        "09-06 04:00",  # midnight is left out that day
        "09-07 03:30",
    ]


@pytest.mark.parametrize("minute", range(0, 60, 7))
@pytest.mark.parametrize("fold", [0, 1])
def test_next_moment_is_never_in_the_past_while_the_hour_repeats(minute, fold):
    after = ms(f"2026-10-25 02:{minute:02}", "Europe/Berlin", fold)
    for cron in ("30 2 * * *", "*/10 2 * * *", "0 3 * * *", "*/10 * * * *"):
        assert next_moment(BERLIN + cron, after) > after


def test_moment_that_came_twice_fires_once():
    after, fired = ms("2026-10-24 23:00"), []
    while after < ms("2026-10-25 04:00"):
        if next_moment(f"{BERLIN}30 2 * * *", after) == after + MINUTE:
            fired.append(after + MINUTE)
        after += MINUTE
    assert fired == [ms("2026-10-25 00:30")]


def test_rare_moment_is_found_quickly():
    start = datetime.now()
    assert next_moment("0 0 29 2 1#5", NOW)
    assert datetime.now() - start < timedelta(seconds=1)


@pytest.fixture
def schedule(transactional_db) -> Callable[..., Awaitable[Schedule]]:
    """Makes schedules whose next moment is NOW."""

    async def schedule(cron: str = "* * * * *", **values: object) -> Schedule:
        fields = {"account": "site", "schedule_id": "s", "destination": URL, "next_at": NOW}
        return await Schedule.objects.acreate(**{"cron": cron, "body": b"tick"} | fields | values)

    return schedule


async def fire(now: int = NOW) -> int:
    return await writer.write(publish_now, now)


async def urls() -> list[str]:
    return [message.url async for message in Message.objects.order_by("id")]


async def test_moment_that_has_come_publishes_a_message(schedule):
    options = {"upstash-method": ["PUT"], "upstash-forward-x": ["1"], "upstash-retries": ["7"]}
    await schedule(options=options, caller_ip="192.0.2.1")
    assert (await fire(NOW - 1), await fire(NOW)) == (0, 1)
    message = await Message.objects.aget()
    assert (message.url, bytes(message.body), message.method) == (URL, b"tick", "PUT")
    assert (message.header, message.max_retries) == ({"X": ["1"]}, 7)
    assert (message.schedule_id, message.caller_ip, message.account) == ("s", "192.0.2.1", "site")
    assert (message.created_at, message.due_at) == (NOW, NOW)


async def test_schedule_remembers_what_it_published(schedule):
    await schedule()
    await fire(NOW + 5)
    found, message = await Schedule.objects.aget(), await Message.objects.aget()
    assert (found.last_at, found.last_messages) == (NOW + 5, [message.message_id])
    assert found.next_at == next_moment("* * * * *", NOW + 5) > NOW
    assert found.error == ""


async def test_moment_fires_once_for_two_dispatchers(schedule):
    await schedule()
    first, second = (Dispatcher(Destination(), lambda: NOW) for _ in range(2))
    assert await first.run_once() + await second.run_once() == 1
    assert await Message.objects.acount() == 1


async def test_dispatcher_delivers_what_a_schedule_publishes(schedule):
    await schedule()
    dispatcher = Dispatcher(destination := Destination(), lambda: NOW)
    assert await dispatcher.run_once() == 1
    assert bytes(destination.messages[0].body) == b"tick"


async def test_triggers_do_not_wait_for_each_other(schedule):
    await schedule()
    moment = (await Schedule.objects.aget()).next_at
    for _ in range(3):
        assert await fire(moment) == 1
        moment = (await Schedule.objects.aget()).next_at
    assert await Message.objects.filter(state="CREATED").acount() == 3


async def test_moment_missed_while_down_is_skipped(schedule):
    await schedule("0 * * * *")
    later = NOW + 5 * HOUR + 7 * MINUTE
    assert await fire(later) == 0
    assert not await Message.objects.aexists()
    found = await Schedule.objects.aget()
    assert found.next_at == next_moment("0 * * * *", later)
    assert found.last_at is None


async def test_moment_fires_up_to_a_minute_late(schedule):
    await schedule("0 * * * *")
    assert await fire(NOW + MINUTE) == 1


async def test_paused_schedule_does_not_fire(schedule):
    await schedule(paused=True, next_at=None)
    assert await fire(NOW + HOUR) == 0


async def test_delay_postpones_each_message(schedule):
    await schedule(options={"upstash-delay": ["90s"]})
    await fire()
    message = await Message.objects.aget()
    assert (message.not_before, message.due_at) == (NOW + 90_000, NOW + 90_000)


async def test_schedule_for_a_group_publishes_to_each_endpoint(schedule):
    await schedule(destination="g")
    group = await UrlGroup.objects.acreate(account="site", name="g")
    for letter in "ab":
        await group.endpoints.acreate(url=f"http://{letter}.test/")
    await fire()
    assert await urls() == ["http://a.test/", "http://b.test/"]
    found = await Schedule.objects.aget()
    assert len(found.last_messages) == 2


async def test_schedule_into_a_queue_leaves_its_parallelism_alone(schedule):
    await Queue.objects.acreate(account="site", name="q", parallelism=5)
    await schedule(options={"upstash-queue-name": ["q"]})
    await fire()
    message, queue = await Message.objects.aget(), await Queue.objects.aget()
    assert (message.queue_name, message.lane, queue.parallelism) == ("q", "queue:q", 5)


async def test_trigger_that_cannot_publish_says_why_and_goes_on(schedule):
    await schedule(destination="nobody")
    assert await fire() == 1
    found = await Schedule.objects.aget()
    assert "scheme" in found.error
    assert (found.last_messages, found.next_at > NOW) == ([], True)
    await Schedule.objects.aupdate(destination=URL)
    await fire(found.next_at)
    assert (await Schedule.objects.aget()).error == ""


async def test_trigger_makes_its_queue_whatever_the_quota(schedule, settings):
    settings.BROKER_QUEUES = 1
    await Queue.objects.acreate(account="site", name="another")
    await schedule(options={"upstash-queue-name": ["q"]})
    assert await fire() == 1
    assert await urls() == [URL]
    assert (await Schedule.objects.aget(schedule_id="s")).error == ""
    assert await Queue.objects.filter(name="q").aexists()


async def test_schedule_with_an_unknown_zone_stops_and_says_why(schedule):
    await schedule("CRON_TZ=Gone/Zone * * * * *")
    await schedule(schedule_id="healthy")
    assert await fire() >= 1
    assert await urls() == [URL]
    found = await Schedule.objects.aget(schedule_id="s")
    assert ("Gone/Zone" in found.error, found.next_at) == (True, None)


async def test_duplicate_names_the_message_that_came_first(schedule):
    await schedule(options={"upstash-deduplication-id": ["once"]})
    await fire()
    await fire((await Schedule.objects.aget()).next_at)
    message = await Message.objects.aget()
    assert (await Schedule.objects.aget()).last_messages == [message.message_id]


async def test_deleted_schedule_leaves_its_messages(schedule):
    await schedule()
    await fire()
    await Schedule.objects.all().adelete()
    assert await Dispatcher(Destination(), lambda: NOW).run_once() == 1


async def test_many_schedules_fire_at_the_same_moment(schedule):
    first = await schedule()
    for number in range(60):
        first.pk, first.schedule_id = None, f"s{number}"
        await first.asave(force_insert=True)
    assert [await fire() for _ in range(3)] == [50, 11, 0]
    assert await Message.objects.values("schedule_id").distinct().acount() == 61
