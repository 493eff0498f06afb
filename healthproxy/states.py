"""The log line of a probe that changes its state. One line per change, none per probe."""

from __future__ import annotations

import logging

from healthproxy.probe import Outcome, Probe

log = logging.getLogger(__name__)


def log_failing(probe: Probe, outcome: Outcome) -> None:
    """Tell that a probe fails which succeeded, or was not known yet."""
    fields = {"event": "failing", "duration_seconds": round(outcome.duration, 4)}
    log.warning("probe %s fails: %s", probe.key, outcome.detail, extra=_fields(probe, outcome, fields))


def log_first_success(probe: Probe, outcome: Outcome, seconds: float) -> None:
    """Tell that a probe succeeds for the first time, that long after the start."""
    fields = {"event": "first_success", "after_seconds": round(seconds, 3)}
    text = "probe %s succeeds for the first time, %.1f s after start"
    log.info(text, probe.key, seconds, extra=_fields(probe, outcome, fields))


def log_recovered(probe: Probe, outcome: Outcome, seconds: float) -> None:
    """Tell that a probe succeeds again that failed for so long."""
    fields = {"event": "recovered", "down_seconds": round(seconds, 3)}
    log.info("probe %s succeeds again after %.1f s", probe.key, seconds, extra=_fields(probe, outcome, fields))


def log_cannot_ask(probe: Probe, outcome: Outcome) -> None:
    """Tell that nothing can be said of a probe, for the fault is ours."""
    log.error("probe %s: %s", probe.key, outcome.detail, extra=_fields(probe, outcome, {"event": "cannot_ask"}))


def _fields(probe: Probe, outcome: Outcome, fields: dict[str, object]) -> dict[str, object]:
    return {"fields": {"probe": probe.key, "reason": str(outcome.reason), **fields}}
