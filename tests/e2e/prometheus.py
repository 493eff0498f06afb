"""A real Prometheus on a port of the system's choice, and what it answers.

Scrapes and evaluates each second. Ended by its id. Knows no metric.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .sidecar import BOUND_SECONDS, Lines, eventually

FIRST_SCRAPE_SECONDS = 30.0
"""Prometheus takes about six seconds from its start to its first scrape."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One series that a query found, and its present value."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A Prometheus that runs; make it with `running_prometheus`."""

    url: str

    def is_ready(self) -> bool:
        """Tell whether it answers queries yet."""
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=BOUND_SECONDS):
                return True
        except urllib.error.HTTPError:
            return False

    def query(self, expression: str) -> list[Sample]:
        """Return what a query finds now."""
        found = self._get("query", query=expression)["result"]
        return [Sample(series["metric"], float(series["value"][1])) for series in found]

    def values(self, expression: str) -> list[float]:
        """Return the present values of the series that a query finds."""
        return [sample.value for sample in self.query(expression)]

    def label_values(self, series: str, label: str) -> list[str]:
        """Return the values that a label takes in the series."""
        values: list[str] = self._get(f"label/{label}/values", **{"match[]": series})
        return values

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that are pending or firing, with their labels and annotations."""
        found: list[dict[str, Any]] = self._get("alerts")["alerts"]
        return found

    def _get(self, what: str, **parameters: str) -> Any:
        url = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=BOUND_SECONDS) as answer:
            return json.load(answer)["data"]


@contextlib.contextmanager
def running_prometheus(
    binary: str,
    directory: Path,
    targets: Sequence[Mapping[str, Any]],
    job: str = "healthproxy",
    rules: Mapping[str, Any] | None = None,
) -> Iterator[Prometheus]:
    """Run it while the context lasts; `targets` as in `static_configs`, `rules` as in a rule file."""
    each_second = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration: dict[str, Any] = {"global": each_second, "scrape_configs": [{"job_name": job, "static_configs": targets}]}
    if rules is not None:
        (directory / "rules.yml").write_text(json.dumps(rules))  # YAML takes JSON
        configuration["rule_files"] = ["rules.yml"]
    (directory / "prometheus.yml").write_text(json.dumps(configuration))
    flags = [f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data", "--log.format=json"]
    command = [binary, *flags, "--web.listen-address=127.0.0.1:0"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    log = Lines(process.stderr)
    try:
        prometheus = Prometheus(f"http://{json.loads(log.next_with('Listening on').text)['address']}")
        eventually(prometheus.is_ready, bool)
        yield prometheus
    finally:
        process.kill()
        process.wait()
        log.join()
