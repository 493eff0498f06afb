"""Every metric: names, labels, buckets, and the registry that the admin port serves.

All children exist from the start, and no label takes a value that a caller chose. Must not be asked for anything but a scrape.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

from healthproxy import __version__
from healthproxy.probe import Outcome, Probe, Reason, Result

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds."""
MAX_CODE = 599
"""The highest status that gets a series; an app may write up to 999."""
REFUSALS = ("unknown_path", "method", "malformed", "body", "too_large", "source", "header_timeout", "evicted")
"""Why the open port turns a request away."""


class Metrics:
    """The metrics of one sidecar."""

    def __init__(self, probes: Iterable[Probe], open_connections: Callable[[], float], started: float) -> None:
        """Register everything; `open_connections` is asked at each scrape, `started` is when we did, by `time.monotonic`."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus-client leaves it so
        self.registry = CollectorRegistry()
        self._families = _Families(self.registry)
        self._probes = {probe.key: _ProbeMetrics(self._families, probe, started) for probe in probes}
        self._refused = {reason: self._families.refused.labels(reason) for reason in REFUSALS}
        self._families.open_connections.set_function(open_connections)
        self._families.build_info.labels(__version__, platform.python_version()).set(1)
        ProcessCollector(registry=self.registry)

    def observe(self, probe: Probe, outcome: Outcome) -> None:
        """Count one request to the app."""
        self._probes[probe.key].observe(outcome)

    def shared(self, probe: Probe) -> None:
        """Count a caller answered without a request of his own."""
        self._probes[probe.key].shared.inc()

    def refused(self, reason: str) -> None:
        """Count a request that the open port turned away."""
        self._refused[reason].inc()


class _Families:
    """The metric families: the one place with names, help texts and labels."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"healthproxy_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"healthproxy_{name}", text, labels, registry=registry)

        self.duration = Histogram(
            "healthproxy_probe_duration_seconds",
            "Time from the first connection attempt to the verdict, failures and timeouts included.",
            ("probe", "result"),
            buckets=BUCKETS,
            registry=registry,
        )
        self.probes = counter("probes", "Requests to the app, by verdict and why.", "probe", "result", "reason")
        self.codes = counter("app_responses", "Answers of the app, by status code.", "probe", "code")
        self.success = gauge("probe_success", "Whether the last request to the app was a success.", "probe")
        self.failures = gauge("probe_consecutive_failures", "Failures since the last success.", "probe")
        self.threshold = gauge("probe_failure_threshold", "Configured failureThreshold.", "probe")
        self.timeout = gauge("probe_timeout_seconds", "Configured timeoutSeconds.", "probe")
        self.period = gauge("probe_period_seconds", "Configured periodSeconds.", "probe")
        self.last_request = gauge("probe_last_request_timestamp_seconds", "When the app was last asked; 0 is never.", "probe")
        self.last_success = gauge("probe_last_success_timestamp_seconds", "When the app was last well; 0 is never.", "probe")
        self.first_success = gauge(
            "probe_first_success_seconds", "Time from the start of healthproxy to the first success; 0 is not yet.", "probe"
        )
        self.shared = counter("shared_answers", "Callers answered without a request of their own to the app.", "probe")
        self.refused = counter("refused_requests", "Requests that the open port turned away.", "reason")
        self.open_connections = gauge("open_connections", "Connections of the open port.")
        self.build_info = gauge("build_info", "Versions; always 1.", "version", "python")


class _ProbeMetrics:
    """The children of one probe, looked up once; its gauges are asked at each scrape rather than set at each probe."""

    def __init__(self, families: _Families, probe: Probe, started: float) -> None:
        key = probe.key
        self._families = families
        self._key = key
        self._started = started
        self._failures = 0
        self._last_request = self._last_success = self._first_success = 0.0
        self._durations = {result: families.duration.labels(key, result) for result in (Result.SUCCESS, Result.FAILURE)}
        self._counts = {reason: families.probes.labels(key, reason.result, reason) for reason in Reason}
        self._codes: dict[int, Counter] = {}
        self.shared = families.shared.labels(key)
        families.threshold.labels(key).set(probe.failure_threshold)
        families.timeout.labels(key).set(probe.timeout)
        families.period.labels(key).set(probe.period)
        families.success.labels(key).set_function(lambda: self._failures == 0 and self._last_success > 0)
        families.failures.labels(key).set_function(lambda: self._failures)
        families.last_request.labels(key).set_function(lambda: self._last_request)
        families.last_success.labels(key).set_function(lambda: self._last_success)
        families.first_success.labels(key).set_function(lambda: self._first_success)

    def observe(self, outcome: Outcome) -> None:
        self._counts[outcome.reason].inc()
        if outcome.code is not None and outcome.code <= MAX_CODE:
            self._code(outcome.code).inc()
        self._last_request = time.time()
        result = outcome.result
        if result is Result.UNKNOWN:
            return  # says nothing about the app
        self._durations[result].observe(outcome.duration)
        if result is Result.FAILURE:
            self._failures += 1
            return
        self._failures = 0
        self._last_success = self._last_request
        if not self._first_success:
            self._first_success = time.monotonic() - self._started

    def _code(self, code: int) -> Counter:
        if code not in self._codes:
            self._codes[code] = self._families.codes.labels(self._key, str(code))
        return self._codes[code]
