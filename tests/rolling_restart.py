"""Restarts under load: `uv run python -m tests.rolling_restart [--restarts 5]`.

Visitors click at a steady rate, and each click starts a job of five seconds. Meanwhile gunicorn
gets SIGHUP, or one of two servers behind nginx is stopped and started, then the other. A click
that is not answered, or a job that does not succeed, ends the command with 1.
"""

# ruff: noqa: T201  (the table is what this command is for)

import argparse
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple

import psutil
import requests

from harness.nginx import running_nginx
from harness.processes import START_SECONDS, Site, exit_on_sigterm, free_port, site
from harness.sink import Sink
from harness.waiting import eventually
from tests.rolling_load import Load

DOCS = Path(__file__).resolve().parent.parent / "docs"


class Result(NamedTuple):
    """What became of the clicks of a run, and how long they waited for their answers."""

    how: str
    restarts: int
    clicks: int
    repeated: int
    lost: list[str]
    unfinished: list[str]
    median: float
    p95: float
    longest: float


def documented_blocks() -> str:
    """The server of docs/deploy.md with what docs/operations.md changes in it, and its limits."""
    operations, deploy = [(DOCS / name).read_text() for name in ("operations.md", "deploy.md")]
    (upstream,) = re.findall(r"```nginx\n(upstream .*?)```", operations, re.DOTALL)
    (changed,) = re.findall(r"```nginx\n( +proxy_pass .*?)```", operations, re.DOTALL)
    ((zone, limits),) = re.findall(
        r"```nginx\n# Before the server:\n(.*?)# In the server:\n(.*?)```", operations, re.DOTALL
    )
    (server,) = re.findall(r"^(server \{\n  listen 443 .*?)```", deploy, re.DOTALL | re.MULTILINE)
    replaced = ["    proxy_pass http://127.0.0.1:8000;\n", "\n  location / {"]
    assert all(text in server for text in replaced)
    server = server.replace(replaced[0], changed).replace(replaced[1], limits + replaced[1])
    return zone + upstream + server


@contextmanager
def nginx_before(folder: Path, port: int, servers: list[int]) -> Iterator[None]:
    """nginx with the documented configuration, before servers on other ports than printed."""
    blocks = documented_blocks().replace("listen 443 ssl;", f"listen 127.0.0.1:{port};")
    blocks = re.sub(r" *ssl_\w+ .*;\n", "", blocks)
    for printed, own in zip(("10.0.0.1:8000", "10.0.0.2:8000"), servers, strict=True):
        assert printed in blocks
        blocks = blocks.replace(printed, f"127.0.0.1:{own}")
    with running_nginx(folder, blocks):
        yield


def hang_up(running: Site, web: subprocess.Popen[bytes]) -> None:
    """Send SIGHUP to gunicorn, and wait until all of its workers are new."""
    old = psutil.Process(web.pid).children()
    web.send_signal(signal.SIGHUP)
    eventually(
        lambda: not any(child.is_running() for child in old), 60, what="the old workers' end"
    )


def wait_for(port: int) -> None:
    """Wait until a server on this machine answers."""

    def up() -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{port}/healthz", timeout=30).status_code == 200
        except requests.ConnectionError:
            return False

    eventually(up, START_SECONDS, what="the server's start")


def run_with_hangups(folder: Path, restarts: int, rate: float, pause: float = 2) -> Result:
    """Clicks while gunicorn's workers are replaced again and again."""
    with Sink() as sink:
        variables = {"LONG_TASK_TARGET_URL": sink.url, "WEB_CONCURRENCY": "2"}
        with site(folder, **variables) as running:
            web = running.start_web()
            with Load(running.url, rate) as load:
                around_it(load, restarts, lambda: hang_up(running, web), pause)
            return result("SIGHUP", restarts, load, running.url)


def run_with_two_servers(folder: Path, restarts: int, rate: float, pause: float = 2) -> Result:
    """Clicks through nginx while one of two servers is stopped and started, then the other."""
    with Sink() as sink:
        port, ports = free_port(), [free_port(), free_port()]
        url = f"http://127.0.0.1:{port}"
        variables = {"LONG_TASK_TARGET_URL": sink.url, "PROXIES": "1", "PUBLIC_URL": url}
        with site(folder, **variables) as running, nginx_before(folder, port, ports):
            servers = [running.start("-m", "gunicorn", PORT=str(own)) for own in ports]
            for own in ports:
                wait_for(own)

            def restart_next() -> None:
                running.stop(servers[0])
                servers.append(running.start("-m", "gunicorn", PORT=str(ports[0])))
                wait_for(ports[0])
                del servers[0]
                ports.append(ports.pop(0))
                time.sleep(1.5)  # fail_timeout: nginx asks it again

            with Load(url, rate) as load:
                around_it(load, restarts, restart_next, pause)
            return result("two servers", restarts, load, url)


def around_it(load: Load, restarts: int, restart: Callable[[], None], pause: float) -> None:
    """Restart while visitors click, and have them click for a while before and after."""
    for _ in range(restarts):
        clicks = len(load.clicks)
        eventually(lambda clicks=clicks: len(load.clicks) > clicks, 60, what="a click's answer")
        time.sleep(pause)
        restart()
    time.sleep(pause)


def result(how: str, restarts: int, load: Load, url: str) -> Result:
    """Wait for the jobs, and say what became of the clicks."""

    def state(job_id: str) -> str:
        as_json = {"Accept": "application/json"}
        answer = requests.get(f"{url}/jobs/{job_id}", headers=as_json, timeout=30)
        return str(answer.json()["status"])

    left = [click.job_id for click in load.clicks if click.job_id]
    deadline = time.monotonic() + 90
    while left and time.monotonic() < deadline:
        left = [job_id for job_id in left if state(job_id) != "succeeded"]
        time.sleep(0.2)
    seconds = [click.seconds for click in load.clicks if not click.error]
    hundredths = quantiles(seconds, n=100, method="inclusive")
    return Result(
        how,
        restarts,
        len(load.clicks),
        sum(click.repeated for click in load.clicks),
        [click.error for click in load.lost],
        left,
        hundredths[49],
        hundredths[94],
        max(seconds),
    )


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--restarts", type=int, default=5)
    parser.add_argument("--rate", type=float, default=5.0, help="clicks a second")
    parser.add_argument("--only", choices=["sighup", "servers"])
    return parser.parse_args()


def main() -> None:
    options = read_options()
    exit_on_sigterm()
    runs = {"sighup": run_with_hangups, "servers": run_with_two_servers}
    failed = False
    print("| how | restarts | clicks | repeated | lost | jobs lost | median | p95 | longest |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for name, run in runs.items():
        if options.only in {None, name}:
            with tempfile.TemporaryDirectory() as folder:
                found = run(Path(folder), options.restarts, options.rate)
                failed |= bool(found.lost or found.unfinished)
                waits = [f"{found.median * 1000:.0f} ms", f"{found.p95:.2f} s"]
                cells = [found.how, found.restarts, found.clicks, found.repeated, len(found.lost)]
                cells += [len(found.unfinished), *waits, f"{found.longest:.2f} s"]
                print("| " + " | ".join(map(str, cells)) + " |", flush=True)
                for error in found.lost:
                    print(f"lost: {error}", file=sys.stderr)
    sys.exit(failed)


if __name__ == "__main__":
    main()
