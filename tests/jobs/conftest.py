"""The two strangers of the jobs: the target of the ten requests, and QStash's cloud."""

import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from harness.sink import Sink
from jobs.models import Job

DROP = "drop the connection"


class Cloud:
    """A server in QStash's place: keeps what it is asked, answers what it is told to."""

    def __init__(self) -> None:
        self.reset()
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                asked = {"line": f"{self.command} {self.path}", "headers": self.headers}
                cloud.asked.append(asked | {"body": body})
                answer = cloud.answers.pop(0) if cloud.answers else cloud.usual
                if callable(answer):
                    answer = answer()
                if answer == DROP:
                    return
                status, headers, text = answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, address: object) -> None:
                """A publisher that has gone away is part of the tests."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def reset(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answers: list[Any] = []
        self.usual: Any = (200, {}, '{"messageId": "msg_cloud"}')

    def answer(self, status: int, body: object = "", **headers: str) -> None:
        """Answer once with a text, or with anything else as JSON."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        text = body if isinstance(body, str) else json.dumps(body)
        self.answers.append((status, named, text))


@pytest.fixture(scope="session")
def running_cloud() -> Iterator[Cloud]:
    cloud = Cloud()
    threading.Thread(target=cloud.server.serve_forever, args=[0.02], daemon=True).start()
    yield cloud
    cloud.server.shutdown()
    cloud.server.server_close()


@pytest.fixture
def cloud(running_cloud: Cloud) -> Cloud:
    """A QStash that accepts everything until told otherwise."""
    running_cloud.reset()
    return running_cloud


@pytest.fixture
def hosted(cloud: Cloud, settings) -> Cloud:
    """The site as it is once QSTASH_TOKEN is set."""
    settings.TASKS = {"default": {"BACKEND": "jobs.backends.HostedQueue"}}
    settings.QSTASH_URL, settings.QSTASH_TOKEN = cloud.url, "token-of-the-cloud"
    return cloud


@pytest.fixture(scope="session")
def running_sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


@pytest.fixture
def sink(running_sink: Sink) -> Sink:
    """A target that accepts everything until told otherwise."""
    running_sink.requests.clear()
    running_sink.answer = lambda request: 200
    return running_sink


@pytest.fixture
def job_at(job: Job, sink: Sink) -> Callable[..., Awaitable[Job]]:
    """A published job whose target is the sink, some of its ten steps done already."""

    async def job_at(steps_done: int, **fields: Any) -> Job:
        own = {"steps_done": steps_done, "args": [sink.url]} | fields
        await Job.objects.filter(id=job.id).aupdate(**own)
        await job.arefresh_from_db()
        return job

    return job_at
