"""The site's settings, with an environment of their own: no `.env` reaches the tests."""

import os

os.environ |= {
    "ALLOWED_HOSTS": "testserver",
    "BROKER_TOKEN": "token-of-the-test-broker",
    "DEBUG": "0",
    "LOG_FORMAT": "",
    "LIMIT_BINS": "0",
    "LIMIT_JOBS": "0",
    "LIMIT_SCHEDULES": "0",
    "LIMIT_UPLOADS": "0",
    "LONG_TASK_TARGET_URL": "",
    "METRICS_TOKEN": "",
    "PUBLIC_URL": "http://testserver",
    "QSTASH_CURRENT_SIGNING_KEY": "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r",
    "QSTASH_NEXT_SIGNING_KEY": "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs",
    "QSTASH_TOKEN": "",
    "QSTASH_URL": "",
    "RUN_DISPATCHER": "1",
    "SECRET_KEY": "only-for-the-tests-" * 3,
}

from jobsite.settings import *  # noqa: E402, F403

STORAGES["staticfiles"] = {  # noqa: F405  no collectstatic before the tests
    "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
}
