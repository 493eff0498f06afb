"""The phases of one probe with their times, as `check` tells them. Judges nothing and writes nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from healthproxy.check.steps import Phase, Steps


@dataclass(slots=True)
class Step:
    """One phase; times in seconds since the probe began."""

    phase: Phase
    place: str
    began: float
    ended: float | None = None
    """None while it is under way."""
    found: str = ""
    error: Exception | None = None


@dataclass(slots=True)
class Hop:
    """One request: the first one, or one after a redirect."""

    target: str
    steps: list[Step] = field(default_factory=list)


class Timeline(Steps):
    """Keeps what it is told; the app chose what `text` and `found` say."""

    def __init__(self) -> None:
        """Start with nothing; the clock starts with the first request."""
        self.hops: list[Hop] = []
        self.code: int | None = None
        self.text = ""
        self.error: Exception | None = None
        """What ended the probe."""
        self._began = 0.0

    @property
    def last(self) -> Step:
        """The step in which the probe ended: the one that failed as it did, or else the latest."""
        steps = self.hops[-1].steps
        return next((step for step in steps if self.error and step.error is self.error), steps[-1])

    def ask(self, target: str) -> None:
        self._began = self._began or time.monotonic()
        self.hops.append(Hop(target))

    def begin(self, phase: Phase, place: str = "") -> None:
        self.end()
        self.error = None  # another address accepted
        self.hops[-1].steps.append(Step(phase, place, self._now()))

    def end(self, found: str = "") -> None:
        for step in self.hops[-1].steps[-1:]:
            if step.ended is None:
                step.ended, step.found = self._now(), found

    def fail(self, error: Exception) -> None:
        self.error = error
        for step in self.hops[-1].steps[-1:]:
            if step.ended is None:
                step.ended, step.error = self._now(), error

    def answer(self, code: int, text: str) -> None:
        self.code, self.text = code, text

    def _now(self) -> float:
        return time.monotonic() - self._began
