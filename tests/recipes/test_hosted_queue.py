"""Every example with hosted QStash, over HTTP between processes.

A second instance of this site stands in for QStash's cloud. The same ways with the embedded
queue are gone through in a browser, with a script and without; see tests/browser.
"""

import re

from harness.processes import Site
from harness.visitor import Visitor
from harness.waiting import eventually

ROW = re.compile(r'id="state-(\w+)".*?<strong>([^<]+)</strong>', re.DOTALL)
SECONDS = 60


class Page(Visitor):
    """An example's page in a browser without scripts."""

    def __init__(self, site: Site, path: str) -> None:
        super().__init__(site.url + path)
        self.site, self.path = site, path

    def post(self, path: str, **form: str) -> int:
        data = form | {"csrfmiddlewaretoken": self.token}
        return self.http.post(f"{self.site.url}{path}", data=data, timeout=60).status_code

    @property
    def text(self) -> str:
        return self.http.get(self.url, timeout=30).text

    @property
    def states(self) -> list[str]:
        """The states of the jobs, newest first."""
        return [state for _, state in ROW.findall(self.text)]

    def until(self, states: list[str]) -> None:
        eventually(lambda: sorted(self.states) == sorted(states), SECONDS, f"states {states}")


def test_delayed_job_waits_and_can_be_cancelled(hosted_site: Site):
    page = Page(hosted_site, "/delay")
    assert page.post("/delay/start") == 200
    page.until(["scheduled"])
    (job_id,) = {job_id for job_id, _ in ROW.findall(page.text)}
    page.post(f"/jobs/{job_id}/cancel")
    page.until(["cancelled"])


def test_callback_reports_every_answer(hosted_site: Site):
    page = Page(hosted_site, "/callback")
    page.post("/callback/start", fails="on")
    page.until(["succeeded"] * 3)
    told = re.findall(r"attempt (\d) was answered with HTTP (\d+)", page.text)
    assert set(told) == {("1", "503"), ("2", "200")}


def test_order_reaches_three_receivers(hosted_site: Site):
    page = Page(hosted_site, "/url-group")
    page.post("/url-group/start")
    page.until(["succeeded"] * 3)


def test_schedule_is_made_run_paused_resumed_and_deleted(hosted_site: Site):
    page = Page(hosted_site, "/schedule")
    assert page.post("/schedule/start", cron="0 0 1 1 *") == 200
    assert "At 00:00 on January 1 (UTC)" in page.text
    page.post("/schedule/1/run")
    page.until(["succeeded"])
    page.post("/schedule/1/pause")
    assert "Resume: schedule 1" in page.text
    page.post("/schedule/1/resume")
    assert "Pause: schedule 1" in page.text
    page.post("/schedule/1/delete")
    assert "Delete: schedule 1" not in page.text


def test_fourth_schedule_is_refused(hosted_site: Site):
    page = Page(hosted_site, "/schedule")
    for _ in range(3):
        page.post("/schedule/start", cron="0 0 1 1 *")
    assert page.post("/schedule/start", cron="0 0 1 1 *") == 409
