"""Every setting of the site, and the only module that reads the environment.

No message passes here. The settings decide which queue delivers messages (`TASKS`),
where they are delivered (`PUBLIC_URL`) and which keys sign them. The queue alone, as
`manage.py broker` serves it, has the same settings with the changes in broker_settings.py.
"""

import hashlib
import hmac
import secrets
import tempfile
from os import environ as env
from pathlib import Path
from urllib.parse import unquote, urlsplit

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from django.utils.csp import CSP
from dotenv import load_dotenv

BASE_DIR = Path(__file__).resolve().parent.parent
load_dotenv(BASE_DIR / ".env")


def flag(name: str, default: bool = False) -> bool:
    """Read a yes/no variable. An unknown word is an error and does not mean no."""
    word = env.get(name, "").strip().lower()
    if word in {"", "0", "false", "no", "off", "1", "true", "yes", "on"}:
        return word in {"1", "true", "yes", "on"} if word else default
    raise ImproperlyConfigured(f"{name}={word!r} is not a yes or no. Use 1 or 0.")


def number(name: str, default: int, least: int = 1) -> int:
    """Read a whole number."""
    text = env.get(name, "").strip() or str(default)
    if text.isascii() and text.isdigit() and int(text) >= least:
        return int(text)
    raise ImproperlyConfigured(f"{name}={text!r} is not a whole number of at least {least}.")


def url(name: str, default: str = "") -> str:
    """Read an http(s) URL without its trailing slash."""
    text = env.get(name, "").strip().rstrip("/") or default
    try:
        parts = urlsplit(text)
        whole = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        whole = False
    if text and not whole:
        raise ImproperlyConfigured(
            f"{name}={text!r} is not a complete URL, such as https://jobs.example.com"
        )
    return text


def pairs(name: str) -> list[tuple[str, str]]:
    """Read `one=value two=value`, separated by blanks or commas."""
    words = env.get(name, "").replace(",", " ").split()
    found = [word.partition("=") for word in words]
    for key, equals, value in found:
        if not (key and equals and value):
            raise ImproperlyConfigured(f"{name} must be `name=value` pairs, not {key!r}.")
    return [(key, value) for key, _, value in found]


def mailer(server: str) -> dict[str, object]:
    """Read smtp://user:password@host:port as one of Django's MAILERS; empty: mails are printed.

    `smtp` begins in the clear and must switch to TLS, `smtps` speaks TLS from the first byte,
    `smtp+plain` never does: for a server on the same machine.
    """
    if not server:
        return {"BACKEND": "django.core.mail.backends.console.EmailBackend"}
    try:
        parts = urlsplit(server)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in {"smtp", "smtps", "smtp+plain"}:
        raise ImproperlyConfigured(
            "EMAIL_URL is not a mail server's, such as smtp://user:password@mail.example.com:587"
        )
    options: dict[str, object] = {"host": host, "port": port, "timeout": 10}
    options |= {"use_tls": parts.scheme == "smtp", "use_ssl": parts.scheme == "smtps"}
    if parts.username:
        options |= {"username": unquote(parts.username), "password": unquote(parts.password or "")}
    return {"BACKEND": "django.core.mail.backends.smtp.EmailBackend", "OPTIONS": options}


def secret_key() -> str:
    """The site's secret: SECRET_KEY, or what a file holds; in development `.secret-key`."""
    if key := env.get("SECRET_KEY", "").strip():
        return key
    if file := env.get("SECRET_KEY_FILE", "").strip() or (DEBUG and BASE_DIR / ".secret-key"):
        return kept_secret(Path(file))
    raise ImproperlyConfigured(
        "SECRET_KEY is not set. Set it to a long random text, the same for every "
        "process of the site, or set DEBUG=1 on your own machine."
    )


def kept_secret(file: Path) -> str:
    """The secret in a file, which is made if it is missing, for its owner's eyes only."""
    if not file.exists():
        own = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
        own.touch(mode=0o600)
        own.write_text(secrets.token_urlsafe(48))
        own.rename(file)
    return file.read_text().strip()


