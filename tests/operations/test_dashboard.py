"""The dashboard and the alerts ask for what `/metrics` of a running site has."""

import json
import re
import shutil
import subprocess

import pytest
import yaml

from harness.processes import ROOT
from tests.operations.conftest import read_metrics

ALERTS = ROOT / "docs/alerts.yaml"
RULES = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
PANELS = json.loads((ROOT / "docs/grafana-dashboard.json").read_text())["panels"]
EXPRESSIONS = [rule["expr"] for rule in RULES]
EXPRESSIONS += [target["expr"] for panel in PANELS for target in panel["targets"]]
SELECTOR = re.compile(r"\b((?:queue|site)_\w+)(?:\{([^}]*)\})?")
GROUPING = re.compile(r"\bby \(([^)]*)\)")


def selected(expression: str) -> list[tuple[str, set[str]]]:
    """The metrics of an expression, each with its conditions, such as `outcome="failed"`."""
    found = SELECTOR.findall(expression)
    return [(name, set(filter(None, labels.split(",")))) for name, labels in found]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expression_finds_its_series(expression, watched):
    series = read_metrics(watched["after"])
    wanted = selected(expression)
    assert wanted
    for name, conditions in wanted:
        assert [
            one
            for one in series
            if one.partition("{")[0] == name
            and conditions <= set(one.partition("{")[2].rstrip("}").split(","))
        ], f"{name} {conditions}"


@pytest.mark.parametrize("expression", [one for one in EXPRESSIONS if " by " in one])
def test_label_that_an_expression_groups_by_is_there(expression, watched):
    (labels,) = GROUPING.findall(expression)
    [(name, _)] = selected(expression)
    (one, *_) = [one for one in read_metrics(watched["after"]) if one.startswith(f"{name}{{")]
    assert {label.strip() for label in labels.split(",")} <= set(re.findall(r"(\w+)=", one))


def test_three_alerts_say_what_to_do():
    assert [rule["alert"] for rule in RULES] == [
        "SiteOrDatabaseDown",
        "QueueNotRunning",
        "DeliveriesFailing",
    ]
    for rule in RULES:
        assert rule["annotations"].keys() == {"summary", "description"}
        assert rule["labels"]["severity"] in {"page", "ticket"}


@pytest.mark.skipif(not shutil.which("promtool"), reason="apt-get install prometheus")
def test_prometheus_itself_accepts_the_rules_and_the_metrics(watched):
    subprocess.run(["promtool", "check", "rules", ALERTS], check=True, capture_output=True)
    subprocess.run(["promtool", "check", "metrics"], input=watched["after"], text=True, check=True)
