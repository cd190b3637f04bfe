"""What the doctor finds in the database and at the mail server."""

import asyncio
import threading

import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from broker.clock import now_ms
from broker.models import Message, Pulse
from harness.mail_server import MailServer
from jobsite.settings import mailer
from operations.findings import OK, PROBLEM, UNKNOWN
from operations.inside import (
    database_finding,
    dispatcher_finding,
    in_daemon_thread,
    look_inside,
    mail_finding,
)
from tests.broker.messages import new_message


@pytest.mark.django_db
def test_database_that_answers_is_described():
    inside = look_inside()
    facts = dict(inside.finding.facts)
    assert (inside.finding.state, inside.dispatcher.state) == (OK, UNKNOWN)
    if connection.vendor == "sqlite":
        assert (facts["kind"], facts["synchronous"], inside.ahead_ms) == ("SQLite", "full", None)
    else:
        assert facts["kind"].startswith("PostgreSQL ")
        assert abs(inside.ahead_ms) < 5000


@pytest.mark.django_db
def test_migration_that_is_not_applied_is_named():
    [(_, newest)] = MigrationLoader(connection).graph.leaf_nodes("catcher")
    MigrationRecorder(connection).record_unapplied("catcher", newest)
    finding = look_inside().finding
    assert (finding.state, finding.remedy) == (PROBLEM, "Run manage.py migrate.")
    assert f"1 migrations are not applied: catcher.{newest}." in finding.words


def test_sqlite_without_a_write_ahead_log_is_a_problem():
    facts = (("kind", "SQLite"), ("journal_mode", "delete"), ("synchronous", "full"))
    assert "local disk" in database_finding(facts).remedy


@pytest.mark.django_db
def test_dispatcher_that_is_off_while_messages_are_due_is_a_problem():
    Message.objects.bulk_create([new_message(due_at=now_ms() - 20_000)])
    finding = dispatcher_finding()
    assert (finding.state, "run_dispatcher" in finding.remedy) == (PROBLEM, True)
    assert dict(finding.facts)["oldest due"].startswith("20.")
    Pulse.objects.create(dispatcher="one", seen_at=now_ms(), in_flight=7)
    finding = dispatcher_finding()
    assert (finding.state, dict(finding.facts)["in flight"]) == (OK, "7")


def test_hosted_queue_needs_no_dispatcher(settings):
    settings.QSTASH_TOKEN = "t"
    assert dispatcher_finding().state == OK


def use_mail_server(settings, url: str) -> None:
    settings.EMAIL_URL, settings.MAIL_IS_ON = url, True
    settings.MAILERS = {"default": mailer(url)}


def test_mail_server_is_asked_and_nothing_is_sent(settings):
    with MailServer() as server:
        use_mail_server(settings, server.url)
        assert mail_finding().state == OK
    assert server.mails == []
    assert mail_finding().state == PROBLEM  # it is gone


def test_mail_server_that_knows_no_password_is_a_problem(settings):
    with MailServer() as server:
        use_mail_server(settings, server.url.replace("//", "//me:secret@"))
        finding = mail_finding()
    assert (finding.state, "secret" in str(finding)) == (PROBLEM, False)


def test_mail_may_be_off_or_printed(settings):
    settings.EMAIL_URL, settings.MAIL_IS_ON = "", False
    assert "Mail is off" in mail_finding().words
    settings.MAIL_IS_ON = True
    assert "printed" in mail_finding().words


async def test_blocking_call_holds_nobody_and_its_error_is_raised():
    release = threading.Event()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(in_daemon_thread(release.wait), 0.01)
    release.set()
    assert await in_daemon_thread(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await in_daemon_thread(lambda: 1 / 0)
