"""Write a caught request as a curl command, for a terminal.

No message passes here. Whoever sent the request may have made it to harm the one who runs the
command, so every word of it is quoted, and nothing is passed that a terminal would act on.
"""

import re
import shlex

from catcher.models import Entry

LONGEST_BODY = 4 * 1024
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# What curl itself sends, and what holds for one connection only.
LEFT_OUT = {"host", "content-length", "connection", "accept-encoding", "transfer-encoding"}
UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


def as_curl(entry: Entry, site: str) -> str:
    """A command that sends a request to its bin again; `site` is `https://jobs.example.com`.

    A body that is long, cut or not text is read from a file `body`, which the page offers.
    """
    method = entry.method if METHOD.fullmatch(entry.method) else "POST"
    lines = [f"curl --globoff -X {shlex.quote(method)} {word(site + entry.path)}"]
    if method == "HEAD":
        lines = [f"curl --globoff --head {word(site + entry.path)}"]
    for name, value in entry.headers:
        if HEADER_NAME.fullmatch(name) and name.lower() not in LEFT_OUT:
            lines.append(f"-H {word(f'{name}: {value}' if value else f'{name};')}")
    if entry.body:
        lines.append(data(bytes(entry.body)))
    return " \\\n  ".join(lines)


def data(body: bytes) -> str:
    """The option that sends a body."""
    try:
        text = body.decode() if len(body) <= LONGEST_BODY else None
    except UnicodeDecodeError:
        text = None
    if text is None or UNPRINTABLE.search(text):
        return "--data-binary @body"
    return f"--data-raw {shlex.quote(text)}"


def word(text: str) -> str:
    """One word of a command, on one line."""
    return shlex.quote(UNPRINTABLE.sub("?", text).replace("\n", " "))
