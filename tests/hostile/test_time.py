"""Attacks in time: callers by the thousand who hold their connections and do nothing with them, or break them off.

Each attack is stood once by a real process with 1024 files and 64 MiB, in front of a real nginx, and then held against each
promise. Promise 4 throughout: no caller can hurt the app, the pod or the next caller; connections and the time to send a request
are bounded; who sends nothing loses his place to one who does.
"""

from __future__ import annotations

import pytest

from .load import CROWD, QUIET_CPU, Attack, Siege, attacker
from .siege import Promises

pytestmark = pytest.mark.e2e

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
    Attack(
        "5000 callers send nothing, with 800 places for them",
        BOUNDED_NUMBER,
        (attacker("silent", "--once"),),
        flags=("--max-connections", "800"),
        silent=True,
    ),
    Attack("5000 callers send nothing, come again, and the app is slow", LOSES_HIS_PLACE, (attacker("silent"),), slow=True),
    Attack(
        "5000 callers of 500 addresses send nothing, come again, and the app is slow",
        LOSES_HIS_PLACE,
        (attacker("silent", "--source", CROWD),),
        slow=True,
    ),
]


@pytest.mark.parametrize("siege", ATTACKS, ids=[attack.name for attack in ATTACKS], indirect=True, scope="module")
class TestTime(Promises):
    """What callers by the thousand may do with their connections."""

    def test_nobody_works_while_nothing_is_said(self, siege: Siege) -> None:
        if siege.attack.silent:
            assert siege.figures.cpu < QUIET_CPU
