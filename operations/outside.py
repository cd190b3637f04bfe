"""What the doctor finds by asking the site as the world does: address, proxies, forms, signatures.

No message passes here: probes.py answers these requests and does nothing. They are sent like a
message that leaves its process: to PUBLIC_URL, through DNS, TLS and every proxy, and they follow no
redirect.
"""

import asyncio
import json
import secrets
import time
from contextlib import aclosing
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from django.conf import settings
from django.urls import reverse

from broker.clock import now_ms
from broker.connections import Connections
from broker.exchange import FAILURES, reason
from broker.signing import sign
from operations.findings import OK, PROBLEM, UNKNOWN, Finding
from operations.probes import MARKER, NOT_THE_DOCTOR, PASS_HEADER, new_pass

SECONDS = 5
LARGEST_ANSWER = 64 * 1024
DEFAULT_PORTS = {"http": 80, "https": 443}
ADDRESS, PROXIES, FORMS, KEYS = "Public URL", "Scheme and host", "Forms", "Signing keys"
# The remedy where nothing answers.
UNREACHED = (
    "Start the site, and look at PUBLIC_URL: its name must lead to the site from here, too, and "
    "its certificate must be valid, as the queue delivers every message to it."
)


class Address(NamedTuple):
    """Where the site is asked. `public` is False if only this machine can ask there."""

    url: str
    public: bool


