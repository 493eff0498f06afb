"""The last outcomes of each probe, its state, and whom the open port turned away: bounded, and cheap to write.

Written at each probe, read when somebody looks. Keeps values only; what they say is `report`'s to tell.
"""

from __future__ import annotations

import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from healthproxy.probe import Outcome, Probe, Reason, Result
from healthproxy.states import log_cannot_ask, log_failing, log_first_success, log_recovered

RECENT = 360
"""Outcomes kept of each probe: an hour at the default period."""
FAILURES = 32
"""Failures kept of each probe, whatever comes after them; equal ones in a row take one place."""
SNIPPET = 256
"""Bytes kept of the body of a failure."""
REFUSALS = 64
"""Pairs of reason and source kept of those whom the open port turned away."""

_RECORD = struct.Struct("<dfHH")  # a tenth of what a tuple takes: a hundred probes may have this
_VERDICTS = tuple([(reason, reason.result) for reason in Reason])
_NUMBERS = {reason: number for number, reason in enumerate(Reason)}


class Record(NamedTuple):
    """One outcome, in short."""

    time: float
    """When it was there, by the clock of the wall: what a person compares with other logs."""
    duration: float
    code: int | None
    reason: Reason
    result: Result


@dataclass(slots=True)
class Failure:
    """One failure, or several equal ones with no success in between."""

    first: float
    last: float
    count: int
    outcome: Outcome
    """The last one; of its body a snippet."""
    cut: bool
    """Whether the body was longer than its snippet."""


@dataclass(slots=True)
class Refusals:
    """How often the open port turned somebody away, and when last."""

    count: int = 0
    last: float = 0.0

    def add(self, now: float) -> None:
        """Count one more."""
        self.count += 1
        self.last = now


@dataclass(slots=True)
class ProbeHistory:
    """What is known of one probe."""

    result: Result | None = None
    """The last verdict on the app; None as long as there is none."""
    since: float = 0.0
    """When it became that."""
    changed: float = 0.0
    """The same by the history's own clock, which nobody sets."""
    consecutive_failures: int = 0
    last_success: float | None = None
    first_success: float | None = None
    """Seconds after the start."""
    failures: deque[Failure] = field(default_factory=lambda: deque(maxlen=FAILURES))
    """Oldest first; a fault of our own is one, too."""
    going_on: Failure | None = None
    """The last of them, unless a success came after it."""
    _ring: bytearray = field(default_factory=lambda: bytearray(RECENT * _RECORD.size))
    _count: int = 0

    def keep(self, outcome: Outcome, now: float) -> None:
        """Keep an outcome in place of the oldest."""
        where = self._count % RECENT * _RECORD.size
        _RECORD.pack_into(self._ring, where, now, outcome.duration, outcome.code or 0, _NUMBERS[outcome.reason])
        self._count += 1

    def keep_failure(self, outcome: Outcome, now: float) -> None:
        """Keep more of an outcome that is no success."""
        kept, cut = replace(outcome, body=outcome.body[:SNIPPET], content_type=""), len(outcome.body) > SNIPPET
        going_on = self.going_on
        if going_on is not None and _told(going_on.outcome) == _told(outcome):
            going_on.last, going_on.count, going_on.outcome, going_on.cut = now, going_on.count + 1, kept, cut
        else:
            self.going_on = Failure(now, now, 1, kept, cut)
            self.failures.append(self.going_on)

    def recent(self) -> list[Record]:
        """Return the last outcomes, oldest first."""
        rows = _RECORD.iter_unpack(self._ring)
        records = [Record(at, duration, code or None, *_VERDICTS[number]) for at, duration, code, number in rows]
        oldest = self._count % RECENT
        return records[: self._count] if self._count < RECENT else records[oldest:] + records[:oldest]


def _told(outcome: Outcome) -> tuple[Reason, int | None, str]:
    return outcome.reason, outcome.code, outcome.detail


class History:
    """What is known of all probes, and of those whom the open port turned away."""

    def __init__(
        self, started: float, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        """Know nothing yet; `clock` gives seconds, `started` is when the process did by that clock, `wall` gives Unix time."""
        self.probes: dict[str, ProbeHistory] = {}
        """By key; a probe is there once it was asked."""
        self.refusals: dict[tuple[str, str], Refusals] = {}
        """By reason and source, the one that is longest ago first."""
        self.refused_in_all: dict[str, Refusals] = {}
        """By reason."""
        self._clock = clock
        self._wall = wall
        self._started = started

    @property
    def uptime(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._started

    def now(self) -> float:
        """Return the time by the clock that the outcomes were kept with."""
        return self._wall()

    def observe(self, probe: Probe, outcome: Outcome) -> None:
        """Take in an outcome; log it if it changes the probe's state."""
        known = self.probes.get(probe.key)
        if known is None:
            known = self.probes[probe.key] = ProbeHistory()
        now, result = self._wall(), outcome.result
        known.keep(outcome, now)
        if result is not Result.SUCCESS:
            known.keep_failure(outcome, now)
        if result is Result.UNKNOWN:
            if known.failures[-1].count == 1:
                log_cannot_ask(probe, outcome)
            return  # it says nothing about the app
        if result is not known.result:
            self._change(probe, known, outcome, now)
        if result is Result.SUCCESS:
            known.last_success, known.going_on = now, None
        else:
            known.consecutive_failures += 1

    def refused(self, reason: str, source: str) -> None:
        """Note that the open port turned away a request; `source` is an address."""
        now, pair = self._wall(), (reason, source)
        before = self.refusals.pop(pair, None)
        refusals = self.refusals[pair] = before or Refusals()  # at the end, as the latest
        refusals.add(now)
        self.refused_in_all.setdefault(reason, Refusals()).add(now)
        if len(self.refusals) > REFUSALS:
            del self.refusals[next(iter(self.refusals))]

    def _change(self, probe: Probe, known: ProbeHistory, outcome: Outcome, now: float) -> None:
        clock = self._clock()
        if outcome.result is Result.FAILURE:
            log_failing(probe, outcome)
        elif known.first_success is None:
            known.first_success = clock - self._started
            log_first_success(probe, outcome, known.first_success)
        else:
            log_recovered(probe, outcome, clock - known.changed)
        known.result, known.since, known.changed = outcome.result, now, clock
        known.consecutive_failures = 0
