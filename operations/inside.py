"""What the doctor finds without asking the site: the database, the dispatchers, the mail server.

No message passes here; the database is asked for the oldest one that waits. Whatever blocks runs
in a thread that nobody has to wait for.
"""

import asyncio
import smtplib
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from django.conf import settings
from django.core.mail import mailers
from django.db import DatabaseError, connection, connections
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Min, Sum

from broker.accounts import keys_of
from broker.clock import now_ms
from broker.models import FlowControl, Message, Pulse, Queue, queue_is_stuck
from operations.findings import OK, PROBLEM, UNKNOWN, Finding

DATABASE, DISPATCHER, MAIL = "Database", "Dispatcher", "Mail"
ALIVE_MS = 10_000
CONNECT_SECONDS = 4
# As SQLite counts them: https://www.sqlite.org/pragma.html#pragma_synchronous
FULL = 2
WHERE_DATABASE = "Look at DATABASE_URL and at the database itself, and at its log."


class Inside(NamedTuple):
    """What the database tells. `ahead_ms` is by how much its clock is ahead, None if it has
    none of its own; `keys` are those with which our queue signs.
    """

    finding: Finding
    dispatcher: Finding | None = None
    ahead_ms: int | None = None
    keys: tuple[str, str] | None = None


async def in_daemon_thread[T](look: Callable[[], T]) -> T:
    """Call something that may block for longer than anybody waits; the end of the process does
    not wait for it either.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if future.done():
            return  # nobody waits any more
        if error is None:
            future.set_result(result)  # type: ignore[arg-type]
        else:
            future.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = look()
        except Exception as raised:
            error = raised
        finally:
            connections.close_all()
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="doctor", daemon=True).start()
    return await future


def look_inside_alone() -> Inside:
    """The same over a connection of this thread's own: a pool would wait, and tell no reason."""
    own = connections.create_connection(connection.alias)
    options = {
        name: value for name, value in own.settings_dict["OPTIONS"].items() if name != "pool"
    }
    if own.vendor == "postgresql":
        options["connect_timeout"] = CONNECT_SECONDS
    own.settings_dict = own.settings_dict | {"OPTIONS": options}
    connections[connection.alias] = own
    return look_inside()


def look_inside() -> Inside:
    """Ask the database. Blocks for as long as it does not answer."""
    started = time.perf_counter()
    try:
        connection.ensure_connection()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        milliseconds = 1000 * (time.perf_counter() - started)
        waiting = unapplied_migrations()
        facts = (("answered in", f"{milliseconds:.1f} ms"), *facts_of_database())
        if waiting:
            words = f"{len(waiting)} migrations are not applied: {', '.join(waiting[:5])}."
            return Inside(Finding(DATABASE, PROBLEM, words, "Run manage.py migrate.", facts))
        finding = database_finding(facts)
        keys = None if settings.QSTASH_TOKEN else tuple(keys_of("site"))
        return Inside(finding, dispatcher_finding(), clock_ahead_ms(), keys)  # type: ignore[arg-type]
    except DatabaseError as error:
        words = f"The database does not answer: {' '.join(str(error).split())}"
        return Inside(Finding(DATABASE, PROBLEM, words, WHERE_DATABASE))


def unapplied_migrations() -> list[str]:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]


