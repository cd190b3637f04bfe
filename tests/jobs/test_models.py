"""The states of a job and the arrows between them: of two rivals, one wins each."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from jobs import models
from jobs.models import (
    LEASE,
    Arrival,
    Failure,
    Job,
    Refusal,
    Transition,
    claim_jobs,
    fail_jobs,
    save_transitions,
    store_jobs,
)

pytestmark = pytest.mark.django_db
NOW = timezone.now()
LATER = NOW + timedelta(seconds=2)
MESSAGE = {"id": "msg_1", "at": 1_700_000_000.5}
ERRORS = [{"attempt": 1, "at": 1_700_000_000.5, "text": "no", "exception": "", "traceback": ""}]


def make(status: str = "queued", **fields) -> Job:
    """A job in some state; one that runs is held under a lease that has ended."""
    given = {"task": "jobs.tasks.long_task", "messages": [MESSAGE], "steps_total": 10}
    if status == "running":
        given |= {"lease_token": "first", "lease_expires_at": NOW}
    return Job.objects.create(**(given | {"status": status} | fields))


def arrival(job: Job, **changes) -> Arrival:
    return Arrival(job.id, "msg_1", 1, job.task, "worker-1", NOW)._replace(**changes)


def claimed(job: Job, **changes) -> Job:
    """A job as the attempt has it that has just claimed it."""
    (held,) = claim_jobs([arrival(job, **changes)])
    assert isinstance(held, Job)
    return held


def refused(job: Job, **changes) -> Refusal:
    (refusal,) = claim_jobs([arrival(job, **changes)])
    assert isinstance(refusal, Refusal)
    return refusal


def is_saved(transition: Transition | Refusal | None) -> bool:
    """Whether an arrow has changed the row."""
    return isinstance(transition, Transition) and save_transitions([transition])[0]


def fresh(job: Job) -> Job:
    return Job.objects.get(id=job.id)


def row(job: Job) -> dict[str, object]:
    return Job.objects.filter(id=job.id).values().get()


ARROWS: dict[str, Callable[[Job], Transition | Refusal | None]] = {
    "publish": lambda job: job.publish("msg_2", NOW),
    "refuse": lambda job: job.refuse("no route"),
    "claim": lambda job: job.claim(arrival(job)),
    "note": lambda job: job.note("HTTP 200", NOW),
    "renew": lambda job: job.renew(NOW),
    "succeed": lambda job: job.succeed(42, NOW),
    "wait": lambda job: job.wait("HTTP 500", ERRORS, LATER),
    "give_up": lambda job: job.give_up("no such target", ERRORS, NOW),
    "fail": lambda job: job.fail("The queue gave up.", "msg_1", NOW),
    "cancel": lambda job: job.cancel(NOW),
}
SAME = "where it was"
LEGAL = {
    "publish": (["not_sent", "failed", "cancelled"], "queued"),
    "refuse": (["not_sent", "failed", "cancelled"], SAME),
    "claim": (["not_sent", "queued", "waiting", "running", "failed"], "running"),
    "note": (["running"], "running"),
    "renew": (["running"], "running"),
    "succeed": (["running"], "succeeded"),
    "wait": (["running"], "waiting"),
    "give_up": (["running"], "failed"),
    "fail": (["not_sent", "queued", "running", "waiting"], "failed"),
    "cancel": (["not_sent", "queued", "waiting"], "cancelled"),
}
LEGAL_PAIRS = [(arrow, status) for arrow, (sources, _) in LEGAL.items() for status in sources]
OTHER_PAIRS = [
    (arrow, status.value)
    for arrow in ARROWS
    for status in Job.Status
    if (arrow, status) not in LEGAL_PAIRS
]


@pytest.mark.parametrize(("arrow", "status"), LEGAL_PAIRS)
def test_drawn_arrow_leads_where_the_drawing_says(arrow, status):
    job = make(status)
    assert is_saved(ARROWS[arrow](job))
    target = LEGAL[arrow][1]
    assert fresh(job).status == job.status == (status if target == SAME else target)


@pytest.mark.parametrize(("arrow", "status"), OTHER_PAIRS)
def test_arrow_that_is_not_drawn_changes_nothing(arrow, status):
    job = make(status)
    before = row(job)
    assert not is_saved(ARROWS[arrow](job))
    assert row(job) == before


@pytest.mark.parametrize(("arrow", "status"), LEGAL_PAIRS)
def test_job_that_somebody_else_has_moved_stays_there(arrow, status):
    job = make(status)
    moved = "succeeded" if status != "succeeded" else "failed"
    Job.objects.filter(id=job.id).update(status=moved, lease_token="")
    before = row(job)
    assert not is_saved(ARROWS[arrow](job))
    assert row(job) == before


@pytest.mark.parametrize(("arrow", "status"), LEGAL_PAIRS)
def test_saved_row_is_the_job_as_the_instance_has_it(arrow, status):
    job = make(status)
    is_saved(ARROWS[arrow](job))
    assert row(job) == {name: getattr(job, name) for name in row(job)}


@pytest.mark.parametrize("arrow", ["publish", "claim", "note", "wait", "fail", "cancel"])
def test_of_two_rivals_for_one_arrow_the_first_gets_it(arrow):
    job = make(LEGAL[arrow][0][0])
    rival = fresh(job)
    transitions = [ARROWS[arrow](job), ARROWS[arrow](rival)]
    won = save_transitions([each for each in transitions if isinstance(each, Transition)])
    # A note leaves the lease as it is: both are by the attempt that holds the job.
    assert won == ([True, True] if arrow == "note" else [True, False])


def test_published_job_remembers_its_messages():
    job = make("failed", error="no route", finished_at=NOW)
    is_saved(job.publish("msg_2", NOW))
    published = fresh(job)
    assert [message["id"] for message in published.messages] == ["msg_1", "msg_2"]
    assert published.message_id == "msg_2"
    assert (published.error, published.finished_at) == ("", None)


def test_published_message_is_dated():
    job = make("not_sent", messages=[])
    is_saved(job.publish("msg_1", NOW))
    assert fresh(job).messages == [{"id": "msg_1", "at": round(NOW.timestamp(), 3)}]


def test_job_without_a_message_has_no_message_id():
    assert make("not_sent", messages=[]).message_id == ""


def test_refused_job_keeps_the_reason_and_no_message():
    job = make("not_sent", messages=[])
    is_saved(job.refuse("no route"))
    assert (fresh(job).status, fresh(job).error, fresh(job).messages) == (
        "not_sent",
        "no route",
        [],
    )


def test_claim_says_who_works_on_the_job_and_when():
    held = fresh(claimed(make("waiting", next_attempt_at=LATER), attempt=2))
    assert (held.attempts, held.workers) == (2, ["worker-1"])
    assert held.started_at == held.last_attempted_at == NOW
    assert (held.next_attempt_at, held.lease_expires_at) == (None, NOW + LEASE)


def test_attempt_that_nobody_told_of_the_hang_up_has_worked_until_the_queue_gave_up():
    job = make("running", last_attempted_at=NOW, worked_seconds=2)
    is_saved(job.fail("The queue gave up.", "msg_1", LATER))
    assert fresh(job).worked_seconds == 4


def test_work_is_counted_until_the_moment_of_the_end():
    job = make("running", last_attempted_at=NOW)
    is_saved(job.succeed(42, LATER))
    assert fresh(job).worked_seconds == 2


def test_failed_job_that_runs_again_counts_its_work_afresh():
    assert fresh(claimed(make("failed", worked_seconds=3), attempt=1)).worked_seconds == 0
    assert fresh(claimed(make("waiting", worked_seconds=3), attempt=2)).worked_seconds == 3


def test_each_claim_has_a_token_of_its_own():
    job = make()
    first, second = claimed(job).lease_token, claimed(job, now=NOW + LEASE).lease_token
    assert first != second
    assert len(first) == len(second) == 32


def test_work_goes_on_after_the_last_step_noted():
    log = [{"number": 1, "at": 1_700_000_000.5, "text": "HTTP 200"}]
    held = claimed(make("waiting", steps_done=1, log=log))
    is_saved(held.note("HTTP 201", NOW))
    assert [(step["number"], step["text"]) for step in fresh(held).log] == [
        (1, "HTTP 200"),
        (2, "HTTP 201"),
    ]


def test_job_that_runs_is_held_until_its_lease_ends():
    job = make()
    claimed(job)
    refusal = refused(job, now=NOW + LEASE / 2)
    assert (refusal.held_until, refusal.for_good) == (NOW + LEASE, False)


def test_abandoned_job_is_taken_over():
    job = make()
    claimed(job)
    taken = claimed(job, attempt=2, worker="worker-2", now=NOW + LEASE)
    assert (fresh(taken).attempts, fresh(taken).workers) == (2, ["worker-1", "worker-2"])
    assert (fresh(taken).started_at, fresh(taken).last_attempted_at) == (NOW, NOW + LEASE)


@pytest.mark.parametrize("arrow", ["note", "renew", "succeed", "wait", "give_up"])
def test_earlier_holder_of_a_job_can_change_nothing(arrow):
    job = make()
    earlier = claimed(job)
    claimed(job, now=NOW + LEASE)
    before = row(job)
    assert not is_saved(ARROWS[arrow](earlier))
    assert row(job) == before


def test_message_that_the_job_does_not_know_is_remembered():
    held = claimed(make(), message_id="msg_2")
    assert [message["id"] for message in fresh(held).messages] == ["msg_1", "msg_2"]


def test_message_may_arrive_before_its_publisher_has_the_answer():
    publisher = make("not_sent", messages=[])
    claimed(publisher)
    assert not is_saved(publisher.publish("msg_1", NOW))
    assert (fresh(publisher).status, fresh(publisher).message_id) == ("running", "msg_1")


def test_failed_job_is_not_claimed_by_the_next_attempt_of_the_same_delivery():
    refusal = refused(make("failed", attempts=1), attempt=2)
    assert (refusal.reason, refusal.for_good) == ("the job has ended: failed", False)


@pytest.mark.parametrize("attempts", [0, 1, 4])
def test_failed_job_is_claimed_by_its_dead_letter_under_the_same_id(attempts):
    held = claimed(make("failed", attempts=attempts, finished_at=NOW), attempt=1)
    assert (fresh(held).status, fresh(held).finished_at) == ("running", None)
    assert [message["id"] for message in fresh(held).messages] == ["msg_1"]


def test_failed_job_is_claimed_by_a_message_that_it_does_not_know():
    held = claimed(make("failed", finished_at=NOW), message_id="msg_of_a_dead_letter")
    assert (fresh(held).status, fresh(held).finished_at) == ("running", None)
    assert fresh(held).message_id == "msg_of_a_dead_letter"


@pytest.mark.parametrize("status", ["succeeded", "cancelled"])
def test_ended_job_has_nothing_to_do_for_any_message(status):
    refusal = refused(make(status), message_id="msg_2")
    assert (refusal.for_good, refusal.held_until) == (False, None)


def test_job_of_another_task_is_refused_for_good():
    refusal = refused(make(), task="jobs.tasks.another")
    assert refusal == Refusal("the job's task is jobs.tasks.long_task", for_good=True)


def test_unknown_job_is_refused_for_good():
    assert refused(Job(id="0" * 32)) == Refusal("there is no such job", for_good=True)


def test_noted_step_is_logged_and_renews_the_lease():
    held = claimed(make())
    assert is_saved(held.note("HTTP 200", LATER))
    noted = fresh(held)
    entry = {"number": 1, "at": round(LATER.timestamp(), 3), "text": "HTTP 200"}
    assert (noted.steps_done, noted.log, noted.lease_expires_at) == (1, [entry], LATER + LEASE)


def test_renewed_lease_keeps_rivals_away_for_longer():
    held = claimed(make())
    is_saved(held.renew(LATER))
    assert refused(held, now=NOW + LEASE).held_until == LATER + LEASE


def test_success_keeps_the_return_value_and_gives_the_lease_back():
    held = claimed(make(error="an earlier attempt's"))
    is_saved(held.succeed({"answer": 42}, LATER))
    done = fresh(held)
    assert (done.return_value, done.error, done.finished_at) == ({"answer": 42}, "", LATER)
    assert done.has_ended


def test_attempt_that_failed_says_why_and_when_the_next_one_comes():
    held = claimed(make())
    is_saved(held.wait("HTTP 500", ERRORS, LATER))
    waits = fresh(held)
    assert (waits.error, waits.errors, waits.next_attempt_at) == ("HTTP 500", ERRORS, LATER)
    assert waits.finished_at is None


def test_attempt_that_failed_keeps_a_step_whose_note_was_not_saved():
    held = claimed(make())
    held.note("HTTP 200", NOW)
    is_saved(held.wait("HTTP 500", ERRORS, LATER))
    assert (fresh(held).steps_done, len(fresh(held).log)) == (1, 1)


def test_task_that_gives_up_fails_its_job():
    held = claimed(make())
    is_saved(held.give_up("no such target", ERRORS, LATER))
    failed = fresh(held)
    assert (failed.error, failed.errors, failed.finished_at) == ("no such target", ERRORS, LATER)
    assert failed.has_ended


def test_queue_that_gives_up_fails_a_job_with_its_reason():
    job = make("waiting", next_attempt_at=LATER)
    is_saved(job.fail("The queue gave up.", "msg_1", NOW))
    failed = fresh(job)
    assert (failed.error, failed.finished_at) == ("The queue gave up.", NOW)
    assert failed.next_attempt_at is None


def test_failed_job_keeps_the_reason_that_it_noted_itself():
    job = make("waiting", error="step 4: HTTP 500")
    is_saved(job.fail("The queue gave up.", "msg_1", NOW))
    assert fresh(job).error == "step 4: HTTP 500"


def test_job_that_the_queue_has_given_up_can_note_nothing_more():
    held = claimed(make())
    is_saved(fresh(held).fail("The queue gave up.", "msg_1", NOW))
    assert not is_saved(held.note("HTTP 200", NOW))
    assert fresh(held).steps_done == 0


def test_end_of_an_earlier_message_is_ignored():
    job = make(messages=[MESSAGE, {"id": "msg_2", "at": 1_700_000_001.5}])
    assert job.fail("The queue gave up.", "msg_1", NOW) is None
    assert job.fail("The queue gave up.", "msg_2", NOW)


def test_end_of_a_message_whose_id_was_never_learned_fails_the_job():
    job = make("not_sent", messages=[])
    assert is_saved(job.fail("The queue gave up.", "msg_1", NOW))


def test_cancelled_job_has_ended_and_expects_no_attempt():
    job = make("waiting", next_attempt_at=LATER)
    is_saved(job.cancel(NOW))
    cancelled = fresh(job)
    assert (cancelled.finished_at, cancelled.next_attempt_at) == (NOW, None)
    assert cancelled.has_ended


def test_jobs_of_a_batch_are_claimed_each_for_its_own():
    jobs = [make(), make("waiting"), make("succeeded"), Job(id="0" * 32), make("running")]
    answers = claim_jobs([arrival(job) for job in jobs])
    assert [isinstance(answer, Job) for answer in answers] == [True, True, False, False, True]
    assert [a.id for a in answers if isinstance(a, Job)] == [jobs[n].id for n in (0, 1, 4)]


def test_of_two_claims_in_one_batch_the_first_gets_the_job():
    job = make()
    first, second = claim_jobs([arrival(job, attempt=1), arrival(job, attempt=2)])
    assert isinstance(first, Job)
    assert isinstance(second, Refusal)
    assert (fresh(job).lease_token, fresh(job).attempts) == (first.lease_token, 1)


def test_attempt_that_is_overtaken_after_it_has_read_the_job_is_refused(monkeypatch):
    """An attempt that comes alone locks no job on PostgreSQL."""
    job, read, rivals = make(), models.locked_jobs, []

    def overtaken(ids):
        found = read(ids)
        monkeypatch.setattr(models, "locked_jobs", read)
        rivals.append(claimed(job))
        return found

    monkeypatch.setattr(models, "locked_jobs", overtaken)
    assert refused(job, attempt=2).held_until == NOW + LEASE
    assert (fresh(job).lease_token, fresh(job).attempts) == (rivals[0].lease_token, 1)


def test_step_that_is_noted_while_another_attempt_takes_over_is_not_overwritten(monkeypatch):
    job, read = make("running"), models.locked_jobs
    holder = fresh(job)

    def overtaken(ids):
        found = read(ids)
        monkeypatch.setattr(models, "locked_jobs", read)
        assert is_saved(holder.note("HTTP 200", NOW))
        return found

    monkeypatch.setattr(models, "locked_jobs", overtaken)
    assert refused(job, attempt=2).held_until == NOW + LEASE
    assert (fresh(job).steps_done, fresh(job).lease_token) == (1, "first")


def test_jobs_of_a_batch_fail_each_for_its_own():
    jobs = [make(), make("succeeded"), make("waiting", error="HTTP 500"), Job(id="0" * 32)]
    failed = fail_jobs([Failure(job.id, "msg_1", "The queue gave up.") for job in jobs])
    assert [job and job.id for job in failed] == [jobs[0].id, None, jobs[2].id, None]
    assert [fresh(job).status for job in jobs[:3]] == ["failed", "succeeded", "failed"]


def test_failure_that_is_reported_twice_in_a_batch_counts_once():
    job = make()
    first, second = fail_jobs([Failure(job.id, "msg_1", "The queue gave up.")] * 2)
    assert first
    assert second is None


def test_transitions_of_mixed_shape_are_saved_each_for_its_own():
    first, second, third, fourth, fifth = (claimed(make()) for _ in range(5))
    is_saved(fresh(fifth).fail("The queue gave up.", "msg_1", NOW))
    transitions = [
        first.note("HTTP 200", NOW),
        None,
        second.succeed(42, NOW),
        third.wait("HTTP 500", ERRORS, LATER),
        fifth.note("HTTP 200", NOW),
        fourth.note("HTTP 201", NOW),
    ]
    assert save_transitions(transitions) == [True, False, True, True, False, True]
    statuses = [fresh(job).status for job in (first, second, third, fourth, fifth)]
    assert statuses == ["running", "succeeded", "waiting", "running", "failed"]
    assert (fresh(first).log[0]["text"], fresh(fourth).log[0]["text"]) == ("HTTP 200", "HTTP 201")


def test_nothing_to_save_is_saved_in_no_query(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert save_transitions([None, None]) == [False, False]
        assert save_transitions([]) == []


def test_stored_jobs_are_rows():
    jobs = [Job(task="jobs.tasks.long_task"), Job(task="jobs.tasks.another", args=[1])]
    store_jobs(jobs)
    assert [fresh(job).args for job in jobs] == [[], [1]]
    assert not any(job._state.adding for job in jobs)


def test_job_of_a_message_that_arrives_twice_is_stored_once():
    arrived = {"id": Job.id_for_message("msg_1"), "task": "jobs.tasks.long_task"}
    store_jobs([Job(**arrived, status="queued"), Job(**arrived, status="queued")])
    claimed(Job(**arrived))
    store_jobs([Job(**arrived, status="queued"), Job(task="jobs.tasks.another")])
    assert Job.objects.count() == 2
    assert fresh(Job(**arrived)).status == "running"


def test_message_always_gets_the_same_job_id():
    assert Job.id_for_message("msg_1") == Job.id_for_message("msg_1")
    assert Job.id_for_message("msg_1") != Job.id_for_message("msg_2")
    assert len(Job.id_for_message("msg_1")) == 32


def test_job_id_of_a_message_cannot_be_guessed(settings):
    ours = Job.id_for_message("msg_1")
    settings.SECRET_KEY = "of another site"
    assert Job.id_for_message("msg_1") != ours


def test_visitors_jobs_are_the_visitors_newest_first():
    old = make(owner="somebody", created_at=NOW - timedelta(hours=1))
    new, other = make(owner="somebody", created_at=NOW), make(owner="somebody else")
    assert list(Job.objects.owned_by("somebody")) == [new, old]
    assert other not in Job.objects.owned_by("somebody")


def test_job_ids_cannot_be_guessed():
    ids = {make().id for _ in range(20)}
    assert len(ids) == 20
    assert all(len(job_id) == 32 for job_id in ids)


def test_job_is_printed_with_its_state():
    assert str(make("not_sent", id="1")) == "job 1, not sent"
