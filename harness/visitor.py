"""A visitor of a running site: opens the page, clicks the button, and waits for the job."""

import json
import re
from typing import Any

import requests

from harness.waiting import eventually

TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


class Visitor:
    """A browser without a window: session, CSRF token, and the job it has started."""

    def __init__(self, url: str) -> None:
        self.url, self.http = url, requests.Session()
        self.token = TOKEN.search(self.http.get(url, timeout=10).text)[1]
        self.answer, self.job_id = "", ""

    def click(self, htmx: bool = True, path: str = "/jobs/start") -> "Visitor":
        response = self.http.post(
            f"{self.url}{path}",
            data={"csrfmiddlewaretoken": self.token},
            headers={"HX-Request": "true"} if htmx else {},
            timeout=60,
        )
        self.answer = response.text
        found = re.search(r'id="job-([0-9a-f]+)"', self.answer)
        self.job_id = found[1] if found else response.url.rpartition("/")[2]
        return self

    def sign_in(self, password: str) -> "Visitor":
        """Become the operator, who sees the queue's pages."""
        data = {"csrfmiddlewaretoken": self.token, "password": password}
        answer = self.http.post(f"{self.url}/queue/sign-in", data, timeout=60)
        assert answer.status_code == 200 and not answer.url.endswith("/sign-in"), answer.text
        return self

    def job(self) -> dict[str, Any]:
        """The job's facts, as a script reads them."""
        return self.http.get(
            f"{self.url}/jobs/{self.job_id}",
            headers={"Accept": "application/json"},
            timeout=10,
        ).json()

    def until(self, status: str, seconds: float = 30) -> dict[str, Any]:
        """Wait for a status."""

        def look() -> dict[str, Any] | None:
            try:
                job = self.job()
            except (requests.ConnectionError, requests.Timeout, json.JSONDecodeError):
                return None
            return job if job["status"] == status else None

        return eventually(look, seconds, f"the status {status}")
