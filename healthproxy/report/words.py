"""How people read it: durations, ages, times and the sentences that page and text share."""

from __future__ import annotations

import time

from healthproxy.probe import Result
from healthproxy.report.summary import EarlyWarning, Failed, ProbeReport, Report

_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))

REFUSALS = {
    "unknown_path": "not a configured path",
    "method": "neither GET nor HEAD",
    "malformed": "malformed request",
    "body": "request with a body",
    "too_large": "headers too large",
    "source": "source not allowed",
    "header_timeout": "no whole request in time",
    "evicted": "lost its place to others",
}
"""Why the open port turned somebody away."""


def duration(seconds: float) -> str:
    """Write a duration in three digits: 0.42 ms, 12.3 ms, 900 ms, 2.5 s."""
    return f"{seconds * 1000:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"


def span(seconds: float) -> str:
    """Write how long ago, or for how long, in its two largest units: 42 s, 4 min 10 s, 3 d 4 h."""
    left = max(0, int(seconds))
    largest = next((place for place, (_, size) in enumerate(_UNITS) if left >= size), len(_UNITS) - 1)
    words: list[str] = []
    for unit, size in _UNITS[largest : largest + 2]:
        number, left = divmod(left, size)
        if number or not words:
            words.append(f"{number} {unit}")
    return " ".join(words)


def clock(at: float, now: float) -> str:
    """Write a time of day in UTC, with its date if that is not today's."""
    then = time.gmtime(at)
    same_day = then[:3] == time.gmtime(now)[:3]
    return time.strftime("%H:%M:%S" if same_day else "%Y-%m-%d %H:%M:%S", then)


def ago(at: float | None, now: float) -> str:
    """Say how long ago."""
    return "never" if at is None else f"{span(now - at)} ago"


def state(report: ProbeReport) -> str:
    """Name the state of a probe."""
    if report.result is None:
        return "not asked yet" if report.last_request is None else "unknown"
    return "failing" if report.result is Result.FAILURE else "healthy"


def streak(report: ProbeReport) -> str:
    """Set failures in a row against the threshold."""
    failures, threshold = report.consecutive_failures, report.probe.failure_threshold
    return f"{failures} of {threshold}" if failures < threshold else f"{failures} in a row"


def why(failed: Failed, report: ProbeReport) -> str:
    """Say why a probe fails, and what the kubelet makes of it."""
    failures, threshold = report.consecutive_failures, report.probe.failure_threshold
    acts = f"; {failures} in a row, the kubelet acts at {threshold}" if failures >= threshold else ""
    return f"{failed.detail}{acts}"


def warning(kind: EarlyWarning, report: ProbeReport, now: float) -> str:
    """Say what is worth a look, and what it may mean."""
    match kind:
        case EarlyWarning.LAST_CHANCE:
            return f"{streak(report)}: one more and the kubelet acts"
        case EarlyWarning.NEAR_TIMEOUT:
            assert report.durations is not None
            share = report.durations.p99 / report.probe.timeout
            return f"p99 is {duration(report.durations.p99)}, {share:.0%} of timeoutSeconds: raise that, or make the app faster"
        case EarlyWarning.NOT_ASKED:
            if report.last_request is None:
                return "not asked yet: point the Pod's probe at this path on the open port, and exempt that port from the mesh"
            periods = int((now - report.last_request) / report.probe.period)
            otherwise = "the kubelet does not reach the open port any more"
            return f"no probe for {periods} periods: fine for a startup probe that has passed, else {otherwise}"


def headline(report: Report) -> str:
    """Say the state of all probes in one line."""
    results, count = [probe.result for probe in report.probes], len(report.probes)
    failing, healthy = results.count(Result.FAILURE), results.count(Result.SUCCESS)
    if failing:
        return "the probe fails" if count == 1 else f"{failing} of {count} probes fail"
    warnings = sum([len(probe.warnings) for probe in report.probes])
    more = f", {warnings} warning{'s' * (warnings > 1)}" if warnings else ""
    if healthy == count:
        return f"{'healthy' if count == 1 else f'all {count} probes healthy'}{more}"
    return f"{healthy} of {count} probes healthy, the others not asked yet{more}" if healthy else f"not asked yet{more}"
