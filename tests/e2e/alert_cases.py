"""Cases for promtool: for each alert a pod that makes it fire, pods that come close and must not, and one that is well.

Each pod is the series of a well one, an hour and a half of them by the minute, but for what its case changes. Runs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Series = Mapping[str, str]
"""Values in promtool's notation by metric, without the prefix; `probe` is `/healthy` where none is given."""

BUCKET = "probe_duration_seconds_bucket"
DELETED = {"kube_pod_deletion_timestamp": "60x90"}
WELL: Series = {
    "up": "1x90",
    "process_start_time_seconds": "0x90",
    'build_info{version="1",python="3"}': "1x90",
    "probe_consecutive_failures": "0x90",
    "probe_failure_threshold": "3x90",
    "probe_period_seconds": "10x90",
    "probe_timeout_seconds": "1x90",
    "probe_first_success_seconds": "5x90",
    "probe_last_success_timestamp_seconds": "5+60x90",
    "probe_last_request_timestamp_seconds": "5+60x90",
    'probes_total{result="unknown",reason="internal"}': "0x90",
    'refused_requests_total{reason="unknown_path"}': "0x90",
    'refused_requests_total{reason="method"}': "0x90",
    **{f'{BUCKET}{{result="success",le="{le}"}}': "0+6x90" for le in ("0.5", "1", "2.5", "+Inf")},
    **{f'{BUCKET}{{result="failure",le="{le}"}}': "0x90" for le in ("0.5", "1", "2.5", "+Inf")},
}
NEVER_WELL = {"probe_last_success_timestamp_seconds": "0x90", "probe_first_success_seconds": "0x90"}
NOT_SINCE_MINUTE_2 = {"probe_last_request_timestamp_seconds": "0 60 120x90"}
NEVER = {"probe_last_request_timestamp_seconds": "0x90"}


@dataclass(frozen=True, slots=True)
class Case:
    """One alert: when its first pod makes it fire, what it then says, and when it must be silent for all pods."""

    alert: str
    fires: str
    silent: tuple[str, ...]
    description: str
    pods: Mapping[str, Series]
    """By the name of the pod, which says what is the matter with it."""
    labels: Mapping[str, str] = field(default_factory=lambda: {"probe": "/healthy"})
    """What the alert has beside those of the pod and its severity."""


def slow(result: str, values: str, *, above: str) -> Series:
    """Add probes of a result that took longer than one bucket and no longer than the next."""
    bounds = ("0.5", "1", "2.5", "+Inf")
    return {f'{BUCKET}{{result="{result}",le="{le}"}}': values for le in bounds[bounds.index(above) + 1 :]}


