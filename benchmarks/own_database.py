"""An empty database with Django set up on it: for benchmarks that start no server."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from harness.processes import migrate


@contextmanager
def own_database(**environment: str) -> Iterator[str]:
    """Set Django up on DATABASE_URL, which must be empty, or on a SQLite file; yield its kind."""
    with tempfile.TemporaryDirectory() as folder:
        url = os.environ.get("DATABASE_URL") or f"sqlite:///{folder}/site.sqlite3"
        os.environ |= {
            "DATABASE_URL": url,
            "DEBUG": "0",
            "DJANGO_SETTINGS_MODULE": "jobsite.settings",
            "QSTASH_TOKEN": "",
            "SECRET_KEY": "only-for-this-benchmark" * 3,
        } | environment
        migrate(url)
        import django

        django.setup()
        yield url.partition(":")[0]
