"""Limits on what is started: per visitor, per address, and what a refusal looks like."""

import logging

import pytest
from django.test import AsyncClient
from django.urls import get_resolver

from operations import limits
from operations.counting import Counter
from operations.limits import LIMITED

pytestmark = pytest.mark.django_db(transaction=True)
HTML = {"Accept": "text/html"}
HTMX = {"HX-Request": "true", "HX-Target": "result"}


@pytest.fixture(autouse=True)
def new_process(settings, monkeypatch) -> None:
    """A new process: two jobs a visitor, four an address."""
    settings.LIMIT_JOBS, settings.LIMIT_BINS, settings.LIMIT_VISITORS = 2, 1, 2
    counter = Counter()
    monkeypatch.setattr(limits, "counter", lambda: counter)


@pytest.fixture
async def visitor(async_client: AsyncClient) -> AsyncClient:
    """A browser that has opened the page, and so has a cookie."""
    await async_client.get("/")
    return async_client


async def start(client: AsyncClient, **headers: str):
    return await client.post("/jobs/start", headers=headers)


async def test_third_job_within_a_minute_is_refused(visitor):
    assert [(await start(visitor)).status_code for _ in range(2)] == [303, 303]
    refused = await start(visitor)
    assert refused.status_code == 429
    assert 0 < int(refused["Retry-After"]) <= 60
    assert refused["Cache-Control"] == "no-store"


async def test_others_may_start_until_the_address_has_had_enough():
    clients = [AsyncClient() for _ in range(6)]
    assert [(await start(client)).status_code for client in clients] == [303] * 4 + [429] * 2
    answer = (await start(AsyncClient())).json()["error"]
    assert answer.startswith("You and others at your address have started 4 jobs within a minute.")


async def test_program_gets_json(visitor):
    for _ in range(2):
        await start(visitor)
    refused = await start(visitor)
    text = refused.json()["error"]
    assert text.startswith("You have started 2 jobs within a minute. Try again in ")


async def test_browser_without_scripts_gets_a_page(visitor):
    for _ in range(3):
        refused = await start(visitor, **HTML)
    page = refused.content.decode()
    assert refused.status_code == 429 and "<h1>Not so fast</h1>" in page
    assert 'role="alert"' in page and "You have started 2 jobs within a minute." in page


async def test_htmx_gets_the_notice_in_its_place_and_announced(visitor):
    for _ in range(3):
        refused = await start(visitor, **HTMX)
    notice = refused.content.decode()
    assert notice.strip().startswith('<p class="notice problem">')
    assert '<p hx-swap-oob="innerHTML:#announcement">You have started 2 jobs' in notice
    assert "HX-Retarget" not in refused
    elsewhere = await start(visitor, **HTMX | {"HX-Target": "trial"})
    assert (elsewhere["HX-Retarget"], elsewhere["HX-Reswap"]) == ("#refused", "innerHTML")


async def test_each_kind_is_counted_alone(visitor):
    for _ in range(3):
        await start(visitor)
    assert (await visitor.post("/catcher/~/new")).status_code == 303
    assert (await visitor.post("/catcher/~/new")).status_code == 429


async def test_zero_switches_a_limit_off(visitor, settings):
    settings.LIMIT_JOBS = 0
    assert {(await start(visitor)).status_code for _ in range(7)} == {303}


async def test_looking_is_not_limited(visitor):
    for _ in range(3):
        await start(visitor)
    assert (await visitor.get("/")).status_code == 200


async def test_form_of_another_site_is_not_counted():
    client = AsyncClient(enforce_csrf_checks=True)
    assert [(await start(client)).status_code for _ in range(6)] == [403] * 6
    assert (await start(AsyncClient())).status_code == 303


async def test_flood_is_one_line_in_the_log(visitor, caplog):
    with caplog.at_level(logging.WARNING):
        for _ in range(6):
            await start(visitor)
    (line,) = caplog.records
    assert (line.getMessage(), line.limit) == ("limit reached", "LIMIT_JOBS")
    assert line.who.startswith("visitor ")


def test_every_limited_url_exists():
    names = set()

    def gather(resolver):
        for pattern in resolver.url_patterns:
            if hasattr(pattern, "url_patterns"):
                gather(pattern)
            else:
                names.add(pattern.name)

    gather(get_resolver())
    assert LIMITED.keys() <= names
    # A new button that starts something is limited, too, or is named here.
    starting = {name for name in names if name and name.startswith(("start_", "make_", "upload_"))}
    assert starting - LIMITED.keys() == set()