CASES = (
    Case(
        "HealthproxyProbeFailing",
        "5m",
        ("4m",),
        "Probe /healthy of shop/fails has failed 5 times in a row. The kubelet takes the pod out of service, or restarts the "
        "container if it is a liveness probe.",
        {
            "fails": {"probe_consecutive_failures": "0+1x90"},
            "one-below": {"probe_consecutive_failures": "2x90"},
            "never-well": {"probe_consecutive_failures": "3x90", **NEVER_WELL},
            "deleted": {"probe_consecutive_failures": "3x90", **DELETED},
        },
    ),
    Case(
        "HealthproxyProbeNeverSucceeded",
        "7m",
        ("6m",),
        "Probe /healthy of shop/starts has failed all of its 8 times, failureThreshold or more.",
        {
            "starts": {"probe_consecutive_failures": "1+1x90", **NEVER_WELL},
            "has-been-well": {"probe_consecutive_failures": "1+1x90"},
            "has-more-time": {"probe_consecutive_failures": "1+1x90", "probe_failure_threshold": "30x90", **NEVER_WELL},
            "deleted": {"probe_consecutive_failures": "1+1x90", **NEVER_WELL, **DELETED},
        },
    ),
    Case(
        "HealthproxyProbeNearThreshold",
        "11m",
        ("2m", "3m", "6m", "13m"),
        "Consecutive failures of probe /healthy of shop/near within the last 5 minutes: 2. One more and the kubelet acts.",
        {
            "near": {"probe_consecutive_failures": "0x6 2 0x90"},
            "starts": {"probe_consecutive_failures": "1 2 0x90", "probe_last_success_timestamp_seconds": "0 0 125+60x90"},
            "reaches-it": {"probe_consecutive_failures": "0x8 2 3 0x90"},
            "one-is-enough": {"probe_failure_threshold": "1x90"},
            "deleted": {"probe_consecutive_failures": "0x6 2 0x90", **DELETED},
        },
    ),
    Case(
        "HealthproxyProbeSlow",
        "23m",
        ("21m", "22m", "60m"),
        "Probe /healthy of shop/slow-failures: the 99th percentile, as far as the histogram's buckets tell, is 96.5% of "
        "timeoutSeconds.",
        {
            "slow-failures": slow("failure", "0x10 0+1x20 20x60", above="0.5"),
            "one-slow-probe": slow("failure", "0x10 1x80", above="1"),
            "long-timeout": {"probe_timeout_seconds": "2x90", **slow("failure", "0x10 0+1x20 20x60", above="0.5")},
            "no-probes": dict.fromkeys([name for name in WELL if name.startswith(BUCKET)], "7x90"),
        },
    ),
    Case(
        "HealthproxyProbeSlowStart",
        "59m",
        ("60m",),
        "Probe /healthy of shop/late succeeded for the first time 1m 35s after healthproxy started: a startup probe with these "
        "settings gives up earlier.",
        {
            "late": {"probe_first_success_seconds": "95x90"},
            "in-time": {"probe_first_success_seconds": "30x90"},
            "after-a-startup-probe": {
                "probe_first_success_seconds": "95x90",
                'probe_period_seconds{probe="/startup"}': "10x90",
                'probe_failure_threshold{probe="/startup"}': "30x90",
            },
        },
    ),
    Case(
        "HealthproxyNotAsked",
        "11m",
        ("10m",),
        "No probe of shop/left has been asked for 9m 0s, more than three periods of each.",
        {
            "left": {
                **NOT_SINCE_MINUTE_2,
                "probe_period_seconds": "60x90",
                'probe_last_request_timestamp_seconds{probe="/startup"}': "0 60x90",
                'probe_period_seconds{probe="/startup"}': "1x90",
                'probe_last_request_timestamp_seconds{probe="/never"}': "0x90",
                'probe_period_seconds{probe="/never"}': "1x90",
            },
            "past-its-startup-probe": {
                'probe_last_request_timestamp_seconds{probe="/startup"}': "0 60 120x90",
                'probe_period_seconds{probe="/startup"}': "10x90",
            },
            "with-long-periods": {**NOT_SINCE_MINUTE_2, "probe_period_seconds": "300x90"},
            "never-asked": NEVER,
            "deleted": {**NOT_SINCE_MINUTE_2, **DELETED},
        },
        labels={},
    ),
    Case(
        "HealthproxyNeverAsked",
        "14m",
        ("13m",),
        "No probe of shop/forgotten has been asked since healthproxy started 14m 0s ago.",
        {
            "forgotten": {**NEVER, "probe_period_seconds": "60x90"},
            "asked-once": NOT_SINCE_MINUTE_2,
            "one-of-two": {'probe_last_request_timestamp_seconds{probe="/never"}': "0x90"},
            "with-long-periods": {**NEVER, "probe_period_seconds": "600x90", 'probe_period_seconds{probe="/other"}': "1x90"},
            "deleted": {**NEVER, **DELETED},
        },
        labels={},
    ),
    Case(
        "HealthproxyRequestsRefused",
        "15m",
        ("4m", "45m"),
        "The open port of shop/scanned has refused about 20 requests in 10 minutes for reason unknown_path.",
        {
            "scanned": {'refused_requests_total{reason="unknown_path"}': "0x3 0+2x20 40x60"},
            "now-and-then": {'refused_requests_total{reason="unknown_path"}': "0+1x90"},
        },
        labels={"reason": "unknown_path"},
    ),
    Case(
        "HealthproxyInternalError",
        "15m",
        ("4m", "17m"),
        "Requests for probe /healthy of shop/broken that ended in a fault of healthproxy's own within 10 minutes: about 1. The "
        "kubelet takes each for a failure.",
        {
            "broken": {'probes_total{result="unknown",reason="internal"}': "0x5 1x90"},
            "app-refuses": {'probes_total{result="failure",reason="refused"}': "0+1x90"},
        },
    ),
    Case(
        "HealthproxyRestarting",
        "10m",
        ("4m", "68m"),
        "healthproxy of shop/crashing has restarted 2 times within an hour.",
        {
            "crashing": {"process_start_time_seconds": "0x3 180 180 300x90"},
            "restarted-once": {"process_start_time_seconds": "0x3 180x90"},
        },
        labels={},
    ),
    Case(
        "HealthproxyDown",
        "6m",
        ("5m",),
        "The admin port of shop/down (down:15190) does not answer Prometheus: nothing is known of its probes.",
        {"down": {"up": "1 0x90"}, "misses-one-scrape": {"up": "1 0 1x90"}},
        labels={},
    ),
)


