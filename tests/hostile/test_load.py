"""Attacks by load: as many requests as the machine can send, right and wrong ones, at both ports.

Each storm is stood once by a real process with 1024 files and 64 MiB, in front of a real nginx, and then held against each
promise. Promise 4 throughout: inside `minInterval` callers share the last outcome, and no caller can hurt the app, the pod or the
next caller.
"""

from __future__ import annotations

import json

import pytest

from .load import CROWD, Attack, Siege, attacker, wrk
from .siege import Promises

pytestmark = pytest.mark.e2e

MIN_INTERVAL_SECONDS = 0.1
"""The default, which every storm here meets."""
ADMIN_FILES = 40
"""Files that attackers of the admin port may cost: its 16 connections, and as many that are being closed or accepted."""
A_STORM = 2000
"""Requests that wrk must have had answered at least; the slowest storm here has half as many again."""
A_SLOW_STORM = 500
"""The same where a hundred connections wait half a second for each answer."""

SHARED = "inside minInterval callers share the last outcome"
NEXT_CALLER = "no caller can hurt the next caller"
NOTHING_ELSE = "nothing else gets in (promise 3)"
ADMIN = "connections of the admin port are bounded"

KEYS = ("/healthy", "/healthy/deep", "/healthy?full=1")
SEVERAL_KEYS = {
    "HEALTHPROXY_PROBES": json.dumps({key: {"httpGet": {"path": key, "port": 8080}} for key in KEYS}).replace("8080", "{app}")
}
FORWARDING = {
    "HEALTHPROXY_PROBES": json.dumps(
        {"/healthy": {"httpGet": {"path": "/healthy", "port": 8080}, "forwardHeaders": ["X-Tenant"]}}
    ).replace("8080", "{app}")
}
OWN_HEADER = ("--header", "X-Tenant: kubelet")

ATTACKS = [
    Attack("storm on 100 connections", SHARED, (wrk(100),), least=A_STORM),
    Attack("storm on 1000 connections", SHARED, (wrk(1000),), least=A_STORM),
    Attack("storm from 500 addresses", SHARED, (attacker("storm", "--number", "500", "--source", CROWD),)),
    Attack(
        "storm on three probes at once", SHARED, tuple([wrk(50, key) for key in KEYS]), environment=SEVERAL_KEYS, least=A_STORM
    ),
    Attack("storm on a slow app, 100 connections", SHARED, (wrk(100),), slow=True, least=A_SLOW_STORM),
    Attack("storm on a slow app, 1000 connections", NEXT_CALLER, (wrk(1000),), slow=True, least=A_STORM),
    Attack("storm for what is no probe", NOTHING_ELSE, (wrk(100, "/nothing"),), least=A_STORM),
    Attack(
        "storm with ever new forwarded headers",
        NEXT_CALLER,
        (attacker("storm", "--number", "200", "--header", "X-Tenant"),),
        environment=FORWARDING,
        probe=OWN_HEADER,
        crowds_out=True,
    ),
    Attack("storm on /metrics", NEXT_CALLER, (wrk(14, "/metrics", port="admin"),), least=A_STORM),
    Attack("5000 callers at the admin port send nothing", ADMIN, (attacker("silent", "--once", port="admin"),), silent=True),
    Attack("5000 callers at the admin port send nothing and come again", ADMIN, (attacker("silent", port="admin"),)),
]


@pytest.mark.parametrize("siege", ATTACKS, ids=[attack.name for attack in ATTACKS], indirect=True, scope="module")
class TestLoad(Promises):
    """What storms may do."""

    def test_the_app_is_asked_no_oftener_than_min_interval_allows(self, siege: Siege) -> None:
        allowed = siege.figures.seconds / MIN_INTERVAL_SECONDS + 1  # the probe before the storm
        assert all(number <= allowed + 1 for number in siege.asked.values()), siege.asked

    def test_the_app_is_asked_for_configured_probes_only(self, siege: Siege) -> None:
        assert siege.asked.keys() <= set(KEYS)

    def test_files_stay_bounded(self, siege: Siege) -> None:
        limit = ADMIN_FILES if siege.attack.promise == ADMIN else 256 + ADMIN_FILES
        assert siege.figures.during.files < siege.figures.before.files + limit
