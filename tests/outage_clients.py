"""The clients of tests/outage_rounds.py: they publish, click and look, and note every wait."""

import json
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from urllib.parse import quote

from harness.processes import Site
from tests.kill_publisher import QUEUE, new_headers

PUBLISHERS = 3
PATIENCE_SECONDS = 60
JSON_PATHS = ("/v2/", "/api/", "/healthz", "/catcher/")


class Clients:
    """Threads that ask without end while they are `working`."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.lock, self.stop = threading.Lock(), threading.Event()
        self.kinds: dict[str, Callable[[random.Random], None]] = {
            "/": lambda choice: self.ask("/", "GET", "/", {"Accept": "text/html"}),
            "/v2/logs": lambda choice: self.ask("/v2/logs", "GET", "/v2/logs", self.token),
            "/healthz": lambda choice: self.ask("/healthz", "GET", "/healthz", {}),
            "/jobs/start": self.click,
            "/api/long-task": self.deliver,
            "/catcher/": lambda choice: self.ask("/catcher/", "POST", "/catcher/outages/", {}),
            **{f"publisher {number}": self.publish for number in range(1, PUBLISHERS + 1)},
        }
        self.cookie = self.form_token = ""
        self.begin()

    @property
    def token(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.site.environment['BROKER_TOKEN']}"}

    def begin(self) -> None:
        """Forget the round before."""
        self.accepted: set[str] = set()
        self.waits: dict[str, float] = defaultdict(float)
        self.served: dict[str, float] = {}
        self.requests = self.refused = 0
        self.troubles: list[str] = []
        self.count_from = 0.0

    def web_was_killed(self) -> None:
        """Count no wait that began before the next one answers: a process takes time to start."""
        self.count_from, self.killed_at = float("inf"), time.monotonic()

    def note(self, name: str, began: float) -> None:
        """Note that something was answered. Call it with the lock."""
        now = time.monotonic()
        self.requests += 1
        if began >= self.count_from:
            self.waits[name] = max(self.waits[name], now - began)
        elif self.count_from == float("inf") and self.killed_at < began:
            self.count_from = now

    @contextmanager
    def working(self, choice: random.Random) -> Iterator[None]:
        self.begin()
        self.stop.clear()
        seeds = [choice.random() for _ in self.kinds]
        pairs = zip(self.kinds.values(), seeds, strict=True)
        threads = [threading.Thread(target=self.work, args=pair, daemon=True) for pair in pairs]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join()

    def work(self, ask: Callable[[random.Random], None], seed: float) -> None:
        choice = random.Random(seed)  # noqa: S311
        while not self.stop.is_set():
            ask(choice)
            self.stop.wait(choice.uniform(0.05, 0.25))

    @property
    def longest(self) -> float:
        return max(self.waits.values(), default=0)

    def served_since(self, moment: float) -> bool:
        return not self.not_served(moment)

    def not_served(self, moment: float) -> list[str]:
        """Who has not been served with something that was asked for after a moment."""
        with self.lock:
            names = {"publish" if "publisher" in name else name for name in self.kinds}
            return sorted(name for name in names if self.served.get(name, 0) < moment)

    def site_answers(self) -> bool:
        try:
            answer, _ = self.exchange("GET", "/", {"Accept": "text/html"}, b"")
        except (OSError, HTTPException):
            return False
        return answer.status == 200

    def exchange(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[HTTPResponse, bytes]:
        host = self.site.url.removeprefix("http://")
        connection = HTTPConnection(host, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()

    def ask(
        self, name: str, method: str, path: str, headers: dict[str, str], body: bytes = b""
    ) -> bytes:
        """Ask, and note the wait and the answer; empty if there was none, or 503."""
        began = time.monotonic()
        try:
            answer, content = self.exchange(method, path, headers, body)
        except (ConnectionError, HTTPException):
            return b""  # it was killed
        except OSError as error:
            self.troubles.append(f"{name}: {error!r}")
            return b""
        with self.lock:
            self.note(name, began)
            if answer.status == 503:
                self.refused += 1
                self.check_refusal(name, path, answer, content)
                return b""
            if answer.status >= 400:
                self.troubles.append(f"{name}: HTTP {answer.status} {content[:300]!r}")
                return b""
            self.served[name] = began
        return content

    def check_refusal(self, name: str, path: str, answer: HTTPResponse, content: bytes) -> None:
        """In words, with Retry-After, and as JSON where programs ask."""
        words = content.decode()
        if path.startswith(JSON_PATHS):
            try:
                told = json.loads(words)
                words = told.get("error") or f"{told.get('database')} {told.get('dispatcher')}"
            except ValueError:
                self.troubles.append(f"{name}: 503 that is not JSON: {words[:300]}")
        known = ("is not answering", "not answering", "holds the job", "not running")
        if not any(text in words for text in known):
            self.troubles.append(f"{name}: 503 without words: {words[:300]}")
        if "Retry-After" not in answer.headers:
            self.troubles.append(f"{name}: 503 without Retry-After: {words[:300]}")

    def publish(self, choice: random.Random) -> None:
        where = choice.choices(["publish", f"enqueue/{QUEUE}"], [80, 20])[0]
        headers = new_headers(choice) | self.token
        if choice.random() < 0.2:
            headers["Upstash-Flow-Control-Key"] = "narrow"
            headers["Upstash-Flow-Control-Value"] = "parallelism=3"
        url = self.site.environment["RECEIVER_URL"]
        content = self.ask("publish", "POST", f"/v2/{where}/{url}", headers, b"{}")
        if content:
            with self.lock:
                self.accepted.add(json.loads(content)["messageId"])

    def click(self, choice: random.Random) -> None:
        """Click as htmx does; the page is asked for once, before anything fails."""
        if not self.cookie:
            answer, content = self.exchange("GET", "/", {"Accept": "text/html"}, b"")
            cookies = answer.headers.get_all("Set-Cookie") or []
            self.cookie = "; ".join(cookie.partition(";")[0] for cookie in cookies)
            text = content.decode()
            self.form_token = text.partition('csrfmiddlewaretoken" value="')[2].partition('"')[0]
        headers = {
            "Cookie": self.cookie,
            "HX-Request": "true",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        body = f"csrfmiddlewaretoken={quote(self.form_token)}".encode()
        self.ask("/jobs/start", "POST", "/jobs/start", headers, body)
        self.stop.wait(0.5)

    def deliver(self, choice: random.Random) -> None:
        """A signed message for a job that does not exist: a claim, and no work."""
        from django.conf import settings

        from broker.signing import sign

        body = json.dumps({"job_id": "0" * 32}).encode()
        url = f"{self.site.url}/api/long-task"
        key = settings.QSTASH_CURRENT_SIGNING_KEY
        headers = {
            "Upstash-Signature": sign(url, body, key, int(time.time())),
            "Upstash-Message-Id": "msg_outages",
        }
        began = time.monotonic()
        try:
            answer, content = self.exchange("POST", "/api/long-task", headers, body)
        except (ConnectionError, HTTPException):
            return
        with self.lock:
            self.note("/api/long-task", began)
            if answer.status == 489:
                self.served["/api/long-task"] = began
            elif answer.status == 503:
                self.refused += 1
                self.check_refusal("/api/long-task", "/api/long-task", answer, content)
            else:
                self.troubles.append(f"/api/long-task: HTTP {answer.status} {content[:300]!r}")
