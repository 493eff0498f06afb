"""Alerts, dashboard and runbook, held against the metrics of the program and against each other: none may drift.

What they do is for Prometheus to show, in tests/e2e/test_alerts.py; that kinds and port names are right is in tests/test_k8s.py.
"""

import itertools
import re
import time

import pytest

from healthproxy.metrics import REFUSALS, Metrics
from healthproxy.probe import HTTPGet, Outcome, Probe, Reason
from tests.e2e.alert_cases import CASES
from tests.manifests import ROOT, read
from tests.monitoring import MONITORING, RUNBOOK, alerts, dashboard, queries, rules, sixty_times_faster, substitute, variables

ALERTS = alerts(rules())
SEVERITIES = {"critical", "warning", "info"}
OF_THE_TARGET = {"job", "instance", "namespace", "pod", "container"}
"""What the Prometheus Operator gives every target of a PodMonitor."""
NOT_OURS = {
    "up": OF_THE_TARGET,
    "ALERTS": OF_THE_TARGET | {"alertname", "alertstate", "severity", "probe", "reason"},
    "kube_pod_deletion_timestamp": {"namespace", "pod", "uid"},
    "container_cpu_cfs_throttled_periods_total": OF_THE_TARGET,
}
"""Series of others that we use, with their labels."""
CORE = {"heatmap", "stat", "state-timeline", "table", "timeseries"}
"""Panels that every Grafana from 10 on has; it must not need a plugin."""
GRAFANA_10 = 38
"""The schema of its dashboards. A newer Grafana reads an older schema, not the other way round."""
WIDTH = 24

METRIC = re.compile(r"\b(healthproxy_\w+|process_\w+|kube_\w+|container_\w+|up(?=\{)|ALERTS)(?:\{([^}]*)\})?")
LABEL = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')
GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")


def exposed() -> dict[str, set[str]]:
    """Return the series of a sidecar that has asked its app, with their labels."""
    probe = Probe("/healthy", HTTPGet(8080))
    metrics = Metrics([probe], lambda: 0, time.monotonic())
    metrics.observe(probe, Outcome(Reason.STATUS, "app answered 503", 503))
    series: dict[str, set[str]] = {}
    for sample in itertools.chain.from_iterable(family.samples for family in metrics.registry.collect()):
        series.setdefault(sample.name, set(OF_THE_TARGET)).update(sample.labels)
    return series


KNOWN = exposed() | NOT_OURS
QUERIES = {
    **{name: rule["expr"] for name, rule in ALERTS.items()},
    **{name: query.expression for name, query in queries().items()},
    **{f"${name}": f"{series} by ({label})" for name, (series, label) in variables().items()},
    "the runbook": RUNBOOK.read_text(),
}


def sections(level: str = "##+") -> dict[str, str]:
    """Return the sections of the runbook by the name that GitHub gives to their headings."""
    parts = re.split(rf"^{level} (.+)\n", RUNBOOK.read_text(), flags=re.MULTILINE)[1:]
    names = [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in parts[::2]]
    assert len(set(names)) == len(names), "two sections of one name"
    return dict(zip(names, parts[1::2], strict=True))


@pytest.mark.parametrize("name", QUERIES)
def test_every_series_and_label_that_is_asked_for_exists(name):
    asked = METRIC.findall(QUERIES[name])
    assert asked, "a query without a series, or this test cannot read it"
    assert [series for series, _ in asked if series not in KNOWN] == []
    wrong = {series: set(LABEL.findall(matchers)) - KNOWN[series] for series, matchers in asked}
    assert {series: labels for series, labels in wrong.items() if labels} == {}
    grouped = {label for labels in GROUPING.findall(QUERIES[name]) for label in re.findall(r"\w+", labels)}
    assert grouped <= set().union(*[KNOWN[series] for series, _ in asked])


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_bad_what_where_and_what_to_do(name):
    alert = ALERTS[name]
    assert alert["labels"].keys() == {"severity"}
    assert alert["labels"]["severity"] in SEVERITIES
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert name == "HealthproxyAbsent" or {"$labels.namespace", "$labels.pod"} <= set(
        re.findall(r"\$labels\.\w+", alert["annotations"]["description"])
    )


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_links_to_its_section_of_the_runbook(name):
    path, _, section = ALERTS[name]["annotations"]["runbook_url"].partition("#")
    (setting,) = read(MONITORING / "runbook.yaml")
    assert path == setting["data"]["url"]
    assert ROOT / path == RUNBOOK
    assert section == name.lower()
    assert section in sections()


