"""Lines of our own code, with the file and the line where they are."""

from harness.processes import ROOT
from jobs.excerpts import excerpt
from jobs.tasks import long_task
from jobs.views import start_job


def test_excerpt_is_a_functions_source_with_its_decorators():
    shown = excerpt(start_job)
    lines = (ROOT / shown.file).read_text().splitlines(keepends=True)
    assert shown.file == "jobs/views.py"
    assert shown.text.startswith("@require_POST\nasync def start_job(")
    assert "".join(lines[shown.line - 1 :]).startswith(shown.text)


def test_task_is_shown_by_its_function():
    assert "await post(http, target_url" in excerpt(long_task.func).text
