"""Take the screenshots that the README and docs/ show: `python -m harness.screenshots`.

A site is started and its queue is given something to show: a job that has succeeded and one
that runs, messages, a dead letter, a schedule, a URL group. Then every page that a visitor can
reach is kept in both themes, as `<name of its URL>-<theme>.png`. URLs that are no page, or that
no link leads to, are named at the end. Needs chromium; run it again whenever a page has changed.
"""

import argparse
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import requests
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as NoneCame

from harness.chromium import launch
from harness.pages import pages_of, url_names
from harness.processes import ROOT, Site, site
from harness.visitor import Visitor
from harness.waiting import eventually

FOLDER = ROOT / "docs" / "screenshots"
README_SIZE = {"width": 1280, "height": 860}
SIZE = {"width": 1280, "height": 800}
THEMES = ("light", "dark")
TOKEN = "token-of-the-screenshots"
MIDDLE = re.compile("[4-8]")  # steps; a busy machine may miss one of them
NOWHERE = "http://127.0.0.1:9/nobody-listens-here"


def fill_queue(running: Site) -> None:
    """Give the queue's pages something to show."""

    def ask(path: str, json: object = None, **headers: str) -> None:
        given = {"Authorization": f"Bearer {TOKEN}"} | {
            f"Upstash-{name.replace('_', '-')}": value for name, value in headers.items()
        }
        url = f"{running.url}/v2/{path}"
        requests.post(url, json=json, headers=given, timeout=30).raise_for_status()

    here = f"{running.url}/catcher/hello/"
    ask("topics/orders/endpoints", {"endpoints": [{"name": "stock", "url": f"{here}stock"}]})
    ask("publish/orders", {"order": 1}, Label="order")
    ask(f"enqueue/mail/{here}", {"to": "ada@example.com"}, Label="mail")
    ask(f"publish/{here}", {"hello": "world"}, Flow_Control_Key="api", Flow_Control_Value="rate=5")
    ask(f"publish/{here}", {"hello": "later"}, Delay="1h", Label="later")
    ask(f"publish/{NOWHERE}", {"hello": "nobody"}, Retries="0", Label="lost")
    ask(f"schedules/{here}", {"hello": "every hour"}, Cron="0 * * * *")

    def has_dead_letter() -> bool:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return bool(
            requests.get(f"{running.url}/v2/dlq", headers=headers, timeout=30).json()["messages"]
        )

    eventually(has_dead_letter, what="the dead letter")


def start(page: Page) -> None:
    page.get_by_role("button", name="Start Background Job").click()


def show_home(page: Page) -> None:
    """The home page with a job that has succeeded and one that runs."""
    start(page)
    expect(page.locator("#jobs .succeeded")).to_be_visible(timeout=30_000)
    start(page)
    expect(page.locator("#jobs progress").first).to_have_attribute("value", MIDDLE, timeout=30_000)


# The button that is pressed on a page, by the name of its URL, so that there is a result to see.
BUTTONS = {
    "email": "Send e-mail",
    "image": "Upload and process",
    "delay": "Start in ten seconds",
    "schedule": "Start the schedule",
    "callback": "Bake a cake",
    "url_group": "Place an order",
    "doctor": "Examine",
}


# Pages whose job ends soon enough to be shown with its result.
ENDING = {"email", "image", "callback"}


def press(page: Page, name: str) -> str:
    """Press the page's button and wait for a state to be seen; or say what is missing."""
    if name not in BUTTONS:
        return ""
    button = page.get_by_role("button", name=BUTTONS[name])
    if not button.count():
        return f"{name} has no button {BUTTONS[name]!r}"
    for field in page.locator("main input[type=file]").all():
        field.set_input_files(FOLDER / "home.png")
    button.click()
    try:
        page.locator("main .pill").first.wait_for(timeout=15_000)
        if name in ENDING:
            page.locator("#jobs .succeeded").first.wait_for(timeout=30_000)
    except NoneCame:
        return f"{name} shows no state after {BUTTONS[name]!r}"
    return ""


def take_home(browser: Browser, running: Site, folder: Path) -> tuple[Path, BrowserContext]:
    """Take the README's screenshot; also the context of the visitor whose jobs it shows."""
    context = browser.new_context(viewport=README_SIZE, device_scale_factor=2)
    page = context.new_page()
    page.goto(running.url)
    show_home(page)
    file = folder / "home.png"
    page.evaluate("scrollTo(0, 0)")  # a click scrolls
    page.screenshot(path=file)
    return file, context


class Taken(NamedTuple):
    """The files, and what is not on them: URLs without a page, buttons that were not found."""

    files: list[Path]
    missing: list[str]


def take_page(browser: Browser, url: str, cookies: Any, name: str, folder: Path) -> Taken:
    """Take a page in both themes."""
    files, missing = [], []
    for theme in THEMES:
        context = browser.new_context(viewport=SIZE, color_scheme=theme)
        context.add_cookies(cookies)
        page = context.new_page()
        page.goto(url)
        if theme == THEMES[0] and (problem := press(page, name)):
            missing.append(problem)
        if page.locator("#caught").count():
            page.locator("#caught ol").wait_for(state="attached")
        files.append(folder / f"{name}-{theme}.png")
        page.screenshot(path=files[-1])
        context.close()
    return Taken(files, missing)


def take(folder: Path, only: list[str]) -> Taken:
    """Take the README's screenshot, and those of every page or of some."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory() as data,
        # In development the queue's pages are open, and mail is printed.
        site(Path(data), DEBUG="1", BROKER_TOKEN=TOKEN) as running,
        sync_playwright() as playwright,
    ):
        running.start_web()
        fill_queue(running)
        browser = launch(playwright)
        home, context = take_home(browser, running, folder)
        cookies = context.cookies()
        visitor = Visitor(running.url)
        visitor.http.cookies.update({cookie["name"]: cookie["value"] for cookie in cookies})
        pages = pages_of(visitor)
        taken = Taken([home], [f"{name} is no page" for name in sorted(url_names() - pages.keys())])
        for name, path in pages.items():
            if only and name not in only:
                continue
            files, missing = take_page(browser, running.url + path, cookies, name, folder)
            taken = Taken([*taken.files, *files], [*taken.missing, *missing])
        browser.close()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--only", nargs="*", default=[], help="names of URLs, such as email")
    options = parser.parse_args()
    os.environ |= {"DJANGO_SETTINGS_MODULE": "jobsite.settings", "DEBUG": "1"}
    import django

    django.setup()
    taken = take(options.folder, options.only)
    for line in [*taken.files, *taken.missing]:
        print(line)


if __name__ == "__main__":
    main()