def facts_of_database() -> tuple[tuple[str, str], ...]:
    """Its kind, and the settings that decide what a commit is worth and how many may ask."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            journal = cursor.execute("PRAGMA journal_mode").fetchone()[0]
            synchronous = cursor.execute("PRAGMA synchronous").fetchone()[0]
            return (
                ("kind", "SQLite"),
                ("file", Path(str(connection.settings_dict["NAME"])).name),
                ("journal_mode", str(journal)),
                ("synchronous", "full" if synchronous >= FULL else "not full"),
            )
        cursor.execute(
            "SELECT current_setting('server_version'), current_setting('max_connections')"
        )
        version, most = cursor.fetchone()
        pool = settings.DATABASES["default"].get("OPTIONS", {}).get("pool") or {}
        size = str(pool.get("max_size", "")) if isinstance(pool, dict) else "default"
        return (
            ("kind", f"PostgreSQL {version}"),
            ("connections allowed", str(most)),
            ("pool of a process", size or "none"),
        )


def database_finding(facts: tuple[tuple[str, str], ...]) -> Finding:
    """Whether the database keeps what it has accepted."""
    named = dict(facts)
    if named["kind"] == "SQLite" and (
        named["journal_mode"] not in {"wal", "memory"} or named["synchronous"] != "full"
    ):
        words = f"SQLite runs with journal_mode {named['journal_mode']}, not as the site sets it."
        remedy = "Put the file on a local disk: SQLite's WAL works on no network file system."
        return Finding(DATABASE, PROBLEM, words, remedy, facts)
    words = f"{named['kind']} answers, and all migrations are applied."
    return Finding(DATABASE, OK, words, facts=facts)


def clock_ahead_ms() -> int | None:
    """By how much the database server's clock is ahead of ours; SQLite has none of its own."""
    if connection.vendor != "postgresql":
        return None
    before = now_ms()
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp()) * 1000")
        theirs = int(cursor.fetchone()[0])
    return theirs - (before + now_ms()) // 2


def dispatcher_finding() -> Finding:
    """Whether a dispatcher is alive, and since when the oldest due message waits."""
    if settings.QSTASH_TOKEN:
        return Finding(DISPATCHER, OK, "None is needed: hosted QStash delivers.")
    now = now_ms()
    alive = Pulse.objects.filter(seen_at__gt=now - ALIVE_MS)
    due = [
        model._default_manager.filter(due_at__lte=now).aggregate(at=Min("due_at"))["at"]
        for model in (Message, Queue, FlowControl)
    ]
    oldest = min((at for at in due if at is not None), default=None)
    in_flight = alive.aggregate(sum=Sum("in_flight"))["sum"] or 0
    facts = (
        ("alive", str(number := alive.count())),
        ("in flight", str(in_flight)),
        ("oldest due", f"{(now - oldest) / 1000:.1f} s ago" if oldest else "none is due"),
    )
    if number:
        words = f"{number} dispatcher{'s are' if number > 1 else ' is'} alive."
        return Finding(DISPATCHER, OK, words, facts=facts)
    remedy = "Start the site; with RUN_DISPATCHER=0, start manage.py run_dispatcher."
    if queue_is_stuck(now):
        words = "No dispatcher is alive, and messages are due."
        return Finding(DISPATCHER, PROBLEM, words, remedy, facts)
    words = "No dispatcher is alive; no message waits for one."
    return Finding(DISPATCHER, UNKNOWN, words, remedy, facts)


def mail_finding() -> Finding:
    """Whether the mail server lets us in. Nothing is sent."""
    if not settings.MAIL_IS_ON:
        words = "It is off, as EMAIL_URL is not set. The page of the e-mail example says so."
        return Finding(MAIL, OK, words)
    if not settings.EMAIL_URL:
        return Finding(MAIL, OK, "Mails are printed, as there is no EMAIL_URL.")
    mailer: dict[str, Any] = settings.MAILERS["default"]
    options = mailer["OPTIONS"]
    facts = (("server", f"{options['host']}:{options['port'] or 'default port'}"),)
    try:
        with mailers.default:
            words = "The mail server answers and lets this site in; nothing was sent."
    except smtplib.SMTPAuthenticationError as error:
        words = f"The mail server does not accept the name and password: {error.smtp_code}."
        return Finding(MAIL, PROBLEM, words, "Mend the name and password in EMAIL_URL.", facts)
    except (OSError, smtplib.SMTPException) as error:
        words = f"The mail server cannot be used: {' '.join(str(error).split())}"
        remedy = "Look at EMAIL_URL: its scheme says whether and how TLS is spoken."
        return Finding(MAIL, PROBLEM, words, remedy, facts)
    return Finding(MAIL, OK, words, facts=facts)
