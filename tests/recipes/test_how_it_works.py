"""`/how-it-works` tells what is so: the states, and the files that one click passes through."""

import re
import subprocess
import sys

from django.contrib.staticfiles import finders

from harness.processes import ROOT
from jobs.models import Job
from recipes.how_it_works import READING, STATES


def test_every_state_of_a_job_is_explained():
    assert {state.name for state in STATES} == set(Job.Status.values)


def test_files_to_read_are_those_that_a_click_passes_through():
    command = [sys.executable, "-m", "harness.reading"]
    report = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
    opened = re.findall(r"^\| (jobs/\w+\.py) +\| +[1-9]", report, re.MULTILINE)
    assert {file.name for file in READING} == set(opened)


def test_page_shows_the_diagram_the_states_and_the_files_in_order(client, db):
    page = client.get("/how-it-works").text
    assert finders.find(re.search(r'<img src="/static/([^"]+)"', page)[1])
    assert all(f'class="pill {state.name}"' in page for state in STATES)
    assert re.findall(r"<code>(jobs/\w+\.py)</code>", page) == [file.name for file in READING]


def test_documents_it_names_exist(client, db):
    page = client.get("/how-it-works").text
    named = re.findall(r"<code>((?:docs/|examples/)?[\w]+\.(?:md|py))</code>", page)
    assert len(named) == 5
    assert all((ROOT / name).is_file() for name in named)
