"""What is kept of each probe and of refused callers, and the log line of a change: one each, none where nothing changes."""

import logging
import tracemalloc

import pytest

from healthproxy.history import FAILURES, RECENT, REFUSALS, SNIPPET, History
from healthproxy.probe import HTTPGet, Outcome, Probe, Reason, Result
from tests.histories import HUNG, OUR_FAULT, PROBE, SICK, START, WELL, Clock, history_of


def kept(*outcomes: Outcome):
    """Return what is known of a probe after outcomes that came a second apart."""
    return history_of(*outcomes).probes[PROBE.key]


def after(at: float | None) -> float | None:
    """Return a time as seconds after the start."""
    return None if at is None else at - START


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def test_a_probes_life_is_told_in_its_changes(log):
    now = 0.0
    history = History(now, clock=lambda: now)
    for now, outcome in (  # noqa: B007 - the clock reads it
        (1.0, HUNG),
        (2.0, SICK),
        (3.5, WELL),
        (4.0, WELL),
        (5.0, OUR_FAULT),
        (5.5, OUR_FAULT),
        (6.0, SICK),
        (7.0, HUNG),
        (36.25, WELL),
    ):
        history.observe(PROBE, outcome)
    assert log.messages == [
        "probe /healthy fails: no answer within 0.9 s",
        "probe /healthy succeeds for the first time, 3.5 s after start",
        f"probe /healthy: {OUR_FAULT.detail}",
        "probe /healthy fails: app answered 503",
        "probe /healthy succeeds again after 30.2 s",
    ]


def test_the_first_success_is_told_with_the_time_it_took(log):
    now = 10.0
    history = History(now, clock=lambda: now)
    now = 13.0
    history.observe(PROBE, WELL)
    assert log.messages == ["probe /healthy succeeds for the first time, 3.0 s after start"]
    assert log.records[0].fields == {"event": "first_success", "probe": "/healthy", "reason": "ok", "after_seconds": 3.0}


def test_a_failure_carries_its_reason_and_duration_as_fields(log):
    History(0.0).observe(PROBE, HUNG)
    assert log.records[0].levelname == "WARNING"
    assert log.records[0].fields == {"event": "failing", "probe": "/healthy", "reason": "timeout", "duration_seconds": 0.9012}


def test_the_state_is_that_of_the_last_verdict_since_the_first_like_it():
    known = kept(SICK, WELL, WELL, HUNG, SICK, OUR_FAULT)
    assert (known.result, after(known.since), known.consecutive_failures) == (Result.FAILURE, 4, 2)
    assert (after(known.last_success), known.first_success) == (3, 2)
    known = kept(SICK, HUNG, WELL)
    assert (known.result, after(known.since), known.consecutive_failures) == (Result.SUCCESS, 3, 0)


def test_a_fault_of_our_own_says_nothing_about_the_app_but_is_kept():
    known = kept(OUR_FAULT)
    assert (known.result, known.consecutive_failures, known.last_success) == (None, 0, None)
    assert [record.result for record in known.recent()] == [Result.UNKNOWN]
    assert [failure.outcome.detail for failure in known.failures] == [OUR_FAULT.detail]


@pytest.mark.parametrize("count", [1, RECENT - 1, RECENT, RECENT + 1, 3 * RECENT + 7])
def test_the_last_outcomes_are_kept_oldest_first(count):
    assert [after(record.time) for record in kept(*[WELL] * count).recent()] == list(range(max(0, count - RECENT) + 1, count + 1))


def test_of_each_outcome_time_duration_code_and_reason_are_kept():
    told = [
        (after(record.time), round(record.duration, 6), record.code, record.reason) for record in kept(WELL, HUNG, SICK).recent()
    ]
    assert told == [(1, 0.002, 200, Reason.OK), (2, 0.9012, None, Reason.TIMEOUT), (3, 0.004, 503, Reason.STATUS)]


def test_successes_push_out_no_failure():
    known = kept(SICK, *[WELL] * (5 * RECENT))
    assert {record.result for record in known.recent()} == {Result.SUCCESS}
    assert [(after(failure.last), failure.outcome.code) for failure in known.failures] == [(1, 503)]


def test_equal_failures_in_a_row_take_one_place_so_that_a_long_outage_does_not_push_out_how_it_began():
    known = kept(HUNG, *[SICK] * 1000, WELL, SICK)
    told = [(after(failure.first), after(failure.last), failure.count, failure.outcome.reason) for failure in known.failures]
    assert told == [(1, 1, 1, Reason.TIMEOUT), (2, 1001, 1000, Reason.STATUS), (1003, 1003, 1, Reason.STATUS)]


def test_a_failure_that_lasts_is_shown_with_what_the_app_said_last():
    first, last = (Outcome(Reason.STATUS, "app answered 503", 503, body=body) for body in (b"starting", b"out of memory"))
    assert [failure.outcome.body for failure in kept(first, last).failures] == [b"out of memory"]


def test_what_the_app_says_is_kept_up_to_a_limit():
    huge = Outcome(Reason.STATUS, "app answered 500", 500, body=b"x" * 10240, content_type="y" * 30000)
    (failure,) = kept(huge).failures
    assert (failure.outcome.body, failure.outcome.content_type, failure.cut) == (b"x" * SNIPPET, "", True)
    (failure,) = kept(Outcome(Reason.STATUS, "app answered 500", 500, body=b"x" * SNIPPET)).failures
    assert (failure.outcome.body, failure.cut) == (b"x" * SNIPPET, False)


def test_ten_probes_whose_app_says_as_much_as_it_can_take_less_than_a_megabyte():
    probes = [Probe(f"/{number}", HTTPGet(8080)) for number in range(10)]
    tracemalloc.start()
    try:
        history = History(0.0)
        before, _ = tracemalloc.get_traced_memory()
        for probe in probes:
            for number in range(RECENT + FAILURES):
                code = 500 + number % 100
                history.observe(probe, Outcome(Reason.STATUS, f"app answered {code}", code, 0.1, bytes(10240), "a" * 8000))
        for number in range(100 * REFUSALS):
            history.refused("unknown_path", f"2001:db8:1111:2222:3333:4444:5555:{number:x}")
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [len(known.failures) for known in history.probes.values()] == [FAILURES] * 10
    assert after - before < 1_000_000


def test_of_refused_callers_reason_address_time_and_count_are_kept():
    clock = Clock()
    history = History(0.0, clock, clock)
    for clock.now, reason, source in ((1, "method", "10.0.0.1"), (2, "method", "10.0.0.2"), (3, "method", "10.0.0.1")):
        history.refused(reason, source)
    told = [(*pair, refusals.count, refusals.last) for pair, refusals in history.refusals.items()]
    assert told == [("method", "10.0.0.2", 1, 2), ("method", "10.0.0.1", 2, 3)]
    assert [(reason, refusals.count, refusals.last) for reason, refusals in history.refused_in_all.items()] == [("method", 3, 3)]


def test_many_sources_push_out_those_who_were_refused_longest_ago():
    history = History(0.0)
    for number in range(10 * REFUSALS):
        history.refused("unknown_path", f"10.0.{number // 256}.{number % 256}")
        history.refused("unknown_path", "10.9.9.9")
    assert len(history.refusals) == REFUSALS
    assert history.refusals["unknown_path", "10.9.9.9"].count == 10 * REFUSALS
    assert history.refused_in_all["unknown_path"].count == 20 * REFUSALS
