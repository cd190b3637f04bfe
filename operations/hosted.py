"""What the doctor finds at hosted QStash: whether it knows our token, and which keys it signs with.

No message passes here. One GET tells the keys; they are compared with the settings and not shown.
https://upstash.com/docs/qstash/api-reference
"""

import hmac
import ipaddress
import time
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp
from django.conf import settings

from broker.clock import now_ms
from jobs.checks import repaired_qstash_url
from jobs.exceptions import PublishError
from operations.findings import OK, PROBLEM, Finding

HOSTED, SECONDS = "Hosted QStash", 5
WHERE_TO_LOOK = "Copy QSTASH_TOKEN and QSTASH_URL from the QStash console, of one region."


class Hosted(NamedTuple):
    """The finding, and by how many ms QStash's clock is ahead (its header has whole seconds)."""

    finding: Finding
    ahead_ms: int | None = None


async def look_at_qstash(site: str) -> Hosted:
    """Ask QStash for its keys. `site` is where it shall deliver."""
    try:
        url = repaired_qstash_url(settings.QSTASH_URL)
    except PublishError as error:
        return Hosted(Finding(HOSTED, PROBLEM, str(error), WHERE_TO_LOOK))
    started, sent_at = time.perf_counter(), now_ms()
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(SECONDS)) as session,
            session.get(
                f"{url}/v2/keys",
                headers={"Authorization": f"Bearer {settings.QSTASH_TOKEN}"},
                allow_redirects=False,
            ) as response,
        ):
            status, date = response.status, response.headers.get("Date", "")
            keys = await response.json(content_type=None) if status == 200 else {}
    except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
        why = str(error) or f"no answer within {SECONDS} s"
        words = f"{url} cannot be reached: {why}."
        return Hosted(Finding(HOSTED, PROBLEM, words, "Look at QSTASH_URL and the network."))
    took = 1000 * (time.perf_counter() - started)
    facts = (("URL", url), ("answered in", f"{took:.0f} ms"))
    ahead = ahead_of(date, sent_at + int(took / 2))
    return Hosted(hosted_finding(url, status, keys, site)._replace(facts=facts), ahead)


def ahead_of(date: str, now: int) -> int | None:
    """By how many ms a `Date` header is ahead of a moment; within its second it says nothing."""
    try:
        theirs = int(1000 * parsedate_to_datetime(date).timestamp())
    except (ValueError, TypeError):
        return None
    return 0 if theirs <= now < theirs + 1000 else theirs - now


def hosted_finding(url: str, status: int, keys: object, site: str) -> Finding:
    """What QStash's answer means for the messages that it will deliver."""
    if status == 401:
        return Finding(HOSTED, PROBLEM, f"{url} does not accept QSTASH_TOKEN.", WHERE_TO_LOOK)
    if status != 200 or not isinstance(keys, dict) or not {"current", "next"} <= keys.keys():
        words = f"{url} answers HTTP {status}, and not as QStash does."
        return Finding(HOSTED, PROBLEM, words, WHERE_TO_LOOK)
    if is_loopback(site) and not is_loopback(url):
        words = f"QStash delivers from the internet, where {site} does not lead to this site."
        remedy = "Set PUBLIC_URL to a public address; from your own machine, that of a tunnel."
        return Finding(HOSTED, PROBLEM, words, remedy)
    ours = (settings.QSTASH_CURRENT_SIGNING_KEY, settings.QSTASH_NEXT_SIGNING_KEY)
    remedy = "Copy both signing keys from the QStash console, and restart the site."
    if not any(same(keys["current"], key) for key in ours):
        words = "QStash signs with a key that the settings do not have: every message is refused."
        return Finding(HOSTED, PROBLEM, words, remedy)
    if not same(keys["next"], ours[1]):
        words = "QStash's next key is not QSTASH_NEXT_SIGNING_KEY: a rotation would end delivery."
        return Finding(HOSTED, PROBLEM, words, remedy)
    return Finding(HOSTED, OK, "QStash accepts the token and signs with the keys of the settings.")


def same(one: object, other: str) -> bool:
    return hmac.compare_digest(str(one).encode(), other.encode())


def is_loopback(url: str) -> bool:
    """Whether a URL leads to the machine itself."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
