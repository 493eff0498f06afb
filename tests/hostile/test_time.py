"""Attacks in time: callers by the thousand who hold their connections and do nothing with them, or break them off.

Each attack is stood once by a real process in front of a real nginx, and then held against each promise. Promise 4 throughout: no
caller can hurt the app, the pod or the next caller; connections and the time to send a request are bounded; who sends nothing
loses his place to one who does.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .load import (
    ATTACKER,
    CROWD,
    ELSEWHERE,
    GROWTH_MIB,
    IN_TIME_SECONDS,
    PEAK_MIB,
    QUIET_CPU,
    SCRAPER,
    Attack,
    Siege,
    attacker,
    besieged,
)

pytestmark = pytest.mark.siege

LOSES_HIS_PLACE = "a caller who sends nothing loses his place to one who does"
BOUNDED_TIME = "the time to send a request is bounded"
ONE_REQUEST = "one request per connection"
BOUNDED_NUMBER = "connections are bounded"

ATTACKS = [
    Attack("5000 callers send nothing", LOSES_HIS_PLACE, (attacker("silent", "--once"),), silent=True),
    Attack("5000 callers send nothing and come again", LOSES_HIS_PLACE, (attacker("silent"),)),
    Attack(
        "5000 callers of 500 addresses send nothing and come again", LOSES_HIS_PLACE, (attacker("silent", "--source", CROWD),)
    ),
    Attack("5000 callers send a byte a second", BOUNDED_TIME, (attacker("drip", "--once"),), silent=True),
    Attack("5000 callers send a byte a second and come again", BOUNDED_TIME, (attacker("drip"),)),
    Attack("5000 callers ask and read nothing", ONE_REQUEST, (attacker("unread"),)),
    Attack("5000 callers ask and never close", ONE_REQUEST, (attacker("kept", "--once"),), silent=True),
    Attack("callers end in the middle of a request", BOUNDED_TIME, (attacker("half-closed"),)),
    Attack("callers reset as fast as they can", BOUNDED_NUMBER, (attacker("reset"),)),
    Attack("callers ask and reset as fast as they can", BOUNDED_NUMBER, (attacker("asked-and-reset"),)),
    Attack("5000 callers send nothing and come again, with 1024 files", BOUNDED_NUMBER, (attacker("silent"),), files=1024),
    Attack(
        "5000 callers send nothing, with 1024 files and 800 connections",
        BOUNDED_NUMBER,
        (attacker("silent", "--once"),),
        flags=("--max-connections", "800"),
        silent=True,
        files=1024,
    ),
    Attack("5000 callers send nothing, come again, and the app is slow", LOSES_HIS_PLACE, (attacker("silent"),), slow=True),
    Attack(
        "5000 callers of 500 addresses send nothing, come again, and the app is slow",
        LOSES_HIS_PLACE,
        (attacker("silent", "--source", CROWD),),
        slow=True,
    ),
]


@pytest.fixture(scope="module", params=ATTACKS, ids=[attack.name for attack in ATTACKS])
def siege(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Siege]:
    """An attack that is just over."""
    with besieged(request.param, tmp_path_factory.mktemp("app")) as over:
        yield over


def test_afterwards_all_is_as_it_was(siege: Siege) -> None:
    now = siege.recovered()
    assert now.rss_mib < siege.figures.before.rss_mib + GROWTH_MIB
    outcome = siege.sidecar.ask()
    assert (outcome.code, outcome.duration < IN_TIME_SECONDS) == (200, True)


def test_a_kubelet_with_an_address_of_its_own_has_every_answer_in_time(siege: Siege) -> None:
    assert siege.figures.wrong(ELSEWHERE) == []


def test_a_kubelet_at_the_attackers_address_has_every_answer_in_time(siege: Siege) -> None:
    assert siege.figures.wrong(ATTACKER) == []


def test_metrics_are_answered_meanwhile(siege: Siege) -> None:
    assert siege.figures.wrong(SCRAPER) == []


def test_memory_stays_within_64_mib(siege: Siege) -> None:
    assert siege.figures.during.peak_mib < PEAK_MIB


def test_nobody_works_while_nothing_is_said(siege: Siege) -> None:
    if siege.attack.silent:
        assert siege.figures.cpu < QUIET_CPU
