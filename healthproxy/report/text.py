"""The report as plain text, for a person with curl: a line a probe, and why it fails."""

from __future__ import annotations

from collections.abc import Sequence

from healthproxy.report import words
from healthproxy.report.summary import ProbeReport, Report

PAGES = """\
/         this; a page of it for browsers
/history  all of it as JSON
/metrics  what Prometheus scrapes
/livez    healthproxy's own health
/readyz   the same; the app's health is answered on the open port
"""
_HEADINGS = ("STATE", "PROBE", "FOR", "FAILURES", "LAST SUCCESS", "ASKED", "P50", "P99", "DEADLINE", "WHY")


def render_text(report: Report) -> str:
    """Write a table of the probes, their warnings, who was refused, and the pages there are."""
    first = f"healthproxy {report.version} on {report.host}, up {words.span(report.uptime)}: {words.headline(report)}"
    parts = [first, _table([_HEADINGS, *[_row(probe, report.now) for probe in report.probes]])]
    warnings = [
        f"{probe.probe.key}: {words.warning(kind, probe, report.now)}" for probe in report.probes for kind in probe.warnings
    ]
    refused = [
        f"refused {refused.count}: {words.REFUSALS[refused.reason]}, last {words.ago(refused.last, report.now)}"
        for refused in report.refused
    ]
    return "\n\n".join([*parts, *["\n".join(lines) for lines in (warnings, refused) if lines], PAGES])


def _row(report: ProbeReport, now: float) -> Sequence[str]:
    durations = report.durations
    return (
        words.state(report),
        report.probe.key,
        words.span(now - report.since) if report.since is not None else "",
        words.streak(report),
        words.ago(report.last_success, now),
        words.ago(report.last_request, now),
        words.duration(durations.p50) if durations else "",
        words.duration(durations.p99) if durations else "",
        words.duration(report.probe.deadline),
        report.why.detail if report.why else "",
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=True)]) for row in rows]
    return "\n".join([line.rstrip() for line in lines])
