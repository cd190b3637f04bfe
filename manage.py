#!/usr/bin/env python
"""Django's entry for people: `dev` runs the whole site, `broker` the queue alone."""

import os
import sys


def main() -> None:
    command = sys.argv[1:2]
    if command == ["broker"]:
        os.environ["DJANGO_SETTINGS_MODULE"] = "jobsite.broker_settings"
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobsite.settings")
    if command in (["dev"], ["broker"]):
        os.environ.setdefault("DEBUG", "1")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
