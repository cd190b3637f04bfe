"""Each way to publish that docs/queue.md shows works as it is printed."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import skip_or_fail
from tests.processes import ROOT

FOLDER = Path(__file__).parent
DOCUMENT = (ROOT / "docs/queue.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
EXAMPLES = {language: text for language, text in BLOCKS if "3000/hook" in text}
PROGRAMS = {
    "sh": ["sh", "-c"],
    "python": [sys.executable, "-c"],
    "js": ["node", "--input-type=module", "--eval"],
}


def test_there_is_an_example_for_each_kind_of_reader():
    assert EXAMPLES.keys() == PROGRAMS.keys()


@pytest.mark.parametrize("language", PROGRAMS)
def test_example_publishes(language, account, destination):
    program = shutil.which(PROGRAMS[language][0])
    if program is None or (language == "js" and not (FOLDER / "node_modules").exists()):
        skip_or_fail("a client is missing; enable with: npm ci --prefix tests/clients")
    example = EXAMPLES[language].replace("http://127.0.0.1:3000", destination.url(""))
    done = subprocess.run(
        [*PROGRAMS[language], example],
        cwd=FOLDER,
        env=os.environ | {"QSTASH_URL": account.url, "QSTASH_TOKEN": account.token},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    received = destination.first("/hook")
    assert json.loads(received.body) == {"hello": "world"}
