"""What a page shows of a body: indented JSON, text as it came, or a dump of the first bytes.

No message passes here. Whoever sent the body may have made it to harm the page, so the text is
bounded after formatting, takes linear time, and contains nothing that a page cannot.
"""

import json
import re
from typing import NamedTuple

# The longest text, in characters; how deep JSON may be to be indented; how much is dumped.
LONGEST_TEXT = 64 * 1024
DEEPEST = 100
DUMPED_BYTES = 256
BYTES_A_LINE = 16

CHARSETS = {
    "iso-8859-1": "cp1252",
    "latin-1": "cp1252",
    "windows-1252": "cp1252",
    "utf-16": "utf-16",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
}
TOKENS = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{},:]|[^\s"\[\]{},:]+')
# Control characters become their pictures; what would turn or hide the text is spelled out.
VISIBLE = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\t\n\r"}
VISIBLE |= {0x7F: "\u2421"} | dict.fromkeys(range(128, 160), "�")
VISIBLE |= {
    code: f"[U+{code:04X}]"
    for code in (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}


class ShownBody(NamedTuple):
    """`kind` is "json", "text", "binary" or, without a body, ""; `truncated`: there is more."""

    text: str
    kind: str
    truncated: bool


def shown(body: bytes | memoryview, content_type: str = "") -> ShownBody:
    """Return what a page shows of a body: at most 65,536 characters, whatever the body is."""
    if not body:
        return ShownBody("", "", False)
    text = decoded(bytes(body[: 4 * LONGEST_TEXT]), content_type)
    if text is None:
        return ShownBody(dump(body), "binary", len(body) > DUMPED_BYTES)
    is_json = len(body) <= LONGEST_TEXT and is_valid_json(text)
    if is_json:
        text = indented(text) or text
    text = text.translate(VISIBLE)
    beyond = len(text) > LONGEST_TEXT or len(body) > 4 * LONGEST_TEXT
    return ShownBody(text[:LONGEST_TEXT], "json" if is_json else "text", beyond)


def decoded(body: bytes, content_type: str) -> str | None:
    """The body as text; None if it is none. A character that is cut at the end is replaced."""
    named = re.search(r'charset="?([-\w]{1,40})', content_type, re.IGNORECASE)
    charset = CHARSETS.get(named[1].lower(), "utf-8") if named else "utf-8"
    if charset != "utf-16" and not charset.startswith("utf-16-") and b"\0" in body:
        return None
    try:
        return body.decode(charset)
    except UnicodeDecodeError as error:
        cut = error.start > 0 and error.end == len(body) and len(body) - error.start < 4
        if cut or named or content_type.lower().startswith("text/"):
            return body.decode(charset, errors="replace")
    return None


def is_valid_json(text: str) -> bool:
    """Whether the text is JSON. Numbers are not converted: a long one would take its time."""
    try:
        json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return False
    return True


def indented(text: str) -> str | None:
    """Valid JSON with a line for each value, every token as it came; None if it is too much."""
    parts: list[str] = []
    depth = length = 0
    before = ""
    for token in TOKENS.findall(text):
        opened, closing = before in ("[", "{"), token in ("]", "}")
        depth += opened - closing
        if before == "," or opened != closing:
            parts.append("\n" + "  " * depth)
        elif before == ":":
            parts.append(" ")
        parts.append(token)
        length += len(token) + 2 * depth + 1
        if depth > DEEPEST or length > LONGEST_TEXT:
            return None
        before = token
    return "".join(parts)


def dump(body: bytes | memoryview) -> str:
    """The size of a body and its first 256 bytes, 16 a line, as `hexdump -C` shows them."""
    size = f"{len(body):,} bytes" if len(body) != 1 else "1 byte"
    more = f"; the first {DUMPED_BYTES}:" if len(body) > DUMPED_BYTES else ":"
    lines = [f"{size} of binary data{more}"]
    for start in range(0, min(len(body), DUMPED_BYTES), BYTES_A_LINE):
        line = bytes(body[start : min(start + BYTES_A_LINE, DUMPED_BYTES)])
        read = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in line)
        lines.append(f"{start:08x}  {line.hex(' '):<47}  {read}")
    return "\n".join(lines)
