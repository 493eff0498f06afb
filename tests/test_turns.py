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
    order: list[tuple[str, str]] = []
    while turns:
        asked, _ = turns.take(order[-1][0] if order else "")
        order.append((asked.source, asked.headers[0][1]))
    assert order == [("10.0.0.1", "0"), ("10.0.0.2", "late"), ("10.0.0.1", "1"), ("10.0.0.1", "2")]


def test_the_same_request_of_a_source_waits_once():
    turns = Turns()
    heard: list[Outcome] = []
    assert turns.add(caller("10.0.0.1", 1), heard.append)
    assert turns.add(caller("10.0.0.1", 1), heard.append)
    _, answers = turns.take("")
    for answer in answers:
        answer(Outcome(Reason.OK, ""))
    assert len(heard) == 2
    assert not turns


def test_a_source_that_was_served_waits_behind_those_who_came_meanwhile():
    turns = Turns()
    for source, value in (("10.0.0.1", "slow"), ("10.0.0.1", "slower"), ("10.0.0.2", "late")):
        assert turns.add(caller(source, value), quiet)
    assert turns.take("10.0.0.1")[0].source == "10.0.0.2"


def test_whoever_waits_with_the_same_headers_is_answered_whatever_his_source():
    turns = Turns()
    heard: dict[str, list[Outcome]] = {"10.0.0.1": [], "10.0.0.2": []}
    for source, outcomes in heard.items():
        assert turns.add(caller(source, "same"), outcomes.append)
        assert turns.add(caller(source, source), quiet)
    _, answers = turns.take("")
    for tell in answers:
        tell(Outcome(Reason.OK, ""))
    assert [len(outcomes) for outcomes in heard.values()] == [1, 1]
    assert [turns.take("")[0].source for _ in heard] == ["10.0.0.1", "10.0.0.2"]


def test_those_who_leave_make_room_and_are_not_asked_for():
    turns = Turns()
    answers = [lambda _, number=number: None for number in range(3)]
    for answer in answers:
        assert turns.add(caller("10.0.0.1", 1), answer)
    turns.remove(caller("10.0.0.1", 1), answers[0])
    turns.remove(caller("10.0.0.1", 1), answers[0])
    turns.remove(caller("10.0.0.9", 1), answers[1])
    turns.remove(caller("10.0.0.1", 1), answers[2])
    assert turns.take("")[1] == [answers[1]]
    assert not turns
    assert turns.add(caller("10.0.0.1", 1), answers[0])
    turns.remove(caller("10.0.0.1", 1), answers[0])
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
