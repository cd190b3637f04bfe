"""Celery's application and tasks: `celery -A benchmarks.peer_site.celery_tasks worker`."""

from celery import Celery

app = Celery("benchmark")
app.config_from_object("django.conf:settings", namespace="CELERY")


@app.task
def small(job_id: int) -> None:
    from benchmarks.peer_site import work

    work.small(job_id)


@app.task
def long(job_id: int, target_url: str) -> None:
    from benchmarks.peer_site import work

    work.long(job_id, target_url)
