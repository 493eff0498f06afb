"""Every metric by its literal text: the names are public API."""

import platform
import time

import pytest
from prometheus_client import generate_latest

from healthproxy import __version__
from healthproxy.metrics import Metrics
from healthproxy.probe import HTTPGet, Outcome, Probe, Reason

PROBE = Probe("/healthy", HTTPGet(8080), timeout=2.0, period=5.0, failure_threshold=4)

AT_START = """\
# HELP healthproxy_probe_duration_seconds Time from the first connection attempt to the verdict, failures and timeouts included.
# TYPE healthproxy_probe_duration_seconds histogram
healthproxy_probe_duration_seconds_bucket{le="0.001",probe="/healthy",result="success"} 0.0
healthproxy_probe_duration_seconds_bucket{le="0.0025",probe="/healthy",result="success"} 0.0
healthproxy_probe_duration_seconds_bucket{le="0.005",probe="/healthy",result="success"} 0.0
healthproxy_probe_duration_seconds_bucket{le="0.01",probe="/healthy",result="success"} 0.0
healthproxy_probe_duration_seconds_bucket{le="0.025",probe="/healthy",result="success"} 0.0
healthproxy_probe_duration_seconds_bucket{le="0.05",probe="/healthy",result="success"} 0.0
healthproxy_probe_duration_seconds_bucket{le="0.1",probe="/healthy",result="success"} 0.0
healthproxy_probe_duration_seconds_bucket{le="0.25",probe="/healthy",result="success"} 0.0
healthproxy_probe_duration_seconds_bucket{le="0.5",probe="/healthy",result="success"} 0.0
healthproxy_probe_duration_seconds_bucket{le="1.0",probe="/healthy",result="success"} 0.0
healthproxy_probe_duration_seconds_bucket{le="2.5",probe="/healthy",result="success"} 0.0
healthproxy_probe_duration_seconds_bucket{le="5.0",probe="/healthy",result="success"} 0.0
healthproxy_probe_duration_seconds_bucket{le="10.0",probe="/healthy",result="success"} 0.0
healthproxy_probe_duration_seconds_bucket{le="+Inf",probe="/healthy",result="success"} 0.0
healthproxy_probe_duration_seconds_count{probe="/healthy",result="success"} 0.0
healthproxy_probe_duration_seconds_sum{probe="/healthy",result="success"} 0.0
healthproxy_probe_duration_seconds_bucket{le="0.001",probe="/healthy",result="failure"} 0.0
healthproxy_probe_duration_seconds_bucket{le="0.0025",probe="/healthy",result="failure"} 0.0
healthproxy_probe_duration_seconds_bucket{le="0.005",probe="/healthy",result="failure"} 0.0
healthproxy_probe_duration_seconds_bucket{le="0.01",probe="/healthy",result="failure"} 0.0
healthproxy_probe_duration_seconds_bucket{le="0.025",probe="/healthy",result="failure"} 0.0
healthproxy_probe_duration_seconds_bucket{le="0.05",probe="/healthy",result="failure"} 0.0
healthproxy_probe_duration_seconds_bucket{le="0.1",probe="/healthy",result="failure"} 0.0
healthproxy_probe_duration_seconds_bucket{le="0.25",probe="/healthy",result="failure"} 0.0
healthproxy_probe_duration_seconds_bucket{le="0.5",probe="/healthy",result="failure"} 0.0
healthproxy_probe_duration_seconds_bucket{le="1.0",probe="/healthy",result="failure"} 0.0
healthproxy_probe_duration_seconds_bucket{le="2.5",probe="/healthy",result="failure"} 0.0
healthproxy_probe_duration_seconds_bucket{le="5.0",probe="/healthy",result="failure"} 0.0
healthproxy_probe_duration_seconds_bucket{le="10.0",probe="/healthy",result="failure"} 0.0
healthproxy_probe_duration_seconds_bucket{le="+Inf",probe="/healthy",result="failure"} 0.0
healthproxy_probe_duration_seconds_count{probe="/healthy",result="failure"} 0.0
healthproxy_probe_duration_seconds_sum{probe="/healthy",result="failure"} 0.0
# HELP healthproxy_probes_total Requests to the app, by verdict and why.
# TYPE healthproxy_probes_total counter
healthproxy_probes_total{probe="/healthy",reason="ok",result="success"} 0.0
healthproxy_probes_total{probe="/healthy",reason="redirect",result="success"} 0.0
healthproxy_probes_total{probe="/healthy",reason="status",result="failure"} 0.0
healthproxy_probes_total{probe="/healthy",reason="not_serving",result="failure"} 0.0
healthproxy_probes_total{probe="/healthy",reason="refused",result="failure"} 0.0
healthproxy_probes_total{probe="/healthy",reason="reset",result="failure"} 0.0
healthproxy_probes_total{probe="/healthy",reason="timeout",result="failure"} 0.0
healthproxy_probes_total{probe="/healthy",reason="tls",result="failure"} 0.0
healthproxy_probes_total{probe="/healthy",reason="protocol",result="failure"} 0.0
healthproxy_probes_total{probe="/healthy",reason="internal",result="unknown"} 0.0
# HELP healthproxy_app_responses_total Answers of the app, by status code.
# TYPE healthproxy_app_responses_total counter
# HELP healthproxy_probe_success Whether the last request to the app was a success.
# TYPE healthproxy_probe_success gauge
healthproxy_probe_success{probe="/healthy"} 0.0
# HELP healthproxy_probe_consecutive_failures Failures since the last success.
# TYPE healthproxy_probe_consecutive_failures gauge
healthproxy_probe_consecutive_failures{probe="/healthy"} 0.0
# HELP healthproxy_probe_failure_threshold Configured failureThreshold.
# TYPE healthproxy_probe_failure_threshold gauge
healthproxy_probe_failure_threshold{probe="/healthy"} 4.0
# HELP healthproxy_probe_timeout_seconds Configured timeoutSeconds.
# TYPE healthproxy_probe_timeout_seconds gauge
healthproxy_probe_timeout_seconds{probe="/healthy"} 2.0
# HELP healthproxy_probe_period_seconds Configured periodSeconds.
# TYPE healthproxy_probe_period_seconds gauge
healthproxy_probe_period_seconds{probe="/healthy"} 5.0
# HELP healthproxy_probe_last_request_timestamp_seconds When the app was last asked; 0 is never.
# TYPE healthproxy_probe_last_request_timestamp_seconds gauge
healthproxy_probe_last_request_timestamp_seconds{probe="/healthy"} 0.0
# HELP healthproxy_probe_last_success_timestamp_seconds When the app was last well; 0 is never.
# TYPE healthproxy_probe_last_success_timestamp_seconds gauge
healthproxy_probe_last_success_timestamp_seconds{probe="/healthy"} 0.0
# HELP healthproxy_probe_first_success_seconds Time from the start of healthproxy to the first success; 0 is not yet.
# TYPE healthproxy_probe_first_success_seconds gauge
healthproxy_probe_first_success_seconds{probe="/healthy"} 0.0
# HELP healthproxy_shared_answers_total Callers answered without a request of their own to the app.
# TYPE healthproxy_shared_answers_total counter
healthproxy_shared_answers_total{probe="/healthy"} 0.0
# HELP healthproxy_refused_requests_total Requests that the open port turned away.
# TYPE healthproxy_refused_requests_total counter
healthproxy_refused_requests_total{reason="unknown_path"} 0.0
healthproxy_refused_requests_total{reason="method"} 0.0
healthproxy_refused_requests_total{reason="malformed"} 0.0
healthproxy_refused_requests_total{reason="body"} 0.0
healthproxy_refused_requests_total{reason="too_large"} 0.0
healthproxy_refused_requests_total{reason="source"} 0.0
healthproxy_refused_requests_total{reason="header_timeout"} 0.0
healthproxy_refused_requests_total{reason="evicted"} 0.0
# HELP healthproxy_open_connections Connections of the open port.
# TYPE healthproxy_open_connections gauge
healthproxy_open_connections 7.0
# HELP healthproxy_build_info Versions; always 1.
# TYPE healthproxy_build_info gauge
healthproxy_build_info{python="PYTHON",version="VERSION"} 1.0
"""


