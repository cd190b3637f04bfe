"""Convert headers: from a publisher's request into a row, and from the row to a destination.

Values are bytes in HTTP and text in a row. Bytes that are UTF-8 are stored as their text; any
other byte becomes a private-use character, which delivery makes the same byte again. The
headers of a response are stored by `response_header`, up to a size.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from multidict import CIMultiDict

# Set by delivery itself, or meant for one connection only (RFC 9110, 7.6.1): a publisher's header
# of such a name is not passed on.
RESERVED = frozenset(
    {
        "connection", "content-length", "expect", "host", "keep-alive", "proxy-authenticate",
        "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding",
        "upgrade", "upstash-caller-ip", "upstash-message-id", "upstash-region",
        "upstash-retried", "upstash-schedule-id", "upstash-signature", "upstash-topic-name",
        "user-agent",
    }
)  # fmt: skip
# Of a response; Node takes no more than this of any.
LARGEST_HEADER = 16 * 1024
# Where Python's `surrogateescape` puts bytes that are no UTF-8, and where a row does:
# PostgreSQL stores no lone surrogates.
SURROGATES, PRIVATE = 0xDC00, 0x10FE00
TO_PRIVATE = {SURROGATES + byte: PRIVATE + byte for byte in range(128, 256)}
PRIVATE_CHARACTER = re.compile(rb"\xf4\x8f[\xba\xbb][\x80-\xbf]")  # U+10FE80 to U+10FEFF


@lru_cache(1000)
def canonical(name: str) -> str:
    """Return a header's name in MIME's case: `X-A` for `x-a`."""
    return "-".join(part.capitalize() for part in name.split("-"))


def header_text(value: str) -> str:
    """Return the text of a header's value, fit for a row and for JSON.

    `value` is what Django and ASGI give, one character per byte. A value from JSON or a query
    never was bytes and is text already, so it must not be passed here.
    """
    if value.isascii():
        return value
    return value.encode("latin-1").decode(errors="surrogateescape").translate(TO_PRIVATE)


def header_bytes(text: bytes) -> bytes:
    """Return what is sent: UTF-8, and the original bytes where the value was not UTF-8."""
    return PRIVATE_CHARACTER.sub(lambda found: bytes([ord(found[0].decode()) - PRIVATE]), text)


def request_headers(header: dict[str, list[str]]) -> CIMultiDict[str]:
    """Return a row's headers for a destination, without those that a publisher must not set."""
    return CIMultiDict(
        (name, value)
        for name, values in header.items()
        if name.lower() not in RESERVED
        for value in values
    )


def response_header(headers: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return a response's headers as {canonical name: [value, …]}, as many as fit in 16 KiB.

    One that does not fit is left out; later ones may still fit. Bytes that are not UTF-8
    become `�`.
    """
    lists: dict[str, list[str]] = {}
    room = LARGEST_HEADER
    for name, value in headers:
        text, size = value, len(name) + len(value)
        if not value.isascii():
            text = value.encode(errors="surrogateescape").decode(errors="replace")
            size = len(name) + len(text.encode())
        if size <= room:
            room -= size
            lists.setdefault(canonical(name), []).append(text)
    return lists
