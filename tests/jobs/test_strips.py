"""The template tags: a strip, its news and the visitor's bin for a page whose view has none."""

from django.template import Context, Template
from django.test import RequestFactory

from jobs.views import target_for
from tests.jobs.test_strip import RUNNING, job_that


def rendered(text: str, **context: object) -> str:
    return Template("{% load strips %}" + text).render(Context(context))


def test_strip_without_a_job_is_the_example():
    html = rendered("{% strip cards.0.job %}", cards=[])
    assert 'aria-label="The way of a job: an example"' in html
    assert html.count("<details") == 4


def test_strip_of_a_job_is_labelled_with_it():
    job = job_that(**RUNNING)
    assert f"The way of job {job.id[:8]}" in rendered("{% strip job %}", job=job)


def test_news_are_parts_and_no_strip():
    html = rendered("{% strip_news job %}", job=job_that(**RUNNING))
    assert "<section" not in html
    assert 'hx-swap-oob="true"' in html


def test_news_of_a_step_are_the_step_and_the_tasks_head():
    html = rendered("{% strip_step_news job 0 %}", job=job_that(**RUNNING))
    assert "way-task-head" in html
    assert "way-queue-head" not in html


def test_own_bin_is_where_the_jobs_requests_go(settings):
    request = RequestFactory().get("/")
    request.session = {}
    name = rendered("{% own_bin %}", request=request)
    assert target_for(request).endswith(f"/catcher/{name}/")
    settings.LONG_TASK_TARGET_URL = "http://target.test"
    assert rendered("{% own_bin %}", request=request) == ""