def derived(purpose: str) -> str:
    """A secret for one purpose, 32 hex digits that are computed from SECRET_KEY."""
    return hmac.new(SECRET_KEY.encode(), purpose.encode(), hashlib.sha256).hexdigest()[:32]


DEBUG = flag("DEBUG")
SECRET_KEY = secret_key()

PORT = number("PORT", 8000)

# Where the queue reaches this site. Empty: the host of the visitor's own request.
# Heroku sets the app's domain once `heroku labs:enable runtime-dyno-metadata` is on.
PUBLIC_URL = (
    url("PUBLIC_URL")
    or url("RENDER_EXTERNAL_URL")
    or (f"https://{name}" if (name := env.get("HEROKU_APP_DEFAULT_DOMAIN_NAME")) else "")
    or (f"https://{name}-{PORT}.app.github.dev" if (name := env.get("CODESPACE_NAME")) else "")
)
# How many proxies every visitor comes through. They are believed about the scheme
# (X-Forwarded-Proto) and the visitor's address (X-Forwarded-For).
ON_RENDER, ON_HEROKU = "RENDER" in env, "DYNO" in env
PROXIES = number("PROXIES", 1 if ON_RENDER or ON_HEROKU else 0, least=0)
DATABASE_URL = env.get("DATABASE_URL", "").strip() or f"sqlite:///{BASE_DIR / 'db.sqlite3'}"
# Larger request bodies are refused before they are stored; each view has its own limit.
LARGEST_REQUEST = 16 * 1024 * 1024

# The queue: hosted QStash as soon as there is a token, else our own database.
# The names are QStash's own: https://upstash.com/docs/qstash/howto/signature
QSTASH_TOKEN = env.get("QSTASH_TOKEN", "").strip()
QSTASH_URL = env.get("QSTASH_URL", "").strip() or "https://qstash.upstash.io"
TASKS = {
    "default": {
        "BACKEND": "jobs.backends.HostedQueue" if QSTASH_TOKEN else "jobs.backends.EmbeddedQueue",
    }
}
QSTASH_CURRENT_SIGNING_KEY = env.get("QSTASH_CURRENT_SIGNING_KEY", "").strip()
QSTASH_NEXT_SIGNING_KEY = env.get("QSTASH_NEXT_SIGNING_KEY", "").strip()
if not QSTASH_TOKEN:
    QSTASH_CURRENT_SIGNING_KEY = QSTASH_CURRENT_SIGNING_KEY or f"sig_{derived('current key')}"
    QSTASH_NEXT_SIGNING_KEY = QSTASH_NEXT_SIGNING_KEY or f"sig_{derived('next key')}"

# Where the ten requests go. Empty: each visitor's own bin of this site's catcher.
LONG_TASK_TARGET_URL = url("LONG_TASK_TARGET_URL")

# The e-mail example. Its mails are printed in development; in production they need a server,
# as whoever names one agrees that visitors send mail through it.
EMAIL_URL = env.get("EMAIL_URL", "").strip()
MAIL_IS_ON = DEBUG or bool(EMAIL_URL)
MAILERS = {"default": mailer(EMAIL_URL)} if MAIL_IS_ON else {}
DEFAULT_FROM_EMAIL = env.get("DEFAULT_FROM_EMAIL", "").strip() or "jobs@localhost"
if EMAIL_URL and DEFAULT_FROM_EMAIL == "jobs@localhost":
    raise ImproperlyConfigured(
        "DEFAULT_FROM_EMAIL is not set. With EMAIL_URL, set it to the address that mails come from."
    )
# All visitors together.
EMAIL_MOST_A_DAY = number("EMAIL_MOST_A_DAY", 200)

# How often in a minute a visitor may do it; 0: no limit. Whoever throws the cookie away is still
# one of those who share an address, and these may together do it LIMIT_VISITORS times as often.
# Each process counts for itself.
LIMIT_JOBS = number("LIMIT_JOBS", 60, least=0)
LIMIT_UPLOADS = number("LIMIT_UPLOADS", 20, least=0)
LIMIT_SCHEDULES = number("LIMIT_SCHEDULES", 20, least=0)
LIMIT_BINS = number("LIMIT_BINS", 20, least=0)
LIMIT_VISITORS = number("LIMIT_VISITORS", 10)

