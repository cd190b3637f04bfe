"""`manage.py broker`: the queue alone, for applications in any language.

Messages are published to it over HTTP and delivered by it, as by QStash's own development
server, but they survive a restart. Its settings are jobsite/broker_settings.py.
"""

import argparse
import sys
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from broker.standalone import Arguments, CannotStart, run


class Command(BaseCommand):
    help = (
        "Serve the queue on /v2/ and deliver its messages. On a loopback address the published "
        "development users may use it, on any other BROKER_TOKEN and BROKER_ACCOUNTS. The first "
        "Ctrl-C lets running attempts finish, the second does not."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
        port = settings.QSTASH_DEV_PORT
        parser.add_argument(
            "--port", type=int, default=port, help="default: QSTASH_DEV_PORT, or 8080"
        )
        parser.add_argument(
            "--workers", type=int, default=1, help="server processes, default: %(default)s"
        )
        parser.add_argument(
            "--log-port",
            type=int,
            help="the log server's port, default: QSTASH_DEV_LOG_PORT, or the port + 1; 0: none",
        )
        parser.add_argument(
            "--allow-origin",
            default=settings.BROKER_ALLOW_ORIGIN,
            metavar="ORIGIN",
            help="let web pages of this one origin use the queue, such as a console's",
        )
        parser.add_argument(
            "--development-users",
            action="store_true",
            help="let the published development users in on any address: for a container whose "
            "port is published on loopback only, as everybody who reaches it may use the queue",
        )
        data = parser.add_mutually_exclusive_group()
        data.add_argument(
            "--database",
            default="broker.sqlite3",
            help="a file, default: %(default)s, or a postgresql:// URL",
        )
        data.add_argument("--in-memory", action="store_true", help="keep nothing after the end")
        data.add_argument("--prepare", action="store_true", help=argparse.SUPPRESS)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["prepare"]:  # called by broker/standalone.py
            call_command("migrate", verbosity=0)
            self.stdout.write(next(iter(settings.BROKER_ACCOUNTS.values()))["token"])
            return
        arguments = Arguments(**{name: options[name] for name in Arguments._fields})
        try:
            code = run(arguments, self.say)
        except CannotStart as error:
            raise CommandError(str(error)) from error
        sys.exit(code)

    def say(self, text: str) -> None:
        """Print and flush: other programs wait for this text."""
        self.stdout.write(text)
        self.stdout.flush()
