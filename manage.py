#!/usr/bin/env python
"""Django's entry for people: `dev` runs the whole site, `broker` its queue, see README.md."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobsite.settings")
    if sys.argv[1:2] in (["dev"], ["broker"]):
        os.environ.setdefault("DEBUG", "1")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
