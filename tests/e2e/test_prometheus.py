"""A real Prometheus scrapes the admin port, and its own linter reads the metrics.

Owns what only Prometheus can say: that it takes the exposition and finds the series by the names that dashboards use.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .prometheus import FIRST_SCRAPE_SECONDS, Prometheus, running_prometheus
from .sidecar import ANYWHERE, App, Sidecar, eventually, spawn

pytestmark = pytest.mark.e2e


@pytest.fixture
def sidecar(app: App) -> Iterator[Sidecar]:
    """A sidecar that has probed its app once."""
    with spawn(*ANYWHERE, "--probe", app.probe) as running:
        running.started()
        assert running.ask().code == 200
        yield running


@pytest.fixture
def prometheus(prometheus_binary: str, sidecar: Sidecar, tmp_path: Path) -> Iterator[Prometheus]:
    """A Prometheus that scrapes the sidecar."""
    with running_prometheus(prometheus_binary, tmp_path, [{"targets": [f"127.0.0.1:{sidecar.admin_port}"]}], "pod") as running:
        yield running


def test_prometheus_finds_the_series_that_dashboards_use(prometheus: Prometheus) -> None:
    assert eventually(lambda: prometheus.values('up{job="pod"}'), bool, FIRST_SCRAPE_SECONDS) == [1]
    assert prometheus.values('healthproxy_probe_success{probe="/healthy"}') == [1]
    assert prometheus.values('healthproxy_probe_duration_seconds_count{probe="/healthy",result="success"}') == [1]
    assert prometheus.values('healthproxy_probes_total{probe="/healthy",reason="ok",result="success"}') == [1]


def test_promtool_has_nothing_to_say_against_the_metrics(promtool_binary: str, sidecar: Sidecar) -> None:
    command = [promtool_binary, "check", "metrics"]
    linted = subprocess.run(command, input=sidecar.metrics(), capture_output=True, text=True, check=False)
    assert (linted.returncode, linted.stdout + linted.stderr) == (0, "")
