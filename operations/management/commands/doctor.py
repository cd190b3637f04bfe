"""`manage.py doctor`: what is wrong with a deployment, and what to do about it.

No message passes here. operations/doctor.py has the checks.
"""

import asyncio
import json
import sys
from typing import Any

from django.core.management.base import BaseCommand

from operations.doctor import examine, healthy
from operations.findings import OK, PROBLEM, UNKNOWN, Finding

STYLES = {OK: "SUCCESS", PROBLEM: "ERROR", UNKNOWN: "WARNING"}
WIDTH = len(UNKNOWN)


class Command(BaseCommand):
    help = (
        "Check the public URL, proxies, forms, signing keys, clocks, the database, dispatchers "
        "and mail of this deployment, and say what to do about what is wrong. Nothing is changed "
        "and no secret is printed. Exit code 1 if there is a problem."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--url", default="", help="ask the site here instead of at PUBLIC_URL")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        findings = asyncio.run(examine(options["url"]))
        good = healthy(findings)
        if options["json"]:
            found = {"healthy": good, "findings": [finding.as_json() for finding in findings]}
            self.stdout.write(json.dumps(found, indent=2, ensure_ascii=False))
        else:
            for finding in findings:
                self.stdout.write(self.lines(finding))
        sys.exit(0 if good else 1)

    def lines(self, finding: Finding) -> str:
        """A finding as text: its result, its facts, its remedy."""
        style = getattr(self.style, STYLES[finding.state])
        margin = "\n" + " " * (WIDTH + 2)
        parts = [f"{style(finding.state.ljust(WIDTH))}  {finding.name}: {finding.words}"]
        if finding.facts:
            parts.append(", ".join(f"{name}: {value}" for name, value in finding.facts))
        if finding.remedy:
            parts.append(f"Remedy: {finding.remedy}")
        return margin.join(parts)
