"""The report as JSON: the names and shapes that programs rely on, told in docs/history.md."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from healthproxy.report.summary import Failed, ProbeReport, Refused, Report


def render_json(report: Report) -> str:
    """Write the report in ASCII: what the app wrote in it does nothing to a terminal."""
    document = {
        "version": report.version,
        "host": report.host,
        "time": _time(report.now),
        "uptime_seconds": round(report.uptime, 3),
        "probes": [_probe(probe) for probe in report.probes],
        "refused": [_refused(refused) for refused in report.refused],
        "refused_lately": [{"source": refused.source} | _refused(refused) for refused in report.refused_lately],
    }
    return json.dumps(document, allow_nan=False) + "\n"


def _probe(report: ProbeReport) -> dict[str, Any]:
    probe, durations = report.probe, report.durations
    return {
        "probe": probe.key,
        "target": str(probe.action),
        "result": report.result,
        "since": _time(report.since),
        "warnings": report.warnings,
        "consecutive_failures": report.consecutive_failures,
        "failure_threshold": probe.failure_threshold,
        "timeout_seconds": probe.timeout,
        "deadline_seconds": round(probe.deadline, 6),
        "period_seconds": probe.period,
        "last_request": _time(report.last_request),
        "last_success": _time(report.last_success),
        "first_success_seconds": report.first_success and round(report.first_success, 3),
        "duration_seconds": durations and {name: round(getattr(durations, name), 6) for name in ("p50", "p95", "p99", "max")},
        "recent": [
            {"time": round(at, 3), "result": result, "reason": reason, "code": code, "duration_seconds": round(duration, 6)}
            for at, duration, code, reason, result in report.recent
        ],
        "failures": _failures(report.failures),
    }


def _failures(failures: Iterable[Failed]) -> list[dict[str, Any]]:
    return [
        {
            "first": _time(failed.first),
            "last": _time(failed.last),
            "count": failed.count,
            "result": failed.reason.result,
            "reason": failed.reason,
            "detail": failed.detail,
            "code": failed.code,
            "duration_seconds": round(failed.duration, 6),
            "body": failed.body,
            "body_cut": failed.cut,
        }
        for failed in failures
    ]


def _refused(refused: Refused) -> dict[str, Any]:
    return {"reason": refused.reason, "count": refused.count, "last": _time(refused.last)}


def _time(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
