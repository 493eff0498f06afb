"""A real Prometheus scrapes the admin port, and its own linter reads the metrics.

Owns what only Prometheus can say: that it takes the exposition and finds the series by the names that dashboards use.
"""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from .sidecar import ANYWHERE, BOUND_SECONDS, App, Lines, Sidecar, eventually, spawn

pytestmark = pytest.mark.e2e

FIRST_SCRAPE_SECONDS = 30.0
"""Prometheus takes about six seconds from its start to its first scrape."""


@pytest.fixture
def sidecar(app: App) -> Iterator[Sidecar]:
    """A sidecar that has probed its app once."""
    with spawn(*ANYWHERE, "--probe", app.probe) as running:
        running.started()
        assert running.ask().code == 200
        yield running


@pytest.fixture
def prometheus(prometheus_binary: str, sidecar: Sidecar, tmp_path: Path) -> Iterator[str]:
    """The URL of a Prometheus that scrapes the sidecar each second."""
    targets = [{"targets": [f"127.0.0.1:{sidecar.admin_port}"]}]
    configuration = {"scrape_configs": [{"job_name": "pod", "scrape_interval": "1s", "static_configs": targets}]}
    (tmp_path / "prometheus.yml").write_text(json.dumps(configuration))  # YAML takes JSON
    flags = [f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data", "--log.format=json"]
    command = [prometheus_binary, *flags, "--web.listen-address=127.0.0.1:0"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    log = Lines(process.stderr)
    try:
        address = json.loads(log.next_with("Listening on").text)["address"]
        log.next_with("Server is ready")
        yield f"http://{address}"
    finally:
        process.kill()
        process.wait()
        log.join()


def query(prometheus: str, series: str) -> list[float]:
    """Return the present values of the series that a query finds."""
    url = f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': series})}"
    with urllib.request.urlopen(url, timeout=BOUND_SECONDS) as answer:
        return [float(found["value"][1]) for found in json.load(answer)["data"]["result"]]


def test_prometheus_finds_the_series_that_dashboards_use(prometheus: str) -> None:
    assert eventually(lambda: query(prometheus, 'up{job="pod"}'), bool, FIRST_SCRAPE_SECONDS) == [1]
    assert query(prometheus, 'healthproxy_probe_success{probe="/healthy"}') == [1]
    assert query(prometheus, 'healthproxy_probe_duration_seconds_count{probe="/healthy",result="success"}') == [1]
    assert query(prometheus, 'healthproxy_probes_total{probe="/healthy",reason="ok",result="success"}') == [1]


def test_promtool_has_nothing_to_say_against_the_metrics(promtool_binary: str, sidecar: Sidecar) -> None:
    command = [promtool_binary, "check", "metrics"]
    linted = subprocess.run(command, input=sidecar.metrics(), capture_output=True, text=True, check=False)
    assert (linted.returncode, linted.stdout + linted.stderr) == (0, "")
