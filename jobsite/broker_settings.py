"""The settings of `manage.py broker`: the queue alone, without the site's pages and jobs.

Everything else is as in settings.py. The environment of the server comes from
broker/standalone.py.
"""

from jobsite.settings import *  # noqa: F403
from jobsite.settings import BROKER_ALLOW_ORIGIN, QSTASH_DEV_LOG_PORT, flag

INSTALLED_APPS = ["broker", "operations.apps.MetricsConfig"]
MIDDLEWARE = [
    "jobsite.middleware.RequestIdMiddleware",
    "jobsite.unavailable.UnavailableMiddleware",
]
ROOT_URLCONF = "jobsite.broker_urls"
SWEEPS = []
# The queue runs no tasks itself.
TASKS = {"default": {"BACKEND": "django.tasks.backends.dummy.DummyBackend"}}
# A client needs a token, whatever name it calls the host by.
ALLOWED_HOSTS = ["*"]

# The published users of QStash's own development server.
# https://upstash.com/docs/qstash/howto/local-development
DEVELOPMENT_USERS = {
    "defaultUser": {
        "token": "eyJVc2VySUQiOiJkZWZhdWx0VXNlciIsIlBhc3N3b3JkIjoiZGVmYXVsdFBhc3N3b3JkIn0=",
        "current": "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r",
        "next": "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs",
    },
    "testUser1": {
        "token": "eyJVc2VySUQiOiJ0ZXN0VXNlcjEiLCJQYXNzd29yZCI6InRlc3RQYXNzd29yZCJ9",
        "current": "sig_7GVPjvuwsfqF65iC8fSrs1dfYruM",
        "next": "sig_5NoELc3EFnZn4DVS5bDs2Nk4b7Ua",
    },
    "testUser2": {
        "token": "eyJVc2VySUQiOiJ0ZXN0VXNlcjIiLCJQYXNzd29yZCI6InRlc3RQYXNzd29yZCJ9",
        "current": "sig_6jWGaWRxHsw4vMSPJprXadyvrybF",
        "next": "sig_7qHbvhmahe5GwfePDiS5Lg3pi6Qx",
    },
    "testUser3": {
        "token": "eyJVc2VySUQiOiJ0ZXN0VXNlcjMiLCJQYXNzd29yZCI6InRlc3RQYXNzd29yZCJ9",
        "current": "sig_5T8FcSsynBjn9mMLBsXhpacRovJf",
        "next": "sig_7GFR4YaDshFcqsxWRZpRB161jguD",
    },
}

# They are let in only if this is 1. `manage.py broker` sets it for its server: 1 if it serves a
# loopback address, or was told --development-users, and they are wanted; else 0.
BROKER_DEV_USERS = flag("BROKER_DEV_USERS")
if BROKER_DEV_USERS:
    BROKER_ACCOUNTS = DEVELOPMENT_USERS

# The option --allow-origin: web pages of this origin may use the queue, those of others not.
# https://pypi.org/project/django-cors-headers/
if BROKER_ALLOW_ORIGIN:
    INSTALLED_APPS += ["corsheaders"]
    MIDDLEWARE += ["corsheaders.middleware.CorsMiddleware"]
    CORS_ALLOWED_ORIGINS = [BROKER_ALLOW_ORIGIN]
    CORS_URLS_REGEX = r"^/"
    # Upstash-Forward-… may have any name. The star does not stand for Authorization.
    CORS_ALLOW_HEADERS = ["authorization", "*"]
    # A public page asks for leave to reach a private address: this queue is one.
    CORS_ALLOW_PRIVATE_NETWORK = True

# The option --log-port: on this port the queue can only be read.
if QSTASH_DEV_LOG_PORT:
    MIDDLEWARE += ["broker.log_server.LogServer"]
