"""A Django site for the other queues: a table of jobs, nothing to serve.

What they need to be at their best: connections that are kept, Redis's connections in plenty.
Celery acknowledges a task after it has run (`acks_late`), so that like ours it runs at least
once. SQLite flushes at checkpoints only (`synchronous=NORMAL`), ours at each commit.
"""

import os

import dj_database_url

SECRET_KEY = "for-benchmarks-only"  # noqa: S105
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["benchmarks.peer_site"]
REDIS_URL = os.environ["REDIS_URL"]
MOST_CONNECTIONS = 3000

DATABASES = {"default": dj_database_url.parse(os.environ["DATABASE_URL"])}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"] |= {
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 60,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
            " PRAGMA wal_autocheckpoint=4000;",
        },
    }
elif os.environ.get("PEER_POOL"):  # a thousand greenlets share 32 connections
    DATABASES["default"]["OPTIONS"] = {"pool": {"min_size": 4, "max_size": 32, "timeout": 60}}
else:
    DATABASES["default"]["CONN_MAX_AGE"] = None

if os.environ["PEER"] == "huey":
    INSTALLED_APPS += ["huey.contrib.djhuey"]
    HUEY = {
        "huey_class": "huey.RedisHuey",
        "name": "benchmark",
        "immediate": False,
        "results": False,
        "connection": {"url": f"{REDIS_URL}?max_connections={MOST_CONNECTIONS}"},
    }

# Read by Celery: every name that begins with CELERY.
CELERY_BROKER_URL = REDIS_URL
CELERY_BROKER_TRANSPORT_OPTIONS = {"max_connections": MOST_CONNECTIONS}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 4
CELERY_DB_REUSE_MAX = 1_000_000