def test_the_runbook_has_a_section_for_each_alert_reason_and_refusal_and_for_nothing_else():
    reasons = [str(reason) for reason in Reason if reason is not Reason.OK]
    assert list(sections("###")) == [*map(str.lower, ALERTS), *reasons, *REFUSALS]


@pytest.mark.parametrize("name", sections("###"))
def test_a_section_says_what_it_means_how_to_see_it_and_what_to_do(name):
    assert re.findall(r"^- \*\*(\w+)\*\*", sections("###")[name], re.MULTILINE) == ["Means", "See", "Do"]


def test_every_link_of_the_runbook_leads_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", RUNBOOK.read_text()):
        path, _, section = target.partition("#")
        assert (RUNBOOK.parent / path).exists() if path else section in sections(), target


@pytest.mark.parametrize("name", ALERTS)
def test_no_alert_asks_how_often_the_kubelet_probes_or_takes_an_age_at_the_evaluation(name):
    assert not re.search(r"\b(i?rate|time)\(|duration_seconds_count", ALERTS[name]["expr"])


def test_each_alert_has_a_case_in_which_it_fires_and_others_in_which_it_does_not():
    assert {case.alert for case in CASES} == ALERTS.keys() - {"HealthproxyAbsent"}, "that one has no pod, and cases of its own"
    assert all(case.silent and len(case.pods) > 1 for case in CASES)


def test_the_faster_rules_differ_from_those_that_ship_by_their_durations_only():
    def at_rest(rule):
        return re.sub(r"\[\w+\]", "[]", rule["expr"]), rule["labels"], rule["annotations"]

    faster = alerts(sixty_times_faster())
    assert {name: at_rest(rule) for name, rule in faster.items()} == {name: at_rest(rule) for name, rule in ALERTS.items()}
    assert faster["HealthproxyProbeSlow"]["for"] == "10s"
    assert "[10s]" in faster["HealthproxyProbeSlow"]["expr"]
    assert "[1m]" in faster["HealthproxyRestarting"]["expr"]


def test_the_dashboard_needs_a_grafana_from_10_on_and_no_plugin():
    board = dashboard()
    assert board["schemaVersion"] == GRAFANA_10
    assert {panel["type"] for panel in board["panels"]} <= CORE
    sources = [
        entry.get("datasource") for entry in (*board["panels"], *board["annotations"]["list"], *board["templating"]["list"][1:])
    ]
    assert sources == [{"type": "prometheus", "uid": "${datasource}"}] * len(sources)
    assert board["templating"]["list"][0]["query"] == "prometheus"


def test_no_panel_of_the_dashboard_lies_on_another_or_beside_it():
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    tiles = [(place["x"] + dx, place["y"] + dy) for place in places for dx in range(place["w"]) for dy in range(place["h"])]
    assert len(set(tiles)) == len(tiles)
    assert max(x for x, _ in tiles) < WIDTH


def test_every_panel_says_what_it_shows_and_uses_variables_that_exist():
    known = dict.fromkeys([*variables(), "__rate_interval", "__range"], "x")
    for panel in dashboard()["panels"]:
        assert panel["title"]
        assert panel["description"]
        assert all("$" not in substitute(target["expr"], known) for target in panel["targets"])
    assert all("$" not in substitute(series, known) for series, _ in variables().values())


def test_the_dashboard_shows_every_metric_of_healthproxy():
    shown = {series for query in queries().values() for series, _ in METRIC.findall(query.expression)}
    ours = {series for series in exposed() if series.startswith("healthproxy_")}
    assert ours - shown == {"healthproxy_probe_duration_seconds_count", "healthproxy_probe_duration_seconds_sum"}
