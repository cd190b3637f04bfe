"""Write a message's request as a curl command, for a terminal.

No message passes here. The command makes the request that the queue makes, without its
signature: secrets are masked, so they have to be filled in by who has them.
"""

import re
import shlex
from collections.abc import Iterable

from console.masking import masked, masked_url

LONGEST_BODY = 16 * 1024
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~\w-]+", re.ASCII)
# What a terminal would act on, or what would turn the text around.
UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


def as_curl(method: str, url: str, headers: Iterable[tuple[str, str]], body: bytes) -> str:
    """One command, several lines; a body that no terminal can take is read from a file.

    `headers` are masked already.
    """
    lines = [f"curl -X {quoted(method)} {quoted(masked_url(url))}"]
    for name, value in headers:
        if HEADER_NAME.fullmatch(name):
            lines.append(f"-H {quoted(f'{name}: {value}')}")
    if body:
        lines.append(data(body))
    return " \\\n  ".join(lines)


def data(body: bytes) -> str:
    try:
        text = masked(body.decode()) if len(body) <= LONGEST_BODY else None
    except UnicodeDecodeError:
        text = None
    if text is None or UNPRINTABLE.search(text):
        return f"--data-binary @body  # a file with the {len(body):,} bytes of the body"
    return f"--data-raw {shlex.quote(text)}"


def quoted(text: str) -> str:
    """One word of a shell command, on one line and with nothing that a terminal acts on."""
    return shlex.quote(UNPRINTABLE.sub("?", text).replace("\n", " "))