class Answer(NamedTuple):
    """What came back; `status` is 0 if nothing did, and `error` then says why."""

    status: int
    body: bytes = b""
    location: str = ""
    error: str = ""
    milliseconds: float = 0

    @property
    def json(self) -> dict[str, Any]:
        """The body as a JSON object; empty if it is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            found = None
        return found if isinstance(found, dict) else {}


class Outside(NamedTuple):
    """The findings, whether the site has answered, and by how many ms its clock is ahead."""

    findings: list[Finding]
    reached: bool
    ahead_ms: int | None = None


def address_of(url: str = "") -> Address:
    """Where to ask: an address that is given, PUBLIC_URL, or the port on this machine."""
    found = url.rstrip("/") or settings.PUBLIC_URL
    return Address(found or f"http://127.0.0.1:{settings.PORT}", public=bool(found))


async def look_outside(address: Address, keys: tuple[str, str]) -> Outside:
    """Ask the site how a request looks to it, then whether it accepts forms and signatures."""
    async with aclosing(Connections()) as connections:
        sent_at = now_ms()
        answer = await ask(connections, address, "doctor_seen", {PASS_HEADER: new_pass()})
        seen = answer.json if answer.status == 200 and "site" in answer.json else None
        first = address_finding(address, answer, seen)
        if seen is None:
            words = "The site did not answer as itself."
            left = [Finding(name, UNKNOWN, words) for name in (PROXIES, FORMS, KEYS)]
            return Outside([first, *left], reached=False)
        forms, signatures = await asyncio.gather(
            forms_finding(connections, address), keys_finding(connections, address, seen, keys)
        )
    ahead = int(seen["time"] - (sent_at + answer.milliseconds / 2))
    return Outside([first, proxies_finding(address, seen), forms, signatures], True, ahead)


async def ask(
    connections: Connections,
    address: Address,
    name: str,
    headers: dict[str, str],
    body: bytes = b"{}",
) -> Answer:
    """POST to one of probes.py; what goes wrong is part of the answer."""
    headers = {"Accept": "application/json", "Content-Type": "application/json"} | headers
    headers["X-Forwarded-For"] = MARKER
    if not address.public and settings.SERVED_OVER_HTTPS:
        headers["X-Forwarded-Proto"] = "https"  # as a proxy would say, on this machine only
    url, started = address.url + reverse(name), time.perf_counter()
    try:
        async with asyncio.timeout(SECONDS):
            response = await connections.request("POST", url, headers, body, LARGEST_ANSWER)
    except TimeoutError:
        return Answer(0, error=f"no answer within {SECONDS} s")
    except FAILURES as error:
        return Answer(0, error=reason(error))
    took = 1000 * (time.perf_counter() - started)
    location = response.header.get("Location", [""])[0]
    return Answer(response.status, response.body, location, "", took)


def address_finding(address: Address, answer: Answer, seen: dict[str, Any] | None) -> Finding:
    """Whether the address leads to this very site."""
    took = (("answered in", f"{answer.milliseconds:.0f} ms"),)
    if seen is None:
        words, remedy = what_is_wrong(address, answer)
        if address.public or answer.status:
            return Finding(ADDRESS, PROBLEM, words, remedy, took if answer.status else ())
        return Finding(ADDRESS, UNKNOWN, f"The site is not running here: {words}", remedy)
    if settings.PUBLIC_URL and seen["public_url"] != settings.PUBLIC_URL:
        theirs = seen["public_url"] or "empty"
        words = f"PUBLIC_URL is {settings.PUBLIC_URL} here, and {theirs} in the running site."
        return Finding(ADDRESS, PROBLEM, words, "Set it alike, and restart the site.", took)
    if not address.public:
        words = f"PUBLIC_URL is not set. On this machine, {address.url} is this site."
        if settings.DEBUG:
            return Finding(ADDRESS, OK, words, facts=took)
        remedy = "Set PUBLIC_URL to the site's address, or name that: manage.py doctor --url …"
        return Finding(ADDRESS, UNKNOWN, words, remedy, took)
    return Finding(ADDRESS, OK, f"{address.url} is this site.", facts=took)


def what_is_wrong(address: Address, answer: Answer) -> tuple[str, str]:
    """Why the address does not lead to this site, and the remedy."""
    url = address.url
    if not answer.status:
        return f"{url} cannot be reached: {answer.error}.", UNREACHED
    if 300 <= answer.status < 400:
        return redirected(url, urljoin(f"{url}{reverse('doctor_seen')}", answer.location))
    if answer.status == 403 and answer.json.get("error") == NOT_THE_DOCTOR:
        words = f"A site like this one answers at {url}, but it has another SECRET_KEY."
        return words, "Set the same SECRET_KEY for every process, or mend PUBLIC_URL."
    if answer.status == 400:
        words = f"{url} answers 400: the site does not know the host that the proxies pass on."
        return words, "Let the proxies pass on the visitor's Host, or add theirs to ALLOWED_HOSTS."
    if answer.status >= 500:
        words = f"{url} answers {answer.status}: a proxy does not reach the site, or it has failed."
        return words, "Start the site, and look at its log and the proxy's."
    if answer.status in {401, 403}:
        words = f"{url} answers {answer.status}: something before the site lets nobody in."
        return words, "Let POST requests to /api/ pass: the queue has no password."
    words = f"{url} answers {answer.status} and is not this site, or an older version of it."
    return words, "Set PUBLIC_URL to the address at which this site is."


def redirected(url: str, to: str) -> tuple[str, str]:
    """What a redirect means: the queue follows none."""
    if to == url + reverse("doctor_seen"):
        return (
            f"{url} redirects to itself for ever: the site does not know that it is asked over "
            "HTTPS.",
            "Set PROXIES to the number of proxies before the site, which must set "
            f"X-Forwarded-Proto. It is {settings.PROXIES}.",
        )
    start = to.removesuffix(reverse("doctor_seen"))
    if url != settings.PUBLIC_URL:  # another one was given
        return f"{url} redirects to {start}.", f"Ask there: manage.py doctor --url {start}"
    return f"{url} redirects to {start}.", f"Set PUBLIC_URL to {start}: the queue does not follow."


def proxies_finding(address: Address, seen: dict[str, Any]) -> Finding:
    """Whether the site sees the address that was asked, and how many proxies stand between."""
    facts = (
        ("seen as", f"{seen['scheme']}://{seen['host']}"),
        ("proxies counted", str(seen["added"])),
        ("PROXIES", str(seen["proxies"])),
        ("asked from", seen["address"]),
    )
    if not address.public:
        words = "The site was asked on its own machine, with no proxy between."
        return Finding(PROXIES, UNKNOWN, words, facts=facts)
    asked, added, believed = urlsplit(address.url), seen["added"], seen["proxies"]
    if not seen["host_is_allowed"] or bare(asked.scheme, seen["host"]) != bare(
        asked.scheme, asked.netloc.rpartition("@")[2]
    ):
        words = f"The site sees the host {seen['host']}, and was asked for {asked.netloc}."
        remedy = "Let the proxy pass on the visitor's Host (nginx: proxy_set_header Host $host)."
        return Finding(PROXIES, PROBLEM, words, remedy, facts)
    if seen["scheme"] != asked.scheme:
        words = f"The site was asked over {asked.scheme} and sees {seen['scheme']}."
        remedy = f"Set PROXIES={added or 1}, and let the proxy set X-Forwarded-Proto."
        return Finding(PROXIES, PROBLEM, words, remedy, facts)
    if added != believed:
        words = f"{added} proxies stand before the site, and PROXIES says {believed}."
        danger = (
            "all visitors seem to come from one address"
            if added > believed
            else "a visitor can pretend to come from any address"
        )
        return Finding(PROXIES, PROBLEM, words, f"Set PROXIES={added}: until then {danger}.", facts)
    return Finding(PROXIES, OK, "The site sees the address that was asked.", facts=facts)


def bare(scheme: str, host: str) -> str:
    """A host without the port that its scheme implies."""
    return host.lower().removesuffix(f":{DEFAULT_PORTS.get(scheme)}")


async def forms_finding(connections: Connections, address: Address) -> Finding:
    """Whether a form of a visitor's browser is accepted: its Origin is the one of the address."""
    asked, token = urlsplit(address.url), secrets.token_hex(16)
    scheme = "https" if not address.public and settings.SERVED_OVER_HTTPS else asked.scheme
    origin = f"{scheme}://{bare(scheme, asked.netloc.rpartition('@')[2])}"
    headers = {
        PASS_HEADER: new_pass(),
        "Cookie": f"{settings.CSRF_COOKIE_NAME}={token}",
        "X-CSRFToken": token,
        "Origin": origin,
    }
    answer = await ask(connections, address, "doctor_form", headers)
    if answer.json.get("accepted"):
        return Finding(FORMS, OK, f"A form that is sent from {origin} is accepted.")
    if answer.status == 403:
        remedy = (
            "Set PUBLIC_URL to the address that visitors open, and let the proxy pass on Host "
            "and set X-Forwarded-Proto."
        )
        return Finding(FORMS, PROBLEM, f"A form that is sent from {origin} is refused.", remedy)
    return Finding(FORMS, UNKNOWN, f"The form was not answered as one: {said(answer)}.")


