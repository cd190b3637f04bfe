"""Hosted QStash's client: one HTTP call each to publish a message, cancel it, read its log.

The message leaves the site here. Whatever goes wrong on the way becomes a named error whose
text says why, and what to do; `backends.py` keeps the job for another try.
https://upstash.com/docs/qstash/api-reference
"""

from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import quote

import requests
from django.core.cache import cache as django_cache

from jobs.checks import repaired_qstash_url
from jobs.exceptions import (
    BadToken,
    NoRoute,
    NotFound,
    PublishError,
    PublishTimeout,
    RateLimited,
    Refused,
)

CONNECT_AND_READ_SECONDS = (5, 10)
CONNECTION_TRIES = 3
BROKEN_CONNECTION = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)


# The page asks every half second; QStash's log is asked less often.
LOG_SECONDS = 2


class QStash:
    """One account at QStash, over one `requests` session."""

    def __init__(
        self, url: str, token: str, timeout: tuple[float, float] = CONNECT_AND_READ_SECONDS
    ) -> None:
        self.url, self.timeout = repaired_qstash_url(url), timeout
        self.http = requests.Session()
        self.http.headers["Authorization"] = f"Bearer {token}"
        self.queues: set[tuple[str, int]] = set()

    def publish(
        self, url: str, headers: dict[str, str], body: bytes, queue_name: str | None, once: str
    ) -> str:
        """Hand over a message and return its id. `once` is its deduplication id."""
        to = f"/v2/enqueue/{quote(queue_name)}/{url}" if queue_name else f"/v2/publish/{url}"
        headers = headers | {"Upstash-Deduplication-Id": once}
        response = self.call("POST", to, data=body, headers=headers)
        try:
            return str(response.json()["messageId"])
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(
                f"{self.url} answered, but not as QStash does: {response.text[:200]!r}. "
                "Check QSTASH_URL."
            ) from error

    def create_queue(self, name: str, parallelism: int) -> None:
        """Create a queue, or change it, the first time this process uses it."""
        if (name, parallelism) not in self.queues:
            self.call("POST", "/v2/queues", json={"queueName": name, "parallelism": parallelism})
            self.queues.add((name, parallelism))

    def cancel(self, message_id: str) -> None:
        """Cancel a message that has not been delivered yet."""
        self.call("DELETE", f"/v2/messages/{quote(message_id)}")

    def events(self, message_id: str) -> list[dict[str, Any]]:
        """Return a message's log, oldest line first: state, time (unix ms), error, …"""
        key = f"events:{self.url}:{message_id}"
        events: list[dict[str, Any]] | None = django_cache.get(key)
        if events is None:
            events = read_events(self.call("GET", f"/v2/events?messageId={quote(message_id)}"))
            django_cache.set(key, events, LOG_SECONDS)
        return events

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """One request, again only if the connection failed; 2xx, or a PublishError."""
        for tries_left in reversed(range(CONNECTION_TRIES)):
            try:
                response = self.http.request(
                    method,
                    self.url + path,
                    timeout=self.timeout,
                    allow_redirects=False,
                    **options,
                )
                break
            except requests.Timeout as error:
                raise PublishTimeout(
                    f"{self.url} did not answer in time. Try again in a moment."
                ) from error
            except BROKEN_CONNECTION as error:
                if not tries_left:
                    raise NoRoute(
                        f"{self.url} cannot be reached. Check QSTASH_URL and the network."
                    ) from error
            except (requests.RequestException, ValueError) as error:
                raise PublishError(
                    f"{self.url} cannot be asked: {error}. Check QSTASH_URL and QSTASH_TOKEN."
                ) from error
        raise_for_status(response)
        return response


@cache
def client_for(url: str, token: str) -> QStash:
    """One HTTP session for as long as the settings stay the same."""
    return QStash(url, token)


def read_events(answer: requests.Response) -> list[dict[str, Any]]:
    try:
        return [
            {
                "state": event["state"],
                "time": checked_time(event["time"]),
                "error": str(event.get("error", "")),
                "response_status": event.get("responseStatus"),
                "next_delivery_time": checked_time(event.get("nextDeliveryTime") or 0),
            }
            for event in reversed(answer.json()["events"])
        ]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError) as error:
        raise Refused("QStash did not answer with a log that can be read.") from error


def checked_time(unix_ms: Any) -> int:
    """A moment that a calendar knows, in unix ms. ValueError, OverflowError or OSError else."""
    datetime.fromtimestamp(int(unix_ms) / 1000, UTC)
    return int(unix_ms)


def raise_for_status(response: requests.Response) -> None:
    """Turn an answer that is no 2xx into a named error; the one place that reads statuses."""
    if 200 <= response.status_code <= 299:
        return
    try:
        words = str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        words = response.text[:200]
    if response.status_code == 401:
        raise BadToken(f"QStash does not accept the token ({words}). Check QSTASH_TOKEN.")
    if response.status_code == 429:
        raise RateLimited(f"QStash's limit is used up. {reset_in_words(response)}")
    refusal = NotFound if response.status_code == 404 else Refused
    raise refusal(f"QStash answered HTTP {response.status_code}: {words}")


def reset_in_words(response: requests.Response) -> str:
    """When a limit is lifted, from the `RateLimit-Reset` headers in unix seconds."""
    for name in ("RateLimit-Reset", "Burst-RateLimit-Reset"):
        try:
            moment = datetime.fromtimestamp(int(response.headers[name]), UTC)
        except (KeyError, ValueError, OverflowError, OSError):
            continue
        return f"It is lifted at {moment:%Y-%m-%d %H:%M:%S} UTC."
    return "Try again later."
