"""What `manage.py doctor` prints. test_doctor.py runs it."""

from io import StringIO

from operations.findings import OK, UNKNOWN, Finding
from operations.management.commands.doctor import Command


def test_finding_is_printed_with_its_facts_and_its_remedy():
    command = Command(stdout=StringIO(), no_color=True)
    finding = Finding("Mail", UNKNOWN, "asleep.", "Wake it.", (("a", "1"), ("b", "2")))
    assert command.lines(finding).splitlines() == [
        "cannot be checked  Mail: asleep.",
        "                   a: 1, b: 2",
        "                   Remedy: Wake it.",
    ]
    assert command.lines(Finding("Mail", OK, "off.")) == "ok                 Mail: off."