@pytest.fixture
def metrics() -> Metrics:
    return Metrics([PROBE], lambda: 7, time.monotonic() - 100)


def text(metrics: Metrics) -> str:
    """What a scrape shows of our own metrics."""
    lines = generate_latest(metrics.registry).decode().splitlines(keepends=True)
    return "".join(lines[: next(number for number, line in enumerate(lines) if "process_" in line)])


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"healthproxy_{name}", labels)


def test_everything_is_there_before_the_first_probe(metrics):
    assert text(metrics) == AT_START.replace("PYTHON", platform.python_version()).replace("VERSION", __version__)


def test_the_process_is_measured_and_no_series_says_when_it_was_created(metrics):
    scrape = generate_latest(metrics.registry).decode()
    assert "process_resident_memory_bytes" in scrape
    assert "_created" not in scrape


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.INTERNAL])
def test_each_request_to_the_app_is_counted_and_timed_failures_included(metrics, reason):
    metrics.observe(PROBE, Outcome(reason, "", duration=0.9))
    assert sample(metrics, "probes_total", probe="/healthy", reason=reason, result=reason.result) == 1
    assert sample(metrics, "probe_duration_seconds_count", probe="/healthy", result=reason.result) == 1
    assert sample(metrics, "probe_duration_seconds_sum", probe="/healthy", result=reason.result) == 0.9


