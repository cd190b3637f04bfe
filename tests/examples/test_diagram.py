"""static/message.svg: the diagram of a message's way."""

import re
from xml.etree import ElementTree

from harness.processes import ROOT
from jobs import tasks, views

FILE = ROOT / "static" / "message.svg"
SVG = "{http://www.w3.org/2000/svg}"


def test_diagram_is_xml_with_a_title_and_a_text_alternative():
    svg = ElementTree.parse(FILE).getroot()  # noqa: S314  the file is ours
    named = [svg.find(f"{SVG}title"), svg.find(f"{SVG}desc")]
    assert [len(element.text.split()) > 3 for element in named] == [True, True]
    assert svg.get("aria-labelledby").split() == [element.get("id") for element in named]
    assert int(svg.get("width")) <= 820


def test_diagram_has_dark_colours_and_needs_no_other_file():
    text = FILE.read_text()
    assert "prefers-color-scheme: dark" in text
    assert "@import" not in text
    assert "href" not in text
    assert text.replace("url(#", "").count("url(") == 0
    assert text.count("http") == text.count('xmlns="http://www.w3.org/2000/svg"') == 1


def test_names_on_it_are_those_of_views_and_tasks():
    names = re.findall(r'class="code[^"]*"[^>]*>(\w+)<', FILE.read_text())
    assert len(names) >= 3
    missing = [name for name in names if not hasattr(views, name) and not hasattr(tasks, name)]
    assert missing == []