async def keys_finding(
    connections: Connections,
    address: Address,
    seen: dict[str, Any],
    keys: tuple[str, str],
) -> Finding:
    """Whether the site accepts what the queue signs now and after its next rotation, and only that.

    `keys` are the queue's current and next one.
    """
    url = f"{seen['site'] or address.url}{reverse('doctor_signature')}"
    body = b'{"doctor": true}'

    async def accepted(key: str) -> Answer:
        signed = {"Upstash-Signature": sign(url, body, key, int(time.time()))} if key else {}
        return await ask(connections, address, "doctor_signature", signed, body)

    wrong = f"sig_{secrets.token_hex(16)}"
    now, later, never = await asyncio.gather(*map(accepted, (*keys, wrong)))
    if never.status not in {0, 403}:
        words = f"A request signed with a wrong key was not refused: {said(never)}."
        return Finding(KEYS, PROBLEM, words, "Report this: anybody could start work.")
    if now.status == later.status == 200:
        words = "The current and the next key are accepted, a wrong one is refused."
        return Finding(KEYS, OK, words, facts=(("signed for", url),))
    if now.status != 200:
        words = f"What the current key signs is not accepted: {said(now)}."
        remedy = (
            "Every message is refused. Set the queue's two keys (GET /v2/keys) for every process "
            "of the site, and restart. The log's `refused a message` has the reason."
        )
        return Finding(KEYS, PROBLEM, words, remedy, (("signed for", url),))
    words = f"What the next key signs is not accepted: {said(later)}."
    remedy = (
        "Set the queue's two keys (GET /v2/keys) in the settings and restart before the next "
        "rotation; after it, every message would be refused."
    )
    return Finding(KEYS, PROBLEM, words, remedy, (("signed for", url),))


def said(answer: Answer) -> str:
    return answer.error or f"HTTP {answer.status}"
