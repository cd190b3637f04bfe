"""One attempt: the message, claimed by the dispatcher, is signed and POSTed.

What came back becomes an `Outcome`, which the dispatcher settles. Nothing here touches the
database, so any number of attempts may wait at once.
"""

import time
from typing import NamedTuple

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from broker.models import Message
from broker.signing import sign

USER_AGENT = "Upstash-QStash"
DEFAULT_TIMEOUT_SECONDS = 15 * 60
LARGEST_RESPONSE = 256 * 1024
# A connection is reused for at most a second: a server that closes an idle one just then
# (gunicorn after 5 s, node after 5 s) would cost the message an attempt.
KEEPALIVE_SECONDS = 1.0


class Outcome(NamedTuple):
    """What an attempt came to. `status` is 0 and `error` says why if nothing came back."""

    status: int
    header: dict[str, list[str]]
    body: bytes
    error: str

    @property
    def accepted(self) -> bool:
        return 200 <= self.status <= 299

    @property
    def hopeless(self) -> bool:
        """The destination asks not to be tried again: 489 and the header that goes with it."""
        asked = self.header.get("Upstash-Nonretryable-Error", [""])[0]
        return self.status == 489 and asked.lower() == "true"


def open_session(limit: int) -> aiohttp.ClientSession:
    """The one session of a dispatcher, for as many deliveries at once as it may hold."""
    connector = aiohttp.TCPConnector(limit=limit, keepalive_timeout=KEEPALIVE_SECONDS)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=["Content-Type", "Accept", "Accept-Encoding"],
    )


async def attempt(session: aiohttp.ClientSession, message: Message, key: str) -> Outcome:
    """Deliver a message once. Never raises for what the destination does."""
    timeout_seconds = message.timeout_seconds or DEFAULT_TIMEOUT_SECONDS
    try:
        async with session.request(
            message.method,
            URL(message.url, encoded=True),
            data=bytes(message.body),
            headers=headers_for(message, key),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=timeout_seconds),
        ) as response:
            return Outcome(
                status=response.status,
                header=listed(response.headers),
                body=await read_up_to(response, LARGEST_RESPONSE),
                error="" if 200 <= response.status <= 299 else f"HTTP {response.status}",
            )
    except TimeoutError:
        return Outcome(0, {}, b"", f"no answer within {timeout_seconds} s")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Outcome(0, {}, b"", str(error) or type(error).__name__)


def headers_for(message: Message, key: str) -> CIMultiDict[str]:
    """The publisher's headers, then ours, which cannot be overridden."""
    headers = CIMultiDict(
        (name, value) for name, values in message.header.items() for value in values
    )
    headers["User-Agent"] = USER_AGENT
    headers["Upstash-Message-Id"] = message.message_id
    headers["Upstash-Retried"] = str(message.retried)
    headers["Upstash-Signature"] = sign(message.url, bytes(message.body), key, int(time.time()))
    if message.caller_ip:
        headers["Upstash-Caller-Ip"] = message.caller_ip
    return headers


def listed(headers: CIMultiDictProxy[str]) -> dict[str, list[str]]:
    """Headers as {canonical name: [value, …]}; bytes that are no text become `�`.

    PostgreSQL stores no lone surrogates, which is what aiohttp makes of such bytes.
    """
    lists: dict[str, list[str]] = {}
    for name, value in headers.items():
        text = value.encode(errors="surrogateescape").decode(errors="replace")
        lists.setdefault(canonical(name), []).append(text)
    return lists


def canonical(name: str) -> str:
    """A header's name as MIME writes it: `x-a` becomes `X-A`."""
    return "-".join(part.capitalize() for part in name.split("-"))


async def read_up_to(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body, cut at a limit; the rest is not read."""
    chunks = bytearray()
    async for chunk in response.content.iter_any():
        chunks += chunk
        if len(chunks) >= limit:
            response.close()
            break
    return bytes(chunks[:limit])
