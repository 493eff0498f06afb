"""What `k8s/monitoring/` says, read for the tests: the rules, the dashboard and its queries.

Judges nothing.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from tests.manifests import K8S, ROOT, read

MONITORING = K8S / "monitoring"
RUNBOOK = ROOT / "docs" / "runbook.md"
_DURATION = re.compile(r"(\d+)([mh])")
_FASTER = {"m": "s", "h": "m"}


def rules() -> dict[str, Any]:
    """Return what Prometheus itself takes: a PrometheusRule without its shell."""
    (manifest,) = read(MONITORING / "prometheusrule.yaml")
    spec: dict[str, Any] = manifest["spec"]
    return spec


def alerts(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the alerts of a rule file by name."""
    return {rule["alert"]: rule for group in spec["groups"] for rule in group["rules"]}


def sixty_times_faster() -> dict[str, Any]:
    """Return the rules with every `for` and every range a sixtieth: what says minutes means seconds, and hours minutes."""
    spec = rules()
    for rule in alerts(spec).values():
        rule["expr"] = re.sub(r"\[(\w+)\]", lambda found: f"[{_faster(found[1])}]", rule["expr"])
        if "for" in rule:
            rule["for"] = _faster(rule["for"])
    return spec


def _faster(text: str) -> str:
    found = _DURATION.fullmatch(text)
    assert found, f"{text}: write it in minutes or in hours"
    return found[1] + _FASTER[found[2]]


class Query(NamedTuple):
    """One query of the dashboard, as written."""

    expression: str
    legend: str
    """How its series are called."""


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    found: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text())
    return found


def queries() -> dict[str, Query]:
    """Return every query by what it is for: the title of a panel and a letter, or the name of an annotation."""
    board = dashboard()
    found = {
        f"{panel['title']}, {target['refId']}": Query(target["expr"], target["legendFormat"])
        for panel in board["panels"]
        for target in panel["targets"]
    }
    return found | {note["name"]: Query(note["expr"], note["titleFormat"]) for note in board["annotations"]["list"]}


def variables() -> dict[str, tuple[str, str]]:
    """Return the variables that ask Prometheus: the series, and the label whose values they take."""
    asked = {entry["name"]: entry["query"]["query"] for entry in dashboard()["templating"]["list"] if entry["type"] == "query"}
    found = {name: re.fullmatch(r"label_values\((.+), (\w+)\)", query) for name, query in asked.items()}
    return {name: (parts[1], parts[2]) for name, parts in found.items() if parts is not None}


def substitute(query: str, values: dict[str, str]) -> str:
    """Put values in place of the variables, as Grafana does; fails on one that has none."""
    return re.sub(r"\$(\w+)", lambda found: values[found[1]], query)