def test_a_fault_of_our_own_is_counted_and_says_nothing_about_the_app(metrics):
    metrics.observe(PROBE, Outcome(Reason.OK, "", 200))
    metrics.observe(PROBE, Outcome(Reason.INTERNAL, ""))
    assert sample(metrics, "probes_total", probe="/healthy", reason="internal", result="unknown") == 1
    assert sample(metrics, "probe_success", probe="/healthy") == 1
    assert sample(metrics, "probe_consecutive_failures", probe="/healthy") == 0


def test_a_fault_of_our_own_shows_that_somebody_asks(metrics):
    metrics.observe(PROBE, Outcome(Reason.INTERNAL, ""))
    assert sample(metrics, "probe_last_request_timestamp_seconds", probe="/healthy")


def test_failures_in_a_row_are_counted_and_a_success_ends_the_row(metrics):
    seen = []
    for reason in (Reason.STATUS, Reason.TIMEOUT, Reason.OK, Reason.REFUSED):
        metrics.observe(PROBE, Outcome(reason, ""))
        seen.append(
            (sample(metrics, "probe_consecutive_failures", probe="/healthy"), sample(metrics, "probe_success", probe="/healthy"))
        )
    assert seen == [(1, 0), (2, 0), (0, 1), (1, 0)]


def test_the_first_success_is_timed_once(metrics):
    metrics.observe(PROBE, Outcome(Reason.REFUSED, ""))
    assert sample(metrics, "probe_first_success_seconds", probe="/healthy") == 0
    metrics.observe(PROBE, Outcome(Reason.OK, "", 200))
    first = sample(metrics, "probe_first_success_seconds", probe="/healthy")
    metrics.observe(PROBE, Outcome(Reason.OK, "", 200))
    assert first is not None
    assert 100 < first < 110
    assert first == sample(metrics, "probe_first_success_seconds", probe="/healthy")


def test_codes_of_the_app_get_a_child_when_they_are_seen(metrics):
    metrics.observe(PROBE, Outcome(Reason.STATUS, "", 418))
    metrics.observe(PROBE, Outcome(Reason.STATUS, "", 418))
    assert sample(metrics, "app_responses_total", probe="/healthy", code="418") == 2
    assert sample(metrics, "app_responses_total", probe="/healthy", code="200") is None


def test_a_code_that_http_does_not_have_gets_no_series(metrics):
    metrics.observe(PROBE, Outcome(Reason.STATUS, "", 999))
    assert sample(metrics, "app_responses_total", probe="/healthy", code="999") is None
    assert sample(metrics, "probes_total", probe="/healthy", reason="status", result="failure") == 1


def test_two_sidecars_in_one_process_do_not_share_a_metric(metrics):
    other = Metrics([PROBE], lambda: 0, 0.0)
    metrics.refused("body")
    metrics.shared(PROBE)
    assert (sample(metrics, "refused_requests_total", reason="body"), sample(other, "refused_requests_total", reason="body")) == (
        1,
        0,
    )
    assert sample(metrics, "shared_answers_total", probe="/healthy") == 1
