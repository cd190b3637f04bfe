"""What must be right before the site goes online: the checks of `manage.py check --deploy`.

No message passes here. With an error, a release must not go on: strangers could use the queue, the
database would be lost with the next release, or every message would be refused. Nothing in a token
or a key of hosted QStash says which region it is of, so QStash is asked.
https://docs.djangoproject.com/en/6.1/topics/checks/
"""

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags

from jobs.exceptions import BadToken, NotFound, PublishError
from jobsite.broker_settings import DEVELOPMENT_USERS

PUBLISHED = {secret for user in DEVELOPMENT_USERS.values() for secret in user.values()}
CONNECT_AND_READ_SECONDS = (5.0, 5.0)
# https://upstash.com/docs/qstash/howto/multi-region
REGIONS = {
    "qstash.upstash.io": "eu-central-1",
    "qstash-eu-central-1.upstash.io": "eu-central-1",
    "qstash-us-east-1.upstash.io": "us-east-1",
}


def register_all() -> None:
    for check in (
        check_published_secrets,
        check_disk,
        check_https,
        check_hosts,
        check_proxies,
        check_hosted_account,
    ):
        checks.register(check, Tags.security, deploy=True)


def host_of(url: str) -> str:
    return urlsplit(url).hostname or ""


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself. Names are not looked up."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def platform() -> str:
    """The platform that the site runs on, if it is one whose disk is wiped."""
    return "Heroku" if settings.ON_HEROKU else "Render" if settings.ON_RENDER else ""


def secrets_in_use() -> Iterator[tuple[str, str]]:
    """Each token and key that somebody may use or sign with, after its variable's name."""
    for name in ("QSTASH_TOKEN", "QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY"):
        yield name, getattr(settings, name)
    for name, account in settings.BROKER_ACCOUNTS.items():
        yield "BROKER_TOKEN" if name == "site" else "BROKER_ACCOUNTS", account["token"]
        yield "BROKER_READ_ONLY_TOKENS", account.get("read_only_token", "")


def check_published_secrets(**kwargs: Any) -> list[CheckMessage]:
    """The development users' tokens and keys are for loopback: everybody knows them."""
    if is_loopback(host_of(settings.PUBLIC_URL)):
        return []
    names = dict.fromkeys(name for name, secret in secrets_in_use() if secret in PUBLISHED)
    return [
        Error(
            f"{name} is one that QStash has published for development: everybody knows it.",
            hint="Leave it empty, and the site derives a secret one from SECRET_KEY, or set one "
            "of your own. With hosted QStash, copy all of QSTASH_… from its console.",
            id="operations.E001",
        )
        for name in names
    ]


def check_disk(**kwargs: Any) -> list[CheckMessage]:
    """Heroku and Render give every release, and every restart, an empty disk."""
    engine = settings.DATABASES["default"]["ENGINE"]
    if not platform() or "sqlite" not in engine:
        return []
    return [
        Error(
            f"The database is a SQLite file, and {platform()} wipes the disk: every job and "
            "message would be lost with the next restart.",
            hint="Add a PostgreSQL database, and set DATABASE_URL to its address. If the file is "
            "on a Render disk, add operations.E002 to SILENCED_SYSTEM_CHECKS.",
            id="operations.E002",
        )
    ]


def check_https(**kwargs: Any) -> list[CheckMessage]:
    """Both platforms serve HTTPS; PUBLIC_URL=http://… would switch off what relies on it."""
    if not platform() or not settings.PUBLIC_URL.startswith("http://"):
        return []
    return [
        Error(
            f"PUBLIC_URL is {settings.PUBLIC_URL}, but {platform()} serves HTTPS. Cookies would "
            "travel in the clear, and messages would be delivered to a redirect.",
            hint=f"Set PUBLIC_URL to https://{host_of(settings.PUBLIC_URL)}",
            id="operations.E003",
        )
    ]


