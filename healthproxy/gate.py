"""The gate: what stands between callers and the app. One flight at a time, and none within `min_interval` of the last.

A flight belongs to the gate, so a caller who leaves cancels nothing. Knows neither sockets nor metrics: it asks `ask_app`, and
tells `observe` and `shared` what happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from healthproxy.probe import Caller, Outcome, Probe

Answer = Callable[[Outcome], None]
"""What a caller leaves behind to be told the outcome; must not raise."""


class Gate:
    """The gate of one probe."""

    def __init__(
        self,
        probe: Probe,
        min_interval: float,
        ask_app: Callable[[Probe, Caller], Awaitable[Outcome]],
        observe: Callable[[Probe, Outcome], None],
        shared: Callable[[Probe], None],
    ) -> None:
        """Make a gate.

        `min_interval`: seconds between the starts of two requests to the app. `ask_app` asks it and never raises. `observe` hears
        of each outcome once, `shared` of each caller answered without a request of his own.
        """
        self.probe = probe
        self._min_interval = min_interval
        self._ask_app = ask_app
        self._observe = observe
        self._shared = shared
        self._clock = asyncio.get_running_loop().time
        self._waiting: list[Answer] = []
        self.flight: asyncio.Task[None] | None = None
        """The request to the app that is under way."""
        self._started = float("-inf")
        self._last: Outcome | None = None

    def ask(self, caller: Caller, answer: Answer) -> None:
        """Have `answer` called with an outcome: at once from the last flight, later from this one, or from a new one."""
        if self.flight is not None:
            self._waiting.append(answer)
            self._shared(self.probe)
        elif self._last is not None and self._clock() - self._started < self._min_interval:
            self._shared(self.probe)
            answer(self._last)
        else:
            self._waiting.append(answer)
            self._started = self._clock()
            self.flight = asyncio.create_task(self._fly(caller))

    async def _fly(self, caller: Caller) -> None:
        try:
            outcome = await self._ask_app(self.probe, caller)
        finally:
            self.flight = None  # even after a bug the next caller starts a new one, and it answers those who wait
        self._last = outcome
        waiting, self._waiting = self._waiting, []
        for answer in waiting:
            answer(outcome)
        self._observe(self.probe, outcome)
