"""The e-mail example: mails arrive, one by one; bad addresses are refused; without scripts too."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from harness.mail_server import NEVER, MailServer
from harness.processes import Site, site
from tests.browser.conftest import Browse

A, B, C = "a@example.com", "b@example.com", "c@example.com"


@pytest.fixture(scope="module")
def mails() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


@pytest.fixture(scope="module")
def mailing(tmp_path_factory: pytest.TempPathFactory, mails: MailServer) -> Iterator[Site]:
    """A site with a mail server."""
    own = {"EMAIL_URL": mails.url, "DEFAULT_FROM_EMAIL": "jobs@example.com"}
    with site(tmp_path_factory.mktemp("mailing"), **own) as running:
        running.start_web()
        yield running


def send(page: Page, users: str) -> None:
    page.get_by_label("Addresses").fill(users)
    page.get_by_role("button", name="Send e-mail").click()
    page.wait_for_url("**/email?job=*")


def outcome(page: Page, user: str):
    return page.locator("#email-users li").filter(has=page.get_by_text(user, exact=True))


def test_users_get_their_mails_while_the_page_is_open(
    browse: Browse, mailing: Site, mails: MailServer
):
    held = mails.hold(B)
    page = browse(f"{mailing.url}/email")
    send(page, f"{A}\n{B}\nc.example.com")
    expect(outcome(page, A)).to_contain_text("sent")
    expect(outcome(page, B)).to_contain_text("not yet")
    expect(outcome(page, "c.example.com")).to_contain_text("refused: not an e-mail address")
    held.released.set()
    expect(outcome(page, B)).to_contain_text("sent")
    expect(page.locator("#jobs")).to_contain_text("succeeded")


def test_page_tells_without_scripts_too_and_a_refusal_is_told(
    browse: Browse, mailing: Site, mails: MailServer
):
    mails.answers[C] = NEVER
    page = browse(f"{mailing.url}/email", java_script_enabled=False)
    send(page, f"{A}, {C}")
    expect(outcome(page, A)).to_contain_text("sent")
    expect(outcome(page, C)).to_contain_text(NEVER)
    expect(page.locator("#jobs")).to_contain_text("succeeded")
    expect(page.locator("meta[http-equiv=refresh]")).to_have_count(0)


def test_hostile_addresses_run_nothing_and_break_nothing(browse: Browse, mailing: Site):
    browse.expect("400 (Bad Request)")
    page = browse(f"{mailing.url}/email", viewport={"width": 320, "height": 640})
    hostile = f"<script>document.title='run'</script>\n{'x' * 300}\n\N{RIGHT-TO-LEFT OVERRIDE}moc"
    page.get_by_label("Addresses").fill(hostile)
    page.get_by_role("button", name="Send e-mail").click()
    expect(page.get_by_role("alert")).to_contain_text("There is no address to send mail to.")
    expect(page.locator("#email-users li")).to_have_count(3)
    assert page.title() != "run"
    assert page.evaluate("document.documentElement.scrollWidth") == 320


def test_site_without_a_mail_server_says_so(browse: Browse, still: Site):
    page = browse(f"{still.url}/email")
    expect(page.get_by_text("This site has no mail server")).to_be_visible()
    expect(page.get_by_role("button", name="Send e-mail")).to_be_disabled()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation_in_the_email_page(
    browse: Browse, mailing: Site, axe: str, scheme: str
):
    page = browse(f"{mailing.url}/email", color_scheme=scheme)
    violations(page, axe)
    send(page, f"{A}\nc.example.com")
    expect(page.locator("#jobs")).to_contain_text("succeeded")
    violations(page, axe)


def violations(page: Page, axe: str) -> None:
    page.evaluate(axe)
    found = page.evaluate("axe.run()")["violations"]
    assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []
