"""Turns: sources wait side by side, not behind each other, and nothing grows without bound."""

from healthproxy.probe import Caller, Outcome, Reason
from healthproxy.turns import PER_SOURCE, PLACES, Turns


def caller(source: str, value: object) -> Caller:
    return Caller("10.1.0.87", headers=(("x-tenant", str(value)),), source=source)


def quiet(_: Outcome) -> None:
    pass


def test_sources_take_turns_however_much_one_of_them_asks():
    turns = Turns()
    for value in range(3):
        assert turns.add(caller("10.0.0.1", value), quiet)
    assert turns.add(caller("10.0.0.2", "late"), quiet)
    order = []
    while turns:
        asked, _ = turns.take()
        order.append((asked.source, asked.headers[0][1]))
    assert order == [("10.0.0.1", "0"), ("10.0.0.2", "late"), ("10.0.0.1", "1"), ("10.0.0.1", "2")]


def test_the_same_request_of_a_source_waits_once():
    turns = Turns()
    heard: list[Outcome] = []
    assert turns.add(caller("10.0.0.1", 1), heard.append)
    assert turns.add(caller("10.0.0.1", 1), heard.append)
    _, answers = turns.take()
    for answer in answers:
        answer(Outcome(Reason.OK, ""))
    assert len(heard) == 2
    assert not turns


def test_a_source_may_wait_with_few_different_requests():
    turns = Turns()
    assert [turns.add(caller("10.0.0.1", value), quiet) for value in range(PER_SOURCE + 1)] == [True] * PER_SOURCE + [False]
    assert turns.add(caller("10.0.0.1", 0), quiet)
    assert turns.add(caller("10.0.0.2", PER_SOURCE), quiet)


def test_sources_and_those_who_wait_for_one_request_are_bounded():
    turns = Turns()
    assert all(turns.add(caller(f"10.0.{number}.1", 1), quiet) for number in range(PLACES))
    assert not turns.add(caller("10.1.0.1", 1), quiet)
    assert all(turns.add(caller("10.0.0.1", 1), quiet) for _ in range(PLACES - 1))
    assert not turns.add(caller("10.0.0.1", 1), quiet)
