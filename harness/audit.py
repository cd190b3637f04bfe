"""Known vulnerabilities in what the project installs: `uv run python -m harness.audit`.

uv asks about each package of uv.lock, npm about those of the tests' two package-lock.json. A known
vulnerability ends the command with 1 (of npm's packages, which only tests use, a high or critical
one). A service that does not answer within seconds is told and is no failure, so that one may work
without the Internet.
"""

import json
import os
import shutil
import subprocess
import sys
from typing import NamedTuple

from harness.processes import ROOT

PATIENCE_SECONDS = 10
# One try each, and not for long.
IMPATIENT = {"UV_HTTP_RETRIES": "0", "UV_HTTP_TIMEOUT": "5", "npm_config_fetch_retries": "0"}
NPM_FOLDERS = ["tests/browser", "tests/clients"]


class Verdict(NamedTuple):
    """What an audit has found; `clean` is None if nobody could be asked."""

    of: str
    clean: bool | None
    text: str

    def __str__(self) -> str:
        word = {True: "no known vulnerability", False: "VULNERABLE", None: "NOT AUDITED"}[
            self.clean
        ]
        return f"{self.of}: {word}\n{self.text}".rstrip()


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a client; one that takes too long counts as one that reached nobody."""
    if shutil.which(command[0]) is None:
        return subprocess.CompletedProcess(command, 127, "", f"{command[0]} is not installed")
    try:
        return subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | IMPATIENT,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", "no answer in time")


def audit_python(*options: str) -> Verdict:
    """Ask about the packages in uv.lock. uv ends with 0 or 1 if it was answered."""
    done = run("uv", "audit", "--frozen", *options)
    clean = {0: True, 1: False}.get(done.returncode)
    lines = done.stderr.strip().splitlines()
    return Verdict("uv.lock", clean, last_of(lines) if clean is None else done.stdout.strip())


def audit_npm(folder: str) -> Verdict:
    """Ask about the packages in a folder's package-lock.json."""
    done = run("npm", "audit", "--json", "--prefix", folder)
    return read_npm(f"{folder}/package-lock.json", done.stdout, done.stderr)


def read_npm(of: str, output: str, errors: str) -> Verdict:
    """What npm's JSON says. Without an answer it has no `vulnerabilities`, but a `message`."""
    try:
        told = json.loads(output)
    except ValueError:
        return Verdict(of, None, last_of(errors.strip().splitlines()))
    if "vulnerabilities" not in told:
        status = told.get("statusCode")
        return Verdict(of, None, f"the registry answered {status}" if status else "no answer")
    grave = [
        f"{name}: {found['severity']}"
        for name, found in told["vulnerabilities"].items()
        if found["severity"] in {"high", "critical"}
    ]
    return Verdict(of, not grave, "\n".join(grave))


def last_of(lines: list[str]) -> str:
    return lines[-1].strip() if lines else "no answer"


def main() -> None:
    verdicts = [audit_python(), *map(audit_npm, NPM_FOLDERS)]
    print(*verdicts, sep="\n")
    sys.exit(any(verdict.clean is False for verdict in verdicts))


if __name__ == "__main__":
    main()
