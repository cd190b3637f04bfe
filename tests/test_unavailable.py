"""503 in words where the database does not answer, in the form that the client reads."""

import pytest
from django.db import OperationalError, ProgrammingError
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path

from groupcommit import outages
from groupcommit.outages import NoAnswer

pytestmark = pytest.mark.urls(__name__)
errors: list[Exception] = []


async def asynchronous(request: HttpRequest, rest: str = "") -> HttpResponse:
    raise errors[-1]


def synchronous(request: HttpRequest) -> HttpResponse:
    raise errors[-1]


async def fine(request: HttpRequest) -> HttpResponse:
    return HttpResponse("fine")


urlpatterns = [
    path("", asynchronous, name="home"),
    path("synchronous", synchronous),
    path("fine", fine),
    path("v2/<path:rest>", asynchronous),
    path("api/<path:rest>", asynchronous),
    path("catcher/<path:rest>", asynchronous),
]
PAGE = {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture(autouse=True)
def page_without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """The site's own pages are not among these URLs."""
    monkeypatch.setattr(outages, "log", outages.Log())
    errors[:] = [OperationalError("host db.internal: connection refused")]
    monkeypatch.setattr(
        "jobsite.unavailable.render_to_string", lambda name, context: f"{name} {context['words']}"
    )


@pytest.mark.parametrize("path", ["/", "/synchronous"])
async def test_page_says_in_words_what_is_the_matter(async_client: AsyncClient, path, caplog):
    answer = await async_client.get(path, headers=PAGE)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert answer.text == "503.html the database is not answering: it cannot be reached"
    assert "no-store" in answer.headers["Cache-Control"]
    assert [record.message for record in caplog.records] == ["database is not answering"]


@pytest.mark.parametrize("path", ["/v2/publish/x", "/api/long-task"])
@pytest.mark.parametrize("headers", [PAGE, {}])
async def test_program_is_answered_in_json(async_client: AsyncClient, path, headers):
    answer = await async_client.post(path, headers=headers)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert answer.json() == {"error": "the database is not answering: it cannot be reached"}


async def test_who_accepts_no_html_is_a_program(async_client: AsyncClient):
    answer = await async_client.post("/catcher/bin/")
    assert "cannot be reached" in answer.json()["error"]


async def test_htmx_gets_a_line_of_text(async_client: AsyncClient):
    answer = await async_client.get("/", headers={"HX-Request": "true"})
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.text == "The database is not answering: it cannot be reached."


def test_development_server_answers_the_same(client: Client):
    assert client.get("/", headers=PAGE).status_code == 503
    assert client.get("/synchronous", headers=PAGE).status_code == 503


async def test_write_of_which_nothing_is_known_says_so(async_client: AsyncClient):
    errors.append(NoAnswer("it has not answered in time"))
    answer = await async_client.post("/v2/publish/x")
    assert answer.json()["error"].endswith("it has not answered in time")


@pytest.mark.parametrize("error", [ValueError("ours"), ProgrammingError("no such column")])
async def test_error_of_ours_stays_one(async_client: AsyncClient, error):
    errors.append(error)
    async_client.raise_request_exception = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django.views.defaults.ERROR_500_TEMPLATE_NAME", "none.html")
        answer = await async_client.get("/", headers=PAGE)
    assert answer.status_code == 500


async def test_other_answers_pass(async_client: AsyncClient):
    assert (await async_client.get("/fine")).text == "fine"
