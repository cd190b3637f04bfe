"""The doctor: what is wrong with a deployment, in words, each with its remedy.

No message passes here. Checks run side by side, each for a few seconds at most; the command and
the page show the same findings.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from django.conf import settings

from jobs.signatures import EXPECTED
from operations.findings import OK, PROBLEM, UNKNOWN, Finding, without_secrets
from operations.hosted import Hosted, look_at_qstash
from operations.inside import (
    DATABASE,
    DISPATCHER,
    MAIL,
    WHERE_DATABASE,
    Inside,
    in_daemon_thread,
    look_inside_alone,
    mail_finding,
)
from operations.outside import Outside, address_of, look_outside

SECONDS = 5
CLOCK = "Clock"
# What a signature's receiver allows: jobs/signatures.py.
TOLERANCE_MS = 1000 * EXPECTED["leeway"]


async def examine(url: str = "") -> list[Finding]:
    """Check everything. `url` is where the site is asked instead of PUBLIC_URL.

    Takes up to 15 seconds: the database first, as it has the queue's keys.
    """
    address = address_of(url)
    database_is_silent = Finding(
        DATABASE, PROBLEM, f"The database does not answer within {SECONDS} s.", WHERE_DATABASE
    )
    mail_is_silent = Finding(
        MAIL, PROBLEM, f"The mail server does not answer within {SECONDS} s.", "Look at EMAIL_URL."
    )
    mail = asyncio.create_task(within(in_daemon_thread(mail_finding), mail_is_silent))
    hosted = asyncio.create_task(look_at_qstash(address.url)) if settings.QSTASH_TOKEN else None
    inside = await within(in_daemon_thread(look_inside_alone), Inside(database_is_silent))
    configured = (settings.QSTASH_CURRENT_SIGNING_KEY, settings.QSTASH_NEXT_SIGNING_KEY)
    outside = await look_outside(address, inside.keys or configured)
    qstash = await hosted if hosted else None
    findings = [
        *outside.findings,
        clock_finding(ahead(outside, inside, qstash)),
        inside.finding,
        dispatcher_finding(inside, outside),
        *([qstash.finding] if qstash else []),
        await mail,
    ]
    return [without_secrets(finding) for finding in findings]


async def within[T](look: Coroutine[Any, Any, T], otherwise: T) -> T:
    """What is found in time."""
    try:
        return await asyncio.wait_for(look, SECONDS)
    except TimeoutError:
        return otherwise


def healthy(findings: list[Finding]) -> bool:
    """Whether none of them is a problem."""
    return all(finding.state != PROBLEM for finding in findings)


def ahead(outside: Outside, inside: Inside, qstash: Hosted | None) -> dict[str, int]:
    """By how many ms other clocks are ahead of this process's."""
    found = {"the site": outside.ahead_ms, "the database server": inside.ahead_ms}
    found |= {"QStash": qstash.ahead_ms if qstash else None}
    return {name: offset for name, offset in found.items() if offset is not None}


def clock_finding(offsets: dict[str, int]) -> Finding:
    """Whether all clocks agree: a signature and a lease are valid for a time."""
    if not offsets:
        return Finding(CLOCK, UNKNOWN, "There was no other clock to compare this one with.")
    facts = tuple((name, f"{offset / 1000:+.1f} s") for name, offset in offsets.items())
    wrong = [name for name, offset in offsets.items() if abs(offset) > TOLERANCE_MS]
    if wrong:
        words = f"The clock here and that of {' and '.join(wrong)} differ by more than 5 s."
        remedy = "Let NTP set the clock of every machine: signatures would be refused."
        return Finding(CLOCK, PROBLEM, words, remedy, facts)
    return Finding(CLOCK, OK, "The clocks agree.", facts=facts)


def dispatcher_finding(inside: Inside, outside: Outside) -> Finding:
    """The same as the database tells; a site that runs without a dispatcher is in trouble."""
    if inside.dispatcher is None:
        return Finding(DISPATCHER, UNKNOWN, "The database has not told.")
    if inside.dispatcher.state == UNKNOWN and outside.reached:
        return inside.dispatcher._replace(
            state=PROBLEM, words="The site runs, and no dispatcher is alive."
        )
    return inside.dispatcher