# How many open pages a process tells at once what has changed. Further ones ask every now and
# then, as all do if this is 0.
LIVE_STREAMS = number("LIVE_STREAMS", 2000, least=0)
# The site's own data: what is kept, and for how long. The queue's sweep deletes the rest.
JOB_DAYS = number("JOB_DAYS", 14)
JOBS_PER_VISITOR = number("JOBS_PER_VISITOR", 1000)
CATCHER_DAYS = number("CATCHER_DAYS", 7)
CATCHER_MEGABYTES = number("CATCHER_MEGABYTES", 256)
UPLOAD_DAYS = number("UPLOAD_DAYS", 7)
SWEEPS = ["jobs.retention.sweep", "catcher.retention.sweep", "recipes.retention.sweep"]
# Says whether the signature of a caught request fits: the catcher itself has no keys.
CATCHER_VERIFIER = "jobsite.verdicts.verdict"

# The embedded queue. Its HTTP interface is open to anyone with an account's token. The site's
# own account is called `site`. No account sees another's data.
BROKER_TOKEN = env.get("BROKER_TOKEN", "").strip() or derived("broker token")
BROKER_ACCOUNTS = {
    "site": {
        "token": BROKER_TOKEN,
        "current": QSTASH_CURRENT_SIGNING_KEY,
        "next": QSTASH_NEXT_SIGNING_KEY,
    }
}
for name, token in pairs("BROKER_ACCOUNTS"):
    BROKER_ACCOUNTS[name] = {
        "token": token,
        "current": f"sig_{derived(f'current key of {name}')}",
        "next": f"sig_{derived(f'next key of {name}')}",
    }
for name, token in pairs("BROKER_READ_ONLY_TOKENS"):
    if name not in BROKER_ACCOUNTS:
        raise ImproperlyConfigured(f"BROKER_READ_ONLY_TOKENS: there is no account {name!r}.")
    BROKER_ACCOUNTS[name]["read_only_token"] = token
# For `manage.py broker` only: its ports (0: the next one), whether the development users whose
# tokens are published are wanted, and web pages of which origin may use it. Only
# broker_settings.py can let them in.
QSTASH_DEV_PORT = number("QSTASH_DEV_PORT", 8080)
QSTASH_DEV_LOG_PORT = number("QSTASH_DEV_LOG_PORT", 0, least=0)
BROKER_DEV_USERS_WANTED = flag("BROKER_DEV_USERS", default=True)
BROKER_DEV_USERS = False
BROKER_ALLOW_ORIGIN = url("BROKER_ALLOW_ORIGIN")
BROKER_CONCURRENCY = number("BROKER_CONCURRENCY", 2000)
BROKER_LEASE_SECONDS = number("BROKER_LEASE_SECONDS", 10)
# What deliveries name in `Upstash-Region`, for receivers that have keys of several regions.
BROKER_REGION = env.get("BROKER_REGION", "").strip().upper().replace("_", "-") or "EU-CENTRAL-1"
if BROKER_REGION not in {"EU-CENTRAL-1", "US-EAST-1"}:
    raise ImproperlyConfigured(f"BROKER_REGION={BROKER_REGION!r} is not EU-CENTRAL-1 or US-EAST-1.")
