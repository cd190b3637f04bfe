"""The states of a job and the arrows between them: each won by one, at most."""

from datetime import timedelta

import pytest
from django.utils import timezone

from jobs.models import (
    FINISHED,
    LEASE,
    UNKNOWN,
    AttemptEnd,
    Claim,
    ClaimRequest,
    Job,
    Refusal,
    claim_jobs,
    end_attempts,
    note_requests,
)

pytestmark = pytest.mark.django_db
NOW = timezone.now()
RECORD = {"number": 1, "at": 1700000000.5, "status": 200, "milliseconds": 3}


def make(**fields) -> Job:
    given = {"visitor": "somebody", "target_url": "http://target.test/", "status": "queued"}
    return Job.objects.create(**(given | fields))


def claim(job: Job, attempt: int = 1, now=NOW) -> Claim | Refusal:
    return claim_jobs([ClaimRequest(job.id, "msg_1", attempt, now)])[0]


def fresh(job: Job) -> Job:
    return Job.objects.get(id=job.id)


@pytest.mark.parametrize("status", ["not_sent", "queued", "waiting"])
def test_job_that_nobody_works_on_can_be_claimed(status):
    job = make(status=status, sent=3)
    assert claim(job, attempt=2).sent == 3
    assert (fresh(job).status, fresh(job).attempts) == ("running", 2)
    assert fresh(job).message_id == "msg_1"


@pytest.mark.parametrize("status", Job.FINISHED)
def test_finished_job_cannot_be_claimed(status):
    assert claim(make(status=status)) == FINISHED


def test_unknown_job_cannot_be_claimed():
    assert claim(Job(id="0" * 32)) == UNKNOWN


def test_claimed_job_is_held_until_its_lease_ends():
    job = make()
    claim(job)
    refusal = claim(job, now=NOW + LEASE / 2)
    assert isinstance(refusal, Refusal)
    assert refusal.held_until == NOW + LEASE


def test_job_whose_lease_has_expired_is_taken_over():
    job = make()
    first, second = claim(job), claim(job, attempt=2, now=NOW + LEASE)
    assert isinstance(second, Claim)
    assert note_requests([(first, NOW), (second, NOW)]) == [False, True]


def test_of_two_claims_in_one_batch_one_wins():
    job = make()
    wanted = [ClaimRequest(job.id, "msg_1", number, NOW) for number in (1, 2)]
    claims = claim_jobs(wanted)
    assert sorted(isinstance(claim, Claim) for claim in claims) == [False, True]


def test_jobs_of_a_batch_are_claimed_each_for_its_own():
    jobs = [make(target_url=f"http://target.test/{number}") for number in range(3)]
    claims = claim_jobs([ClaimRequest(job.id, "msg_1", 1, NOW) for job in jobs])
    assert [(c.job_id, c.target_url) for c in claims] == [(j.id, j.target_url) for j in jobs]


def test_second_attempt_leaves_the_start_as_it_was():
    job = make()
    claim(job)
    claim(job, attempt=2, now=NOW + LEASE)
    assert fresh(job).started_at == NOW


def test_noted_request_renews_the_lease():
    job = make()
    held = claim(job)
    held.requests.append(RECORD)
    later = NOW + timedelta(seconds=5)
    assert note_requests([(held._replace(sent=1), later)]) == [True]
    assert (fresh(job).sent, fresh(job).lease_expires_at) == (1, later + LEASE)


def test_finished_job_can_note_nothing():
    job = make()
    held = claim(job)
    Job.fail(job.id, "The queue gave up.", NOW)
    assert note_requests([(held._replace(sent=1), NOW)]) == [False]
    assert fresh(job).sent == 0


def test_success_ends_a_job():
    job = make(error="an earlier attempt's")
    assert end_attempts([AttemptEnd(claim(job), "succeeded", NOW + timedelta(seconds=5))]) == [True]
    done = fresh(job)
    assert (done.status, done.error, done.seconds, done.lease_token) == ("succeeded", "", 5.0, "")
    assert done.is_finished


def test_failed_attempt_says_when_the_next_one_comes():
    job, later = make(), NOW + timedelta(seconds=2)
    end_attempts([AttemptEnd(claim(job), "waiting", later, "HTTP 500")])
    assert (fresh(job).status, fresh(job).error) == ("waiting", "HTTP 500")
    assert (fresh(job).next_attempt_at, fresh(job).finished_at) == (later, None)


def test_attempt_that_lost_its_lease_ends_nothing():
    job = make()
    first = claim(job)
    claim(job, attempt=2, now=NOW + LEASE)
    assert end_attempts([AttemptEnd(first, "succeeded", NOW)]) == [False]
    assert fresh(job).status == "running"


def test_queue_that_gives_up_ends_a_job_with_its_reason():
    job = make()
    assert Job.fail(job.id, "The queue gave up.", NOW)
    assert (fresh(job).status, fresh(job).error) == ("failed", "The queue gave up.")
    assert fresh(job).finished_at == NOW


def test_job_keeps_the_reason_it_noted_itself():
    job = make(status="waiting", error="request 4: HTTP 500")
    Job.fail(job.id, "The queue gave up.", NOW)
    assert fresh(job).error == "request 4: HTTP 500"


@pytest.mark.parametrize("status", Job.FINISHED)
def test_ended_job_cannot_fail(status):
    job = make(status=status)
    assert not Job.fail(job.id, "too late", NOW)
    assert fresh(job).status == status


def test_sent_job_is_queued():
    job = make(status="not_sent", error="no route")
    assert job.mark_sent("msg_2")
    assert (job.status, job.message_id, job.error) == ("queued", "msg_2", "")
    assert (fresh(job).status, fresh(job).message_id) == ("queued", "msg_2")


def test_message_may_arrive_before_its_sender_knows_its_id():
    job = make(status="not_sent")
    claim(job)
    assert not job.mark_sent("msg_1")
    assert (job.status, job.message_id) == ("running", "msg_1")


def test_job_that_was_not_sent_keeps_the_reason():
    job = make(status="not_sent")
    assert job.mark_not_sent("no route")
    assert (fresh(job).status, fresh(job).error) == ("not_sent", "no route")


def test_visitors_jobs_are_the_visitors_newest_first():
    old = make(created_at=NOW - timedelta(hours=1))
    new, other = make(created_at=NOW), make(visitor="somebody else")
    assert list(Job.objects.of("somebody")) == [new, old]
    assert other not in Job.objects.of("somebody")


def test_job_ids_cannot_be_guessed():
    ids = {make().id for _ in range(20)}
    assert len(ids) == 20
    assert all(len(job_id) == 32 for job_id in ids)


def test_request_log_has_real_moments():
    job = make(requests='[{"number": 1, "at": 1700000000.5, "status": 200, "milliseconds": 3}]')
    (record,) = job.request_log
    assert record["at"].isoformat() == "2023-11-14T22:13:20.500000+00:00"


def test_unfinished_job_has_taken_no_time_yet():
    assert make().seconds is None
    assert str(make(id="1")) == "job 1, queued"
