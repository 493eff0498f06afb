"""Histories of a test's own making, on a clock that it sets."""

from __future__ import annotations

from collections.abc import Iterable

from healthproxy.history import History
from healthproxy.probe import HTTPGet, Outcome, Probe, Reason
from healthproxy.report import Report, make_report

PROBE = Probe("/healthy", HTTPGet(8080, "/healthy"))
WELL = Outcome(Reason.OK, "app answered 200", 200, 0.002)
HUNG = Outcome(Reason.TIMEOUT, "no answer within 0.9 s", duration=0.9012)
SICK = Outcome(Reason.STATUS, "app answered 503", 503, 0.004, b"no database\n")
OUR_FAULT = Outcome(Reason.INTERNAL, "healthproxy could not ask the app; its log says why")

START = 1_800_000_000.0
"""When histories begin: on a Friday at eight."""


class Clock:
    """A clock that a test sets."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def history_of(*outcomes: Outcome, probe: Probe = PROBE, clock: Clock | None = None) -> History:
    """Return the history of a probe that is asked at the end of each second from the start on."""
    clock = clock or Clock()
    history = History(clock.now, clock, clock)
    for outcome in outcomes:
        clock.now += 1
        history.observe(probe, outcome)
    return history


def report_of(*outcomes: Outcome, probe: Probe = PROBE, later: float = 0.0, refused: Iterable[tuple[str, str]] = ()) -> Report:
    """Return what is said of such a probe, that many seconds after the last outcome."""
    clock = Clock()
    history = history_of(*outcomes, probe=probe, clock=clock)
    for reason, source in refused:
        history.refused(reason, source)
    clock.now += later
    return make_report(history, [probe])
