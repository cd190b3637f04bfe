"""Open pages of a real server: streams through everything between, and what ends them."""

import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from html import unescape

import psutil
import pytest
import requests

from harness.processes import Site, site
from harness.visitor import Visitor
from harness.waiting import eventually

LIVE = re.compile(r'data-live="([^"]+)" data-version="([^"]*)"')


class Stream:
    """A visitor's home page with its stream; a thread keeps what comes."""

    def __init__(self, visitor: Visitor, last_event_id: str = "") -> None:
        page = visitor.http.get(visitor.url, timeout=10).text
        path, version = (unescape(part) for part in LIVE.search(page).groups())
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "gzip, br"}
        headers |= {"Last-Event-ID": last_event_id} if last_event_id else {}
        url = f"{visitor.url}{path}?since={version}"
        self.response = requests.get(
            url, headers=headers, cookies=visitor.http.cookies, stream=True, timeout=60
        )
        self.lines: list[str] = []
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    def read(self) -> None:
        with suppress(requests.RequestException):  # hung up, here or there
            for line in self.response.iter_lines(chunk_size=1, decode_unicode=True):
                self.lines.append(line)

    @property
    def ids(self) -> list[str]:
        return [line.removeprefix("id: ") for line in self.lines if line.startswith("id: ")]

    def shows(self, text: str) -> bool:
        return any(text in line for line in self.lines)

    def close(self) -> None:
        """Hang up, as a browser does when the visitor leaves."""
        if self.thread.is_alive():
            self.response.raw.connection.sock.shutdown(socket.SHUT_RDWR)
        self.thread.join(timeout=30)
        self.response.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def running(request, tmp_path):
    """A site on each database, with one web process."""
    url = request.getfixturevalue("postgresql_url") if request.param == "postgresql" else ""
    with site(tmp_path, url) as running:
        yield running


@pytest.fixture
def sqlite(tmp_path):
    with site(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site that runs, for tests that leave it running."""
    with site(tmp_path_factory.mktemp("served")) as running:
        running.start_web()
        yield running


def worker_of(web) -> psutil.Process:
    (worker,) = psutil.Process(web.pid).children()
    return worker


def test_job_is_followed_from_the_click_to_its_end(running: Site):
    running.start_web()
    visitor = Visitor(running.url)
    stream = Stream(visitor)
    assert stream.response.headers["Content-Type"] == "text/event-stream"
    assert "Content-Encoding" not in stream.response.headers
    visitor.click()
    eventually(lambda: stream.shows("1 of 10 steps done"), what="the first step")
    assert visitor.job()["status"] == "running"  # so it came while the stream was open
    eventually(lambda: stream.shows("10 of 10 steps done"), what="the last step")
    stream.close()


def test_commit_of_another_process_is_noticed(running: Site):
    running.start_web(RUN_DISPATCHER="0")
    visitor = Visitor(running.url)
    stream = Stream(visitor)
    visitor.click()
    eventually(lambda: stream.shows(visitor.job_id), what="the job")
    running.start_dispatcher()
    eventually(lambda: stream.shows("10 of 10 steps done"), seconds=60, what="the last step")
    stream.close()


def test_other_visitors_are_told_nothing(served: Site):
    visitor, other = Visitor(served.url), Visitor(served.url)
    stream, others = Stream(visitor), Stream(other)
    visitor.click()
    eventually(lambda: stream.shows("10 of 10 steps done"))
    assert others.ids == []
    stream.close()
    others.close()


def test_page_that_comes_back_is_told_only_what_it_has_missed(sqlite: Site):
    sqlite.start_web(RUN_DISPATCHER="0")
    visitor = Visitor(sqlite.url).click()
    first = Stream(visitor, last_event_id="0-0-0")
    eventually(lambda: first.ids, what="an event")
    first.close()
    again = Stream(visitor, last_event_id=first.ids[-1])
    eventually(lambda: ":" in again.lines, what="the beginning")
    assert again.ids == []
    visitor.click()
    eventually(lambda: again.shows(visitor.job_id), what="the next job")
    again.close()


def test_stream_ends_when_the_visitor_leaves(sqlite: Site):
    sqlite.start_web(LIVE_STREAMS="1")
    visitor = Visitor(sqlite.url)
    stream = Stream(visitor)
    assert Stream(visitor).response.status_code == 204
    stream.close()
    eventually(lambda: is_streamed(Stream(visitor)), what="room for another")


def is_streamed(stream: Stream) -> bool:
    stream.close()
    return stream.response.status_code == 200


def test_waiting_streams_hold_no_threads(served: Site):
    visitor = Visitor(served.url)
    streams = [Stream(visitor) for _ in range(30)]
    threads = worker_of(served.processes[0]).num_threads()
    for stream in streams:
        stream.close()
    assert threads < 10


def test_server_that_is_told_to_stop_does_not_wait_for_open_pages(sqlite: Site):
    web = sqlite.start_web()
    stream = Stream(Visitor(sqlite.url))
    eventually(lambda: ":" in stream.lines, what="the beginning")
    began = time.monotonic()
    sqlite.stop(web, signal.SIGTERM)
    assert time.monotonic() - began < 20  # gunicorn itself would wait for 28
    stream.thread.join(timeout=30)
    assert not stream.thread.is_alive()
    assert "Traceback" not in sqlite.log.read_text()


def test_without_streams_pages_poll(sqlite: Site):
    sqlite.start_web(LIVE_STREAMS="0")
    stream = Stream(Visitor(sqlite.url))
    assert stream.response.status_code == 204
    stream.thread.join()
