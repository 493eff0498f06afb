"""The last outcomes: what state each probe is in, since when, and the log line when that changes.

One line per change, none per probe. Knows neither callers nor metrics.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from healthproxy.probe import Outcome, Probe, Result

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _State:
    result: Result | None = None
    since: float = 0.0
    ever_well: bool = False


class History:
    """The state of every probe."""

    def __init__(self, started: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Know nothing yet; `clock` gives seconds, `started` is when the process did by that clock."""
        self._clock = clock
        self._started = started
        self._states: dict[str, _State] = {}

    def observe(self, probe: Probe, outcome: Outcome) -> None:
        """Take in an outcome and log it if it changes the probe's state."""
        if outcome.result is Result.UNKNOWN:
            return  # the boundary that made it has logged it
        state = self._states.get(probe.key, _State())
        if outcome.result is state.result:
            return
        now = self._clock()
        fields: dict[str, object] = {"probe": probe.key, "reason": str(outcome.reason)}
        if outcome.result is Result.FAILURE:
            fields["duration_seconds"] = round(outcome.duration, 4)
            log.warning("probe %s fails: %s", probe.key, outcome.detail, extra={"fields": fields | {"event": "failing"}})
        elif not state.ever_well:
            fields["after_seconds"] = round(now - self._started, 3)
            text = "probe %s succeeds for the first time, %.1f s after start"
            log.info(text, probe.key, now - self._started, extra={"fields": fields | {"event": "first_success"}})
        else:
            fields["down_seconds"] = round(now - state.since, 3)
            text = "probe %s succeeds again after %.1f s"
            log.info(text, probe.key, now - state.since, extra={"fields": fields | {"event": "recovered"}})
        self._states[probe.key] = _State(outcome.result, now, state.ever_well or outcome.result is Result.SUCCESS)
