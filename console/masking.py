"""Mask secrets in what the pages show: headers, URLs, bodies, errors.

No message passes here. A message is stored and delivered as it was published; only what is
shown of it has `••••` for tokens, signing keys, cookies and `Authorization` headers, whoever
may look. Masking takes time in proportion to the text.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from django.conf import settings

MASK = "••••"
# A name of a header, of a JSON field or of a query parameter that holds a secret.
SECRET_NAME = re.compile(
    r"authorization|cookie|token|secret|passw|api[-_]?key|access[-_]?key|private[-_]?key"
    r"|signing[-_]?key|signature|credential|session[-_]?id|x-auth",
    re.IGNORECASE,
)
# Names that contain such a word and hold no secret.
HARMLESS = re.compile(r"tokens?[-_]?(?:count|type|used)|max[-_]?tokens|tokens", re.IGNORECASE)
SCHEME = re.compile(r"\b(bearer|basic)(\s+|%20|\+)[\w.~+/=-]{6,}+", re.IGNORECASE)
KEY = re.compile(r"\bsig_[\w-]{8,}+")
JWT = re.compile(r"\beyJ[\w-]{5,}+\.[\w-]{2,}+\.[\w-]*+")
USER = re.compile(r"(https?://)[^\s/?#@\"'<>]{1,500}@", re.IGNORECASE)
PARAMETER = re.compile(r"(?<![\w.%-])([\w.%-]{1,100}+)=([^&\s\\\"'<>;]++)")
LINE = re.compile(r"^([ \t]*+[\w-]{1,100}+[ \t]*+:[ \t]*+)(\S.*+)$", re.MULTILINE)
# `"name": "value"` or `"name": ["value", …]`, also where a text holds JSON and where it is cut.
STRING = r'"(?:[^"\\]|\\.)*+"?'
FIELD = re.compile(
    rf'"((?:[^"\\]|\\.){{1,200}}+)"(\s*+:\s*+)({STRING}|\[(?:[\s,]++|{STRING})*+\]?|[\w.+-]++)',
    re.DOTALL,
)
QUOTED_FIELD = re.compile(r'(?<!\\)(\\{1,7}+)"([\w-]{1,100}+)\1"(\s*+:\s*+)\1"([^"\\]*+)')
# Fields in which a callback carries a body: in base64.
CARRIED = {"body", "sourceBody", "bodyBase64", "responseBody"}


def is_secret(name: str) -> bool:
    """Whether a value of this name must not be shown."""
    return bool(SECRET_NAME.search(name)) and not HARMLESS.fullmatch(name)


def masked_headers(header: Mapping[str, Iterable[str]]) -> list[tuple[str, str]]:
    """Headers as (name, value) pairs in order, one for each value."""
    return [
        (name, MASK if is_secret(name) else masked(value))
        for name, values in header.items()
        for value in ([values] if isinstance(values, str) else values)
    ]


def masked(text: str) -> str:
    """A text (a body, an error, a header's value) without secrets."""
    for secret in own_secrets():
        text = text.replace(secret, MASK)
    text = FIELD.sub(mask_field, text)
    text = QUOTED_FIELD.sub(mask_quoted_field, text)
    text = masked_url(text)
    text = LINE.sub(mask_line, text)
    return JWT.sub(MASK, KEY.sub(MASK, SCHEME.sub(rf"\1 {MASK}", text)))


def masked_url(url: str) -> str:
    """A URL without its password and without the values of secret parameters."""
    return PARAMETER.sub(mask_parameter, USER.sub(rf"\1{MASK}@", url))


def mask_field(found: re.Match[str]) -> str:
    written, colon, value = found.groups()
    name = unescaped(written)
    if is_secret(name) and value not in {"true", "false", "null"}:
        return f'"{written}"{colon}"{MASK}"'
    if name in CARRIED and value.startswith('"'):
        return f'"{written}"{colon}"{masked_base64(value.strip('"'))}"'
    return found[0]


def mask_quoted_field(found: re.Match[str]) -> str:
    slashes, name, colon, _ = found.groups()
    return f'{slashes}"{name}{slashes}"{colon}{slashes}"{MASK}' if is_secret(name) else found[0]


def mask_parameter(found: re.Match[str]) -> str:
    return f"{found[1]}={MASK}" if is_secret(found[1]) else found[0]


def mask_line(found: re.Match[str]) -> str:
    return f"{found[1]}{MASK}" if is_secret(found[1]) else found[0]


def unescaped(written: str) -> str:
    """A JSON string without its escapes, so that `\\u0041uthorization` is seen for what it is."""
    try:
        return str(json.loads(f'"{written}"')) if "\\" in written else written
    except ValueError:
        return written


def masked_base64(text: str) -> str:
    """A body in base64, or the mask if it holds a secret."""
    try:
        inner = base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return text
    return text if plainly_masked(inner) == inner else f"{MASK} (base64 with a secret)"


def plainly_masked(text: str) -> str:
    """The same as `masked`, but for bodies inside bodies inside bodies."""
    return masked(text) if len(text) < 64 * 1024 else text


def own_secrets() -> list[str]:
    """The site's own tokens and keys, in every form in which a text may hold them."""
    accounts = settings.BROKER_ACCOUNTS.values()
    named = [secret for account in accounts for secret in account.values()]
    named += [
        settings.QSTASH_TOKEN,
        settings.QSTASH_CURRENT_SIGNING_KEY,
        settings.QSTASH_NEXT_SIGNING_KEY,
        settings.CONSOLE_PASSWORD,
        settings.SECRET_KEY,
    ]
    long = {str(secret) for secret in named if len(str(secret)) >= 6}
    return sorted(long | {quote(secret, safe="") for secret in long}, key=len, reverse=True)
