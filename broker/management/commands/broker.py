"""`manage.py broker`: the queue alone, for apps that need not know Django.

A message is published to it over HTTP and delivered from it, as by QStash's own development
server, but it stays through a restart.
"""

import argparse
import sys
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from broker.standalone import CannotStart, Wish, run


class Command(BaseCommand):
    help = (
        "Serve the queue on /v2/ and deliver its messages. On this machine's own addresses the "
        "published development users may use it, elsewhere BROKER_TOKEN and BROKER_ACCOUNTS. "
        "The first Ctrl-C lets what is in flight finish, the second does not."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: Any) -> None:
        port = settings.SECRET_ENVIRONMENT.get("QSTASH_DEV_PORT", "").strip() or "8080"
        parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
        parser.add_argument(
            "--port", type=int, default=port, help="default: QSTASH_DEV_PORT, or 8080"
        )
        parser.add_argument(
            "--workers", type=int, default=1, help="server processes, default: %(default)s"
        )
        data = parser.add_mutually_exclusive_group()
        data.add_argument(
            "--database",
            default="broker.sqlite3",
            help="a file, default: %(default)s, or a postgresql:// URL",
        )
        data.add_argument("--in-memory", action="store_true", help="forget everything at the end")
        data.add_argument("--prepare", action="store_true", help=argparse.SUPPRESS)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["prepare"]:  # by the process that begins the server, see broker/standalone.py
            call_command("migrate", verbosity=0)
            self.stdout.write(next(iter(settings.BROKER_ACCOUNTS.values()))["token"])
            return
        wish = Wish(**{name: options[name] for name in Wish._fields})
        try:
            code = run(wish, self.say)
        except CannotStart as error:
            raise CommandError(str(error)) from error
        sys.exit(code)

    def say(self, text: str) -> None:
        """Print at once: others wait for this to be said."""
        self.stdout.write(text)
        self.stdout.flush()