def check_hosts(**kwargs: Any) -> list[CheckMessage]:
    """Render always tells the address; on Heroku the site knows the domain, see settings.py."""
    if platform() or settings.PUBLIC_URL or not all(map(is_loopback, settings.ALLOWED_HOSTS)):
        return []
    return [
        Error(
            "The site does not know its address: every visitor would be answered with 400.",
            hint="Set PUBLIC_URL to the site's address, such as https://jobs.example.com",
            id="operations.E004",
        )
    ]


def check_proxies(**kwargs: Any) -> list[CheckMessage]:
    """Behind a TLS proxy that it does not know of, the site redirects for ever."""
    if settings.PROXIES or not settings.SECURE_SSL_REDIRECT:
        return []
    loop = "it does not believe that it was asked over HTTPS and redirects to itself for ever."
    if platform():
        return [
            Error(
                f"PROXIES is 0, but {platform()} is a proxy before the site: {loop}",
                hint="Unset PROXIES.",
                id="operations.E005",
            )
        ]
    return [
        checks.Warning(
            "The site requires HTTPS and PROXIES is 0. Behind a TLS proxy on another machine "
            f"{loop}",
            hint="Set PROXIES to the number of proxies before the site: 1 for nginx, Caddy or a "
            "load balancer. If gunicorn has the certificate itself, add operations.W001 to "
            "SILENCED_SYSTEM_CHECKS.",
            id="operations.W001",
        )
    ]


def check_hosted_account(**kwargs: Any) -> list[CheckMessage]:
    """Ask hosted QStash for the keys that belong to the token, and compare."""
    if not settings.QSTASH_TOKEN:
        return []
    from jobs.qstash import QStash  # here, as in jobs/hosted.py

    try:
        qstash = QStash(settings.QSTASH_URL, settings.QSTASH_TOKEN, CONNECT_AND_READ_SECONDS)
        keys = qstash.call("GET", "/v2/keys").json()
        theirs = str(keys["current"]), str(keys["next"])
    except (PublishError, ValueError, KeyError, TypeError) as error:
        return [refused_or_unknown(error)]
    ours = settings.QSTASH_CURRENT_SIGNING_KEY, settings.QSTASH_NEXT_SIGNING_KEY
    if theirs[0] not in ours:
        return [
            Error(
                f"QStash at {settings.QSTASH_URL} signs with another key than the two that are "
                "set: every message would be refused.",
                hint=hint_for_region(settings.QSTASH_URL),
                id="operations.E007",
            )
        ]
    if theirs != ours:
        return [
            checks.Warning(
                "The signing keys have been rolled at QStash since they were copied. Messages "
                "would be refused after the next time.",
                hint="Copy both signing keys from the QStash console again.",
                id="operations.W003",
            )
        ]
    return []


def refused_or_unknown(error: Exception) -> CheckMessage:
    """An error if QStash does not know the token, a warning if it could not be asked."""
    if isinstance(error, BadToken | NotFound) or "region" in str(error):
        return Error(
            f"QStash at {settings.QSTASH_URL} does not know QSTASH_TOKEN: {error}",
            hint=hint_for_region(settings.QSTASH_URL),
            id="operations.E006",
        )
    return checks.Warning(
        f"Whether QSTASH_TOKEN and the signing keys belong together is not known: {error}",
        hint="Check again when QStash can be reached from here.",
        id="operations.W002",
    )


def hint_for_region(url: str) -> str:
    """Where to find values that fit together. Tokens and keys differ from region to region."""
    region = REGIONS.get(host_of(url))
    known = f"QSTASH_URL is that of {region}. " if region else ""
    return (
        f"{known}Each region has a token and keys of its own. In the QStash console choose your "
        "region, and copy all four of QSTASH_URL, QSTASH_TOKEN, QSTASH_CURRENT_SIGNING_KEY and "
        "QSTASH_NEXT_SIGNING_KEY from there."
    )