# The most that a message may ask for.
BROKER_MESSAGE_BYTES = number("BROKER_MESSAGE_BYTES", 1024 * 1024)
BROKER_TIMEOUT_SECONDS = number("BROKER_TIMEOUT_SECONDS", 15 * 60)
BROKER_DELAY_DAYS = number("BROKER_DELAY_DAYS", 365)
BROKER_RETRIES = number("BROKER_RETRIES", 1000)
# How many of each an account may have.
BROKER_QUEUES = number("BROKER_QUEUES", 1000)
BROKER_SCHEDULES = number("BROKER_SCHEDULES", 1000)
BROKER_URL_GROUPS = number("BROKER_URL_GROUPS", 1000)
BROKER_ENDPOINTS = number("BROKER_ENDPOINTS", 100)
# What is kept, and for how long. A longer response is cut.
BROKER_RESPONSE_BYTES = number("BROKER_RESPONSE_BYTES", 256 * 1024)
BROKER_DEDUPLICATION_SECONDS = number("BROKER_DEDUPLICATION_SECONDS", 600)
BROKER_LOG_DAYS = number("BROKER_LOG_DAYS", 3)
BROKER_DEAD_LETTER_DAYS = number("BROKER_DEAD_LETTER_DAYS", 7)
# 1: deliver only to public addresses and to this site, whatever a name resolves to.
BROKER_REFUSE_PRIVATE_ADDRESSES = flag("BROKER_REFUSE_PRIVATE_ADDRESSES")
# 1: a bulk cancel's `count` is a limit, as SDKs before 2.12 expect. Otherwise it is ignored.
BROKER_CANCEL_COUNTS = flag("BROKER_CANCEL_COUNTS")
# RUN_DISPATCHER=0 where `manage.py run_dispatcher` runs in a process of its own.
RUN_DISPATCHER = flag("RUN_DISPATCHER", default=True) and not QSTASH_TOKEN
# 0: also messages to this very site go out, to PUBLIC_URL and through every proxy.
DELIVER_IN_PROCESS = flag("DELIVER_IN_PROCESS", default=True)

# The queue's pages: open in development, else for whoever knows this password; without one, off.
CONSOLE_PASSWORD = env.get("CONSOLE_PASSWORD", "").strip()
CONSOLE_OPEN = DEBUG and not CONSOLE_PASSWORD

# `/metrics`, for Prometheus; empty: off. The processes of a machine count together through files
# in one folder, whose name is prometheus_client's own variable.
METRICS_TOKEN = env.get("METRICS_TOKEN", "").strip()
METRICS_FOLDER = Path(
    env.get("PROMETHEUS_MULTIPROC_DIR", "").strip()
    or Path(tempfile.gettempdir(), f"metrics-{derived(f'metrics {DATABASE_URL}')}")
)

INSTALLED_APPS = [
    "django.contrib.staticfiles",
    "django_htmx",
    "jobs",
    "broker",
    "catcher",
    "live",
    "recipes",
    "console",
    "operations",
]

# All of these run on the event loop; jobsite/middleware.py says why.
MIDDLEWARE = [
    "jobsite.middleware.RequestIdMiddleware",
    "jobsite.middleware.AddressMiddleware",
    "jobsite.middleware.SecurityMiddleware",
    "jobsite.middleware.WhiteNoiseMiddleware",
    "jobsite.middleware.GZipMiddleware",
    "jobsite.middleware.ContentSecurityPolicyMiddleware",
    "jobsite.middleware.SessionMiddleware",
    "jobsite.middleware.CsrfViewMiddleware",
    "jobsite.middleware.XFrameOptionsMiddleware",
    "jobsite.middleware.SiteMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "jobsite.middleware.LimitsMiddleware",
    "jobsite.unavailable.UnavailableMiddleware",  # the last one: it calls the view
]

ROOT_URLCONF = "jobsite.urls"
ASGI_APPLICATION = "jobsite.asgi.application"
WSGI_APPLICATION = "jobsite.wsgi.application"
APPEND_SLASH = False

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "console.queue_status.context_processor",
            ],
            "builtins": ["django.templatetags.static", "django_htmx.templatetags.django_htmx"],
        },
    },
]

DATABASES = {"default": dj_database_url.parse(DATABASE_URL)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# Django's own backends, with limits on how long a request waits (groupcommit/outages.py).
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["ENGINE"] = "groupcommit.sqlite"
    # WAL: readers need not wait for the writer. FULL: a commit survives a power cut.
    # IMMEDIATE: a transaction takes the write lock when it begins, so it waits for its
    # turn there and does not fail half way.
    # 4000: the write-ahead log grows to 16 MB instead of 4 before a commit copies it into the
    # database, which takes 1 to 3 ms. With 1000, one small job in thirty had to wait for that.
    # https://docs.djangoproject.com/en/6.1/ref/databases/#sqlite-notes
    # https://www.sqlite.org/wal.html#automatic_checkpoint
    DATABASES["default"] |= {
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
            " PRAGMA wal_autocheckpoint=4000;",
        },
    }
