"""Headers on their way: from a publisher's request into a row, and from the row to a destination.

HTTP's values are bytes, a row holds text. Bytes that are UTF-8 are kept as that text; any other
byte becomes a character of Unicode's private area until delivery makes it the same byte again.
What a destination answers comes back through `response_header`, cut to a size.
"""

import re

from multidict import CIMultiDict, CIMultiDictProxy

# Said by delivery itself, or only between two ends of one connection (RFC 9110, 7.6.1): a
# publisher's header of such a name is not passed on.
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


def canonical(name: str) -> str:
    """A header's name as MIME writes it: `x-a` becomes `X-A`."""
    return "-".join(part.capitalize() for part in name.split("-"))


def header_text(value: str) -> str:
    """The text of a header's value, fit for a row and for JSON.

    `value` is what Django and ASGI give, one character per byte. A value that never was
    bytes, from JSON or a query, is text already and must not come here.
    """
    if value.isascii():
        return value
    return value.encode("latin-1").decode(errors="surrogateescape").translate(TO_PRIVATE)


def header_bytes(text: bytes) -> bytes:
    """What goes over the wire: UTF-8, but for the bytes that were none when they came."""
    return PRIVATE_CHARACTER.sub(lambda found: bytes([ord(found[0].decode()) - PRIVATE]), text)


def request_headers(header: dict[str, list[str]]) -> CIMultiDict[str]:
    """A row's headers as aiohttp takes them, without those that are not the publisher's to set."""
    return CIMultiDict(
        (name, value)
        for name, values in header.items()
        if name.lower() not in RESERVED
        for value in values
    )


def response_header(headers: CIMultiDictProxy[str]) -> dict[str, list[str]]:
    """A response's headers as {canonical name: [value, …]}, as many as fit in 16 KiB.

    One that does not fit is left out, and later ones may still fit. Bytes that are no text
    become `�`.
    """
    lists: dict[str, list[str]] = {}
    room = LARGEST_HEADER
    for name, value in headers.items():
        text, size = value, len(name) + len(value)
        if not value.isascii():
            text = value.encode(errors="surrogateescape").decode(errors="replace")
            size = len(name) + len(text.encode())
        if size <= room:
            room -= size
            lists.setdefault(canonical(name), []).append(text)
    return lists
