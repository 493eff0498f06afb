"""The gate: one flight at a time, none within `min_interval`, and callers who come and go."""

import asyncio

import pytest

from healthproxy.gate import NO_TURN, Gate
from healthproxy.probe import Caller, HTTPGet, Outcome, Probe, Reason
from healthproxy.turns import PER_SOURCE

PROBE = Probe("/healthy", HTTPGet(8080))
FORWARDING = Probe("/healthy", HTTPGet(8080), forward_headers=("x-tenant",))
CALLER = Caller("10.1.0.87")
WELL = Outcome(Reason.OK, "app answered 200", 200)
SICK = Outcome(Reason.STATUS, "app answered 503", 503)


class Scene:
    """A gate whose app answers when it is told to, and what became of everybody."""

    def __init__(self, min_interval: float = 60.0, probe: Probe = PROBE) -> None:
        self.min_interval = min_interval
        self.asked: list[Caller] = []
        self.observed: list[Outcome] = []
        self.shared = 0
        self.answers: list[Outcome] = []
        self.app: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.gate = Gate(probe, min_interval, self._ask_app, lambda _, outcome: self.observed.append(outcome), self._count)

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


def tenant(name: str, source: str = "10.0.0.1") -> Caller:
    return Caller("10.1.0.87", headers=(("x-tenant", name),), source=source)


async def flights(scene: Scene, number: int) -> None:
    """Wait until the app has been asked so often."""
    async with asyncio.timeout(1):
        while len(scene.asked) < number:
            await asyncio.sleep(0)


async def test_callers_share_only_with_those_whose_forwarded_headers_are_the_same():
    scene = Scene(0.02, FORWARDING)
    heard: dict[str, list[Outcome]] = {"a": [], "b": []}
    for name in ("a", "b", "a", "b"):
        scene.gate.ask(tenant(name), heard[name].append)
    await scene.answer(SICK)
    assert heard == {"a": [SICK, SICK], "b": []}
    scene.gate.ask(tenant("a"), heard["a"].append)
    await flights(scene, 2)
    await scene.answer(WELL)
    assert heard == {"a": [SICK, SICK, SICK], "b": [WELL, WELL]}
    assert [caller.headers[0][1] for caller in scene.asked] == ["a", "b"]
    assert scene.shared == 3


async def test_whoever_must_wait_for_a_flight_of_his_own_waits_for_min_interval_too():
    scene = Scene(0.03, FORWARDING)
    started = asyncio.get_running_loop().time()
    for name in ("a", "b", "c"):
        scene.gate.ask(tenant(name), scene.answers.append)
    for number in range(3):
        await flights(scene, number + 1)
        await scene.answer(WELL)
    assert asyncio.get_running_loop().time() - started >= 0.06
    assert scene.answers == [WELL] * 3


async def test_a_caller_with_ever_new_headers_delays_another_source_by_one_flight():
    scene = Scene(0.0, FORWARDING)
    for number in range(50):
        scene.gate.ask(tenant(f"hostile {number}"), lambda _: None)
    scene.gate.ask(tenant("kubelet", "10.0.0.2"), scene.answers.append)
    for number in range(2):
        await flights(scene, number + 1)
        await scene.answer(WELL)
    assert scene.answers == [WELL]
    assert [caller.source for caller in scene.asked][:2] == ["10.0.0.1", "10.0.0.2"]


async def test_a_source_that_waits_with_too_many_headers_is_turned_away_and_the_app_is_not_blamed():
    scene = Scene(60, FORWARDING)
    taken = [scene.gate.ask(tenant(str(number)), scene.answers.append) for number in range(PER_SOURCE + 2)]
    assert taken == [True] * (PER_SOURCE + 1) + [False]
    assert await scene.gate.outcome(tenant("another")) == NO_TURN
    assert NO_TURN.reason is Reason.INTERNAL
    await scene.answer(WELL)
    assert scene.observed == [WELL]


