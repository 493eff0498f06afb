"""State changes in the log: one line each, and none for a probe that changes nothing."""

import logging

import pytest

from healthproxy.history import History
from healthproxy.probe import HTTPGet, Outcome, Probe, Reason

PROBE = Probe("/healthy", HTTPGet(8080))
WELL = Outcome(Reason.OK, "app answered 200", 200)
HUNG = Outcome(Reason.TIMEOUT, "no answer within 0.9 s", duration=0.9012)
SICK = Outcome(Reason.STATUS, "app answered 503", 503)
OUR_FAULT = Outcome(Reason.INTERNAL, "healthproxy could not ask the app; its log says why")


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
        (6.0, SICK),
        (7.0, HUNG),
        (36.25, WELL),
    ):
        history.observe(PROBE, outcome)
    assert log.messages == [
        "probe /healthy fails: no answer within 0.9 s",
        "probe /healthy succeeds for the first time, 3.5 s after start",
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