def promtool_input(cases: tuple[Case, ...], rules: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Write the cases as `promtool test rules` reads them; what the rules say word for word is taken from there."""
    tests = [_test(case, rules[case.alert]) for case in cases]
    absent = rules["HealthproxyAbsent"]
    job = {"job": "healthproxy", **absent["labels"]}
    alert = {"exp_labels": job, "exp_annotations": absent["annotations"]}
    tests.append(_group([], [("9m", "HealthproxyAbsent", []), ("10m", "HealthproxyAbsent", [alert])]))
    tests.append(_group(_pod("down", {"up": "0x90"}), [("15m", "HealthproxyAbsent", [])]))
    return {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}


def _test(case: Case, rule: Mapping[str, Any]) -> dict[str, Any]:
    fires = next(iter(case.pods))
    alert = {
        "exp_labels": {**_labels(fires), **case.labels, **rule["labels"]},
        "exp_annotations": {**rule["annotations"], "description": case.description},
    }
    series = [line for name, changes in {**case.pods, "well": {}}.items() for line in _pod(name, changes)]
    other = {"series": 'up{job="other",namespace="shop",pod="other"}', "values": "0x90"}
    crashing = {"series": 'process_start_time_seconds{namespace="shop",pod="other"}', "values": "0+60x90"}
    silent = [(time, case.alert, list[Any]()) for time in case.silent]
    return _group([*series, other, crashing], [*silent, (case.fires, case.alert, [alert])])


def _group(series: list[dict[str, str]], expected: list[tuple[str, str, list[Any]]]) -> dict[str, Any]:
    asked = [{"eval_time": time, "alertname": name, "exp_alerts": alerts} for time, name, alerts in expected]
    return {"name": expected[0][1], "interval": "1m", "input_series": series, "alert_rule_test": asked}


def _labels(pod: str) -> dict[str, str]:
    return {"namespace": "shop", "pod": pod, "container": "hp", "job": "healthproxy", "instance": f"{pod}:15190"}


def _pod(pod: str, changes: Series) -> list[dict[str, str]]:
    return [{"series": _series(pod, short), "values": values} for short, values in {**WELL, **changes}.items()]


def _series(pod: str, short: str) -> str:
    name, _, written = short.partition("{")
    labels = [f'{key}="{value}"' for key, value in _labels(pod).items()]
    if name.startswith("kube_"):  # what kube-state-metrics says of a pod has labels of its own
        labels = [f'namespace="shop",pod="{pod}",uid="1"']
    elif not name.startswith(("up", "process_")):
        name = f"healthproxy_{name}"
    if written:
        labels.append(written.removesuffix("}"))
    if name.startswith("healthproxy_probe") and "probe=" not in written:
        labels.append('probe="/healthy"')
    return f"{name}{{{','.join(labels)}}}"