async def test_no_flight_starts_for_those_who_have_left_and_none_too_early_for_others():
    scene = Scene(0.05, FORWARDING)
    scene.gate.ask(tenant("first"), lambda _: None)
    await scene.answer(WELL)
    started = asyncio.get_running_loop().time()
    for _ in range(3):
        scene.gate.ask(tenant("gone", "10.0.0.9"), scene.answers.append)
        scene.gate.leave(tenant("gone", "10.0.0.9"), scene.answers.append)
    assert not scene.gate.busy
    scene.gate.ask(tenant("late", "10.0.0.2"), lambda _: None)
    await flights(scene, 2)
    assert asyncio.get_running_loop().time() - started >= 0.04
    await scene.answer(WELL)
    await asyncio.sleep(0.06)
    assert [caller.headers[0][1] for caller in scene.asked] == ["first", "late"]


async def test_a_caller_who_leaves_is_forgotten_while_his_flight_goes_on():
    scene = Scene()
    other: list[Outcome] = []
    scene.gate.ask(CALLER, scene.answers.append)
    scene.gate.ask(CALLER, other.append)
    scene.gate.leave(CALLER, scene.answers.append)
    scene.gate.leave(CALLER, scene.answers.append)
    await scene.answer(WELL)
    assert (scene.answers, other, scene.observed) == ([], [WELL], [WELL])


async def test_headers_that_the_probe_does_not_forward_make_no_difference():
    scene = Scene(60, FORWARDING)
    for value in ("a", "b"):
        caller = Caller("10.1.0.87", headers=(("x-other", value), ("x-tenant", "one")))
        scene.gate.ask(caller, scene.answers.append)
    await scene.answer(WELL)
    assert scene.answers == [WELL, WELL]
    assert scene.asked == [Caller("10.1.0.87", headers=(("x-tenant", "one"),))]


async def test_an_outcome_can_be_awaited():
    scene = Scene()
    first, second = scene.gate.outcome(CALLER), scene.gate.outcome(CALLER)
    await scene.answer(WELL)
    assert (await first, await second) == (WELL, WELL)


async def in_a_row_of_flights(scene: Scene, caller: Caller = CALLER) -> None:
    """Let one flight land that found the app sick, and the next one start."""
    scene.gate.ask(caller, lambda _: None)
    await scene.answer(SICK)
    while scene.gate._fresh():
        await asyncio.sleep(0)
    scene.gate.ask(caller, scene.answers.append)


async def test_who_loses_his_place_is_answered_from_the_last_outcome_once_and_the_flight_goes_on():
    scene = Scene(0.01)
    other: list[Outcome] = []
    await in_a_row_of_flights(scene)
    scene.gate.ask(CALLER, other.append)
    assert scene.gate.hurry(CALLER, scene.answers.append)
    assert (scene.answers, other, scene.shared) == ([SICK], [], 2)
    await scene.answer(WELL)
    assert (scene.answers, other, scene.observed) == ([SICK], [WELL], [SICK, WELL])


async def test_without_an_outcome_yet_who_loses_his_place_has_no_answer():
    scene = Scene()
    scene.gate.ask(CALLER, scene.answers.append)
    assert not scene.gate.hurry(CALLER, scene.answers.append)
    assert scene.answers == []


async def test_an_outcome_older_than_a_flight_may_take_answers_nobody_who_loses_his_place():
    scene = Scene(0.01, Probe("/healthy", HTTPGet(8080), deadline=0.02))
    await in_a_row_of_flights(scene)
    await asyncio.sleep(0.04)
    assert not scene.gate.hurry(CALLER, scene.answers.append)
    await scene.answer(WELL)
    assert scene.answers == [WELL]


async def test_who_loses_his_place_is_not_answered_by_what_another_one_forwarded():
    scene = Scene(0.01, FORWARDING)
    await in_a_row_of_flights(scene, tenant("a"))
    scene.gate.ask(tenant("b"), scene.answers.append)
    assert not scene.gate.hurry(tenant("b"), scene.answers.append)
    assert scene.gate.hurry(tenant("a"), scene.answers.append)
    assert scene.answers == [SICK]


async def test_after_a_bug_nobody_is_told_the_outcome_of_another_ones_headers():
    scene = Scene(0.05, FORWARDING)
    scene.gate.ask(tenant("a"), lambda _: None)
    await scene.answer(SICK)
    scene.gate.ask(tenant("b"), scene.answers.append)
    await flights(scene, 2)
    flight = scene.gate.flight
    assert flight is not None
    scene.app.set_exception(KeyError("bug"))
    with pytest.raises(KeyError):
        await flight
    scene.gate.ask(tenant("b"), scene.answers.append)
    assert scene.answers == []
