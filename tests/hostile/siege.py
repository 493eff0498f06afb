"""What every attack by thousands of callers is held against; the attacks are in `test_time.py` and `test_load.py`."""

from __future__ import annotations

import re

from .load import GROWTH_MIB, PEAK_MIB, Siege
from .witness import ATTACKER, ELSEWHERE, IN_TIME_SECONDS, SCRAPER

CAME = re.compile(r"\d+(?= requests in)|(?<=, read )\d+|(?<=\"opened\": )\d+")
"""How often an attacker says that he came; wrk counts those apart who were answered and who lost their places."""


class Promises:
    """Promise 4 after an attack, by what its witnesses saw."""

    def test_afterwards_all_is_as_it_was(self, siege: Siege) -> None:
        now = siege.recovered()
        assert now.rss_mib < siege.figures.before.rss_mib + GROWTH_MIB
        outcome = siege.sidecar.ask()
        assert (outcome.code, outcome.duration < IN_TIME_SECONDS) == (200, True)

    def test_a_kubelet_with_an_address_of_its_own_has_every_answer_in_time(self, siege: Siege) -> None:
        assert siege.figures.wrong(ELSEWHERE) == []

    def test_a_kubelet_at_the_attackers_address_has_every_answer_in_time(self, siege: Siege) -> None:
        wrong = siege.figures.wrong(ATTACKER)
        if siege.attack.crowds_out:
            assert {verdict.said for verdict in wrong} <= {"EOF"}  # no answer, but never a wrong one
        else:
            assert wrong == []

    def test_metrics_are_answered_meanwhile(self, siege: Siege) -> None:
        assert siege.figures.wrong(SCRAPER) == []

    def test_memory_stays_within_its_limit(self, siege: Siege) -> None:
        assert siege.figures.during.peak_mib < PEAK_MIB

    def test_the_attack_was_one(self, siege: Siege) -> None:
        came = [sum(map(int, CAME.findall(said))) for said in siege.figures.attackers]
        assert min(came) >= siege.attack.least, siege.figures.attackers
