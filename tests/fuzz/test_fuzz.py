"""Bytes that nobody thought of, from both sides, at a healthproxy that runs through all of them.

The same for longer and with other bytes each time: `make fuzz`.
"""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import bytes as fuzz
from tests.fuzz import cases
from tests.fuzz.target import Target, target

some = settings(max_examples=300, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
fewer = settings(some, max_examples=180)
few = settings(some, max_examples=2)
keys = st.sampled_from(["/healthy", "/exposed"])


class Loop:
    """An event loop that stands still between two examples, and the healthproxy that runs on it."""

    def __init__(self, runner: asyncio.Runner, attacked: Target) -> None:
        self.run = runner.run
        self.target = attacked


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    with asyncio.Runner() as runner:
        context = target()
        yield Loop(runner, runner.run(context.__aenter__()))
        runner.run(context.__aexit__(None, None, None))


@some
@given(fuzz.requests, fuzz.cuts)
def test_whatever_a_caller_sends_he_gets_one_of_our_answers_and_the_app_a_kubelets_request(loop, sent, cuts):
    loop.run(loop.target.receive_request(sent, cuts))


@few
@given(st.lists(fuzz.requests, min_size=30, max_size=60))
def test_whatever_callers_send_before_they_fall_silent_their_connections_end(loop, all_sent):
    loop.run(loop.target.hold_requests(all_sent))


@fewer
@given(fuzz.http_answers, keys, st.booleans())
def test_whatever_an_app_answers_it_is_a_verdict_and_none_of_it_comes_out_unless_asked_for(loop, data, key, reset):
    loop.run(loop.target.receive_answer(data, key, reset))


@fewer
@given(fuzz.grpc_answers, st.booleans())
def test_whatever_a_grpc_app_answers_it_is_a_verdict(loop, data, reset):
    loop.run(loop.target.receive_answer(data, "/grpc", reset))


@pytest.mark.parametrize(("sent", "cuts"), cases.REQUESTS)
def test_a_request_that_once_broke_a_promise_does_so_no_more(loop, sent, cuts):
    loop.run(loop.target.receive_request(sent, cuts))


@pytest.mark.parametrize(("data", "key", "reset"), cases.ANSWERS)
def test_an_answer_that_once_broke_a_promise_does_so_no_more(loop, data, key, reset):
    loop.run(loop.target.receive_answer(data, key, reset))
