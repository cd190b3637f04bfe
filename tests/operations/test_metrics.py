"""`/metrics` of a running site, and who may see it."""

import pytest
from django.test import AsyncClient

from harness.processes import Site
from tests.operations.conftest import TOKEN, ask_for_metrics, read_metrics

FORMAT = "text/plain; version=0.0.4; charset=utf-8"


async def test_without_a_token_there_are_no_metrics(async_client: AsyncClient):
    assert (await async_client.get("/metrics")).status_code == 404


@pytest.mark.parametrize("given", ["", TOKEN, "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}"])
async def test_whoever_does_not_know_the_token_is_told_nothing(settings, async_client, given):
    settings.METRICS_TOKEN = TOKEN
    answer = await async_client.get("/metrics", headers={"Authorization": given})
    assert (answer.status_code, answer.content) == (401, b"wrong token\n")
    assert answer["WWW-Authenticate"] == "Bearer"


@pytest.mark.django_db(transaction=True)
async def test_text_is_what_prometheus_reads(settings, async_client, tmp_path):
    settings.METRICS_TOKEN, settings.METRICS_FOLDER = TOKEN, tmp_path
    answer = await async_client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert (answer.status_code, answer["Content-Type"]) == (200, FORMAT)
    assert b"\nsite_database_up 1.0\n" in answer.content


def test_every_series_is_there_before_anything_has_happened(watched):
    before, after = read_metrics(watched["before"]), read_metrics(watched["after"])
    assert before.keys() == after.keys()
    assert before['queue_attempts_total{outcome="failed"}'] == 0


def test_processes_count_together(watched):
    after = read_metrics(watched["after"])
    assert after['queue_attempt_seconds_count{outcome="delivered"}'] == 3
    assert after['queue_attempt_seconds_sum{outcome="delivered"}'] >= 3 * 4.5
    assert after['queue_delivery_seconds_count{attempt="first"}'] == 3
    assert after['queue_delivery_seconds_bucket{attempt="first",le="5.0"}'] == 0
    assert after["queue_commit_writes_count"] >= 3
    assert after["queue_dispatchers"] == 3
    assert after['site_jobs{status="succeeded"}'] == 3


def test_restart_makes_no_counter_fall(watched):
    after, restarted = read_metrics(watched["after"]), read_metrics(watched["restarted"])
    counters = {name for name in after if "_total" in name or "_count" in name}
    assert len(counters) >= 9
    assert {name for name in counters if restarted[name] < after[name]} == set()


def test_queue_alone_has_them_too(tmp_path):
    folder = str(tmp_path / "metrics")
    running = Site(tmp_path, METRICS_TOKEN=TOKEN, PROMETHEUS_MULTIPROC_DIR=folder)
    port = str(running.port)
    broker = running.start("manage.py", "broker", "--port", port, "--in-memory", DEBUG="")
    try:
        running.wait_until_up(broker)
        series = read_metrics(ask_for_metrics(running.url).text)
    finally:
        running.stop(broker)
    assert series['queue_attempts_total{outcome="delivered"}'] == 0
    assert series["site_database_up"] == 1
    assert [name for name in series if name.startswith("site_jobs")] == []
