"""A job that starts later: it waits in the queue, can be cancelled, and can be run again."""

from datetime import timedelta

from django.utils import timezone

from broker.models import Message
from jobs.models import Job


def test_page_explains_itself_before_the_first_click(client, db):
    page = client.get("/delay").text
    assert "Start in ten seconds" in page
    assert "async def remind" in page
    assert "None yet." in page


def test_job_is_queued_now_and_delivered_in_ten_seconds(client, transactional_db):
    before = timezone.now()
    answer = client.post("/delay/start")
    job, message = Job.objects.get(), Message.objects.get()
    assert (answer.status_code, answer["Location"]) == (303, "/delay")
    assert (job.status, job.message_id) == ("queued", message.message_id)
    assert timedelta(seconds=9) < job.run_after - before < timedelta(seconds=20)
    assert message.not_before / 1000 >= job.run_after.timestamp()