else:
    DATABASES["default"]["ENGINE"] = "groupcommit.postgresql"
    DATABASES["default"]["OPTIONS"] = {
        "pool": {"min_size": 1, "max_size": 4},
        # The server plans only once what it is sent often: 450 small jobs a second, not 380.
        # https://docs.djangoproject.com/en/6.1/ref/databases/#server-side-parameters-binding
        "server_side_binding": True,
        "prepare_threshold": 5,
        # Notice within ten seconds that the server's machine is gone, also where nothing is asked.
        # https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
        "connect_timeout": 2,
        "keepalives_idle": 4,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    } | DATABASES["default"].get("OPTIONS", {})

# The session only holds the visitor's name, so it fits into a signed cookie.
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
SESSION_COOKIE_AGE = 365 * 24 * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"

USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    # The image example's uploads. Any storage will do that all processes reach.
    "uploads": {"BACKEND": "recipes.storage.DatabaseStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
ALLOWED_HOSTS += env.get("ALLOWED_HOSTS", "").replace(",", " ").split()
ALLOWED_HOSTS += [host for host in [urlsplit(PUBLIC_URL).hostname] if host]
# Heroku's router passes on no request for the domain of another app, and an app whose
# PUBLIC_URL is not known is reached at its own.
ALLOWED_HOSTS += [".herokuapp.com"] if ON_HEROKU else []
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL] if PUBLIC_URL else []

# Django looks for its own middleware by name and does not find the subclasses used here, so
# these three warnings would be wrong. tests/test_middleware.py tests the subclasses.
SILENCED_SYSTEM_CHECKS = ["security.W001", "security.W002", "security.W003"]
# A site may do without a mail server: the e-mail example says so on its page.
SILENCED_SYSTEM_CHECKS += ["mail.W001"]

# Nothing from another origin, nothing inline.
SECURE_CSP = {
    "default-src": [CSP.SELF],
    "object-src": [CSP.NONE],
    "base-uri": [CSP.NONE],
    "form-action": [CSP.SELF],
    "frame-ancestors": [CSP.NONE],
}
X_FRAME_OPTIONS = "DENY"
# Anyone with a job's URL can see the job, so the URL must not leak to other sites.
SECURE_REFERRER_POLICY = "same-origin"
# HTTPS is required, except on a developer's machine or if PUBLIC_URL begins with http://.
SERVED_OVER_HTTPS = not DEBUG and not PUBLIC_URL.startswith("http://")
SECURE_SSL_REDIRECT = SERVED_OVER_HTTPS
# A platform's health check may come over plain HTTP and with another host name. So may
# Prometheus, which asks each machine by its own address.
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^metrics$"]
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if SERVED_OVER_HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = SERVED_OVER_HTTPS
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SERVED_OVER_HTTPS
if PROXIES:
    # Without a proxy that sets this header, a client could forge it.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

LOG_FORMAT = env.get("LOG_FORMAT", "").strip().lower() or "text"
if LOG_FORMAT not in {"text", "json"}:
    raise ImproperlyConfigured(f"LOG_FORMAT={LOG_FORMAT!r} is neither text nor json.")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {"()": "jobsite.logs.LineFormatter"},
        "json": {"()": "jobsite.logs.JsonFormatter"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        "django": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
        # Its warnings are that the database does not answer; groupcommit/outages.py says so, too.
        "psycopg.pool": {"handlers": ["stderr"], "level": "ERROR", "propagate": False},
    }
    | {
        name: {"handlers": ["stderr"], "level": "INFO", "propagate": False}
        for name in [
            *("jobs", "broker", "catcher", "console", "groupcommit"),
            *("live", "operations", "recipes"),
        ]
    },
}
