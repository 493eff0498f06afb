"""The gate: one flight at a time, none within `min_interval`, and callers who come and go."""

import asyncio

import pytest

from healthproxy.gate import Gate
from healthproxy.probe import Caller, HTTPGet, Outcome, Probe, Reason

PROBE = Probe("/healthy", HTTPGet(8080))
CALLER = Caller("10.1.0.87")
WELL = Outcome(Reason.OK, "app answered 200", 200)
SICK = Outcome(Reason.STATUS, "app answered 503", 503)


class Scene:
    """A gate whose app answers when it is told to, and what became of everybody."""

    def __init__(self, min_interval: float = 60.0) -> None:
        self.asked: list[Caller] = []
        self.observed: list[Outcome] = []
        self.shared = 0
        self.answers: list[Outcome] = []
        self.app: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.gate = Gate(PROBE, min_interval, self._ask_app, lambda _, outcome: self.observed.append(outcome), self._count)

    async def _ask_app(self, _: Probe, caller: Caller) -> Outcome:
        self.asked.append(caller)
        return await self.app

    def _count(self, _: Probe) -> None:
        self.shared += 1

    async def answer(self, outcome: Outcome) -> None:
        """Let the app answer, and the flight end."""
        assert self.gate.flight is not None
        self.app.set_result(outcome)
        await self.gate.flight
        self.app = asyncio.get_running_loop().create_future()


async def test_fifty_callers_at_once_cause_one_request_to_the_app():
    scene = Scene()
    for _ in range(50):
        scene.gate.ask(CALLER, scene.answers.append)
    await scene.answer(WELL)
    assert scene.answers == [WELL] * 50
    assert len(scene.asked) == 1
    assert scene.observed == [WELL]
    assert scene.shared == 49


async def test_within_min_interval_the_last_outcome_is_the_answer_failure_or_not():
    for outcome in (WELL, SICK):
        scene = Scene()
        scene.gate.ask(CALLER, scene.answers.append)
        await scene.answer(outcome)
        scene.gate.ask(CALLER, scene.answers.append)
        assert scene.answers == [outcome, outcome]
        assert (len(scene.asked), scene.shared) == (1, 1)


async def test_after_min_interval_the_app_is_asked_afresh():
    for outcome in (WELL, SICK):
        scene = Scene(min_interval=0.01)
        scene.gate.ask(CALLER, scene.answers.append)
        await scene.answer(outcome)
        await asyncio.sleep(0.02)
        scene.gate.ask(CALLER, scene.answers.append)
        await scene.answer(WELL)
        assert scene.answers == [outcome, WELL]
        assert scene.shared == 0


async def test_min_interval_counts_from_the_start_of_a_request():
    scene = Scene(min_interval=0.01)
    scene.gate.ask(CALLER, scene.answers.append)
    await asyncio.sleep(0.02)
    await scene.answer(SICK)
    scene.gate.ask(CALLER, scene.answers.append)
    await scene.answer(WELL)
    assert scene.answers == [SICK, WELL]


async def test_without_min_interval_callers_one_after_the_other_share_nothing():
    scene = Scene(min_interval=0.0)
    for outcome in (WELL, SICK):
        scene.gate.ask(CALLER, scene.answers.append)
        await scene.answer(outcome)
    assert scene.answers == [WELL, SICK]
    assert scene.shared == 0


async def test_a_flight_asks_the_app_in_the_name_of_its_first_caller():
    scene = Scene()
    scene.gate.ask(Caller("10.1.0.87", "kube-probe/1.36"), lambda _: None)
    scene.gate.ask(Caller("127.0.0.1", "somebody else"), lambda _: None)
    await scene.answer(WELL)
    assert scene.asked == [Caller("10.1.0.87", "kube-probe/1.36")]


async def test_a_bug_under_way_leaves_no_caller_waiting_for_ever():
    scene = Scene(min_interval=0.0)
    scene.gate.ask(CALLER, scene.answers.append)
    scene.app.set_exception(KeyError("bug"))
    flight = scene.gate.flight
    assert flight is not None
    with pytest.raises(KeyError):
        await flight
    scene.app = asyncio.get_running_loop().create_future()
    scene.gate.ask(CALLER, scene.answers.append)
    await scene.answer(WELL)
    assert scene.answers == [WELL, WELL]
