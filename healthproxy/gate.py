"""The gate: what stands between callers and the app. One flight at a time, and none within `min_interval` of the last.

A flight belongs to the gate, so a caller who leaves cancels nothing. Knows neither sockets nor metrics: it asks `ask_app`, and
tells `observe` and `shared` what happened.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine

from healthproxy.probe import Caller, Headers, Outcome, Probe, Reason
from healthproxy.turns import Answer, Turns

NO_TURN = Outcome(Reason.INTERNAL, "too many callers wait with other forwarded headers")
"""What a member is that could not be asked: it says nothing about the app."""


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
        self._turns = Turns()
        self.flight: asyncio.Task[None] | None = None
        """The request to the app that is under way."""
        self._started = float("-inf")
        self._asked = Caller("")
        """Whose flight it is, or was."""
        self._timer: asyncio.TimerHandle | None = None
        self._last: Outcome | None = None
        self._landed = float("-inf")
        self._told: Headers = ()
        """What was passed on of the caller who was told the last outcome."""

    @property
    def busy(self) -> bool:
        """Whether callers wait for an outcome."""
        return self.flight is not None or bool(self._turns)

    def ask(self, caller: Caller, answer: Answer) -> bool:
        """Have `answer` called with an outcome: at once from the last flight, later from this one, or from a new one.

        False, and nothing is called, where too many wait with other forwarded headers.
        """
        caller = caller.limited_to(self.probe.forward_headers)
        fresh = self._fresh()
        if self.flight is not None and caller.headers == self._asked.headers:
            self._waiting.append(answer)
            self._shared(self.probe)
        elif self.flight is None and fresh and self._last is not None and caller.headers == self._told:
            self._shared(self.probe)
            answer(self._last)
        elif self.flight is None and not fresh and not self._turns:
            self._start(caller, [answer])
        else:
            return self._wait(caller, answer)
        return True

    def leave(self, caller: Caller, answer: Answer) -> None:
        """Forget a caller who has gone; a flight under way goes on without him."""
        if answer in self._waiting:
            self._waiting.remove(answer)
        else:
            self._turns.remove(caller.limited_to(self.probe.forward_headers), answer)

    def hurry(self, caller: Caller, answer: Answer) -> bool:
        """Answer a caller who loses his place from the last outcome, if that is as young as in a row of flights; tell whether."""
        caller = caller.limited_to(self.probe.forward_headers)
        too_old = self._clock() - self._landed > self.probe.deadline + self._min_interval
        if self._last is None or too_old or caller.headers != self._told:
            return False
        self.leave(caller, answer)
        self._shared(self.probe)
        answer(self._last)
        return True

    def outcome(self, caller: Caller) -> asyncio.Future[Outcome]:
        """Ask, and return where the outcome will be."""
        future = asyncio.get_running_loop().create_future()
        if not self.ask(caller, future.set_result):
            future.set_result(NO_TURN)
        return future

    def _fresh(self) -> bool:
        """Tell whether it is too early for another request to the app."""
        return self._clock() - self._started < self._min_interval

    def _start(self, caller: Caller, answers: list[Answer]) -> None:
        self._waiting += answers
        self._asked = caller
        self._started = self._clock()
        flight = _task_at_once(self._fly(caller))
        if not flight.done():  # the app may have refused by now
            self.flight = flight

    def _wait(self, caller: Caller, answer: Answer) -> bool:
        """Wait for a flight with other forwarded headers than the last."""
        has_room = self._turns.add(caller, answer)
        self._schedule()
        return has_room

    def _schedule(self) -> None:
        """Have a turn taken as soon as may be, if anybody waits for one; a flight does this at its end."""
        if self._turns and self.flight is None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(self._started + self._min_interval, self._take_turn)

    def _take_turn(self) -> None:
        self._timer = None
        if self.flight is not None or self._fresh() or not self._turns:  # those who waited left, and others came in between
            self._schedule()
            return
        caller, answers = self._turns.take(self._asked.source)
        for _ in answers[1:]:
            self._shared(self.probe)
        self._start(caller, answers)

    async def _fly(self, caller: Caller) -> None:
        try:
            outcome = await self._ask_app(self.probe, caller)
        finally:
            self.flight = None  # even after a bug the next caller starts a new one, and it answers those who wait
            self._schedule()
        self._last, self._landed, self._told = outcome, self._clock(), caller.headers
        waiting, self._waiting = self._waiting, []
        for answer in waiting:
            answer(outcome)
        self._observe(self.probe, outcome)


def _task_at_once(coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
    """Start a task without waiting for the next turn of the loop: 3 % of the CPU of a probe a second. Before 3.12 it waits."""
    if sys.version_info >= (3, 12):
        return asyncio.Task(coroutine, loop=asyncio.get_running_loop(), eager_start=True)
    return asyncio.create_task(coroutine)
