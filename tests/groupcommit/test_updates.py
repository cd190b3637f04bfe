"""Many updates in one batch, each of its own row."""

import json
from datetime import UTC, datetime

import pytest
from django.db import Error, IntegrityError, connection, transaction

from broker.models import Pulse
from groupcommit.statements import insert_all
from groupcommit.updates import as_json, update_each
from jobs.models import Job

NOW = datetime(2026, 11, 26, 21, 0, 0, 123456, tzinfo=UTC)


def pulses(*names: str) -> list[Pulse]:
    return [Pulse(dispatcher=name, seen_at=number) for number, name in enumerate(names)]


def noted(job: Job, **values) -> tuple[dict, dict]:
    return ({"id": job.id, "status": job.status}, values)


@pytest.fixture
def jobs(db) -> list[Job]:
    jobs = [Job(status="running", task="a.b", owner=f"{number}") for number in range(3)]
    insert_all(jobs)
    return jobs


def test_each_update_says_whether_its_row_was_as_expected(db):
    insert_all(pulses("a", "b", "c"))
    changes = [
        ({"dispatcher": "c", "seen_at": 2}, {"seen_at": 12, "in_flight": 1}),
        ({"dispatcher": "a", "seen_at": 7}, {"seen_at": 10, "in_flight": 1}),
        ({"dispatcher": "nobody", "seen_at": 0}, {"seen_at": 1, "in_flight": 1}),
        ({"dispatcher": "b", "seen_at": 1}, {"seen_at": 11, "in_flight": 1}),
    ]
    assert update_each(Pulse, changes) == [True, False, False, True]
    seen = dict(Pulse.objects.values_list("dispatcher", "seen_at"))
    assert seen == {"a": 0, "b": 11, "c": 12}


def test_no_updates_are_no_statement(db, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert update_each(Pulse, []) == []


def test_update_that_breaks_a_constraint_is_djangos_error(db):
    insert_all(pulses("a"))
    with pytest.raises(IntegrityError), transaction.atomic():
        update_each(Pulse, [({"dispatcher": "a"}, {"seen_at": None})])


def test_values_of_all_kinds_are_stored_alike_alone_and_among_others(jobs):
    values = {
        "status": Job.Status.SUCCEEDED,
        "log": [{"number": 1, "at": 1764190800.123, "text": "ü 'x' \\ \"y\" \u2028 😀"}],
        "return_value": "text",
        "error": "",
        "finished_at": NOW,
        "next_attempt_at": None,
        "worked_seconds": 0.1 + 0.2,
    }
    alone, *others = jobs
    assert update_each(Job, [noted(alone, **values)]) == [True]
    assert update_each(Job, [noted(job, **values) for job in others]) == [True, True]
    for job in Job.objects.all():
        assert {name: getattr(job, name) for name in values} == values


@pytest.mark.parametrize("value", [None, 0, False, "", [], {}, [None], {"a": [1.5, "b"]}, "null"])
def test_json_comes_back_as_it_was_alone_and_among_others(jobs, value):
    alone, *others = jobs
    update_each(Job, [noted(alone, return_value=value)])
    update_each(Job, [noted(job, return_value=value) for job in others])
    assert [job.return_value for job in Job.objects.all()] == [value] * 3
    assert Job.objects.filter(return_value__isnull=True).count() == (3 if value is None else 0)


def test_of_two_that_want_the_same_row_in_the_same_state_the_first_gets_it(jobs):
    first, other = noted(jobs[0], status="waiting"), noted(jobs[0], status="succeeded")
    assert update_each(Job, [first, noted(jobs[1], status="waiting"), other]) == [True, True, False]
    assert Job.objects.get(id=jobs[0].id).status == "waiting"


def test_two_changes_of_a_row_are_made_in_their_order(jobs):
    ids = [job.id for job in jobs]
    changes = [
        ({"id": ids[0], "steps_done": 0}, {"steps_done": 1}),
        ({"id": ids[1], "steps_done": 0, "error": ""}, {"steps_done": 1, "error": "no"}),
        ({"id": ids[1], "steps_done": 1}, {"steps_done": 2}),
        ({"id": ids[0], "steps_done": 1}, {"steps_done": 2}),
    ]
    assert update_each(Job, changes) == [True] * 4
    assert [job.steps_done for job in Job.objects.order_by("owner")] == [2, 2, 0]


def test_rows_of_one_statement_are_numbered_objects():
    rows = [("running", NOW, None), (Job.Status.WAITING, NOW, [{"at": 1.5}])]
    assert json.loads(as_json(rows)) == [
        {"number": 0, "v0": "running", "v1": "2026-11-26 21:00:00.123456+00:00", "v2": None},
        {"number": 1, "v0": "waiting", "v1": str(NOW), "v2": [{"at": 1.5}]},
    ]


@pytest.mark.parametrize("value", ["x" * 65, "a\0b", "\ud800", float("nan")])
def test_value_that_cannot_be_stored_is_refused_alone_and_among_others(jobs, value):
    if connection.vendor == "sqlite" and value != "\ud800":
        pytest.skip("SQLite has no such limits")
    for some in (jobs[:1], jobs):
        with pytest.raises((Error, UnicodeError)), transaction.atomic():
            update_each(Job, [noted(job, owner=value, return_value=value) for job in some])
    assert {job.owner for job in Job.objects.all()} == {"0", "1", "2"}
