"""`allOf` and `anyOf` through a running healthproxy: when they are certain, whom they name, and what is asked how often."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from healthproxy.probe import AllOf, AnyOf, Caller, Outcome, Probe, Reason
from healthproxy.probers import run_probe
from tests.app import App, Behaviour, after, answer, closed_port, hang, serving
from tests.sidecar import Caller as Client
from tests.sidecar import http_get, sidecar

OK = Outcome(Reason.OK, "app answered 200", 200)
SICK = Outcome(Reason.STATUS, "app answered 500", 500)
REFUSED = Outcome(Reason.REFUSED, "connection refused")
LATE = Outcome(Reason.TIMEOUT, "no answer within 0.9 s")
NOT_SERVING = Outcome(Reason.NOT_SERVING, "app answered NOT_SERVING")
OURS = Outcome(Reason.INTERNAL, "healthproxy could not ask the app; its log says why")


async def ask_all(kind: type[AllOf | AnyOf], members: dict[str, Outcome | None]) -> Outcome:
    """Ask members of whom each has its answer at once, or none at all."""

    def ask(key: str, _: Caller) -> asyncio.Future[Outcome]:
        future = asyncio.get_running_loop().create_future()
        outcome = members[key]
        if outcome is not None:
            future.set_result(outcome)
        return future

    return await run_probe(Probe("/x", kind(tuple(members)), deadline=0.2), Caller("127.0.0.1"), ask)


@pytest.mark.parametrize(
    ("members", "all_of", "any_of"),
    [
        ({"/a": OK, "/b": OK}, "ok", "ok"),
        ({"/a": OK, "/b": REFUSED}, "refused", "ok"),
        ({"/a": REFUSED, "/b": REFUSED}, "refused", "refused"),
        ({"/a": LATE, "/b": LATE}, "timeout", "timeout"),
        ({"/a": REFUSED, "/b": LATE}, "not_serving", "not_serving"),
        ({"/a": NOT_SERVING}, "not_serving", "not_serving"),
        ({"/a": SICK}, "not_serving", "not_serving"),
        ({"/a": OK, "/b": OURS}, "internal", "ok"),
        ({"/a": REFUSED, "/b": OURS}, "refused", "internal"),
        ({"/a": OK, "/b": None}, "timeout", "ok"),
        ({"/a": REFUSED, "/b": None}, "refused", "not_serving"),
        ({"/a": OURS, "/b": None}, "timeout", "internal"),
    ],
)
async def test_the_reason_is_the_members_where_they_agree(members, all_of, any_of):
    assert ((await ask_all(AllOf, members)).reason, (await ask_all(AnyOf, members)).reason) == (all_of, any_of)


async def test_the_detail_names_those_who_decided_in_the_order_of_the_configuration():
    outcome = await ask_all(AllOf, {"/b": REFUSED, "/ok": OK, "/a": SICK})
    assert outcome.detail == "/b: connection refused; /a: app answered 500"


async def test_a_member_that_is_silent_is_named_before_the_deadline():
    outcome = await ask_all(AllOf, {"/ok": OK, "/hung": None})
    assert outcome.detail == "/hung: no answer within 0.2 s"
    assert outcome.duration < 0.2


class Pod:
    """Apps by name, and a healthproxy with a probe for each and two aggregates over them."""

    def __init__(self, client: Client, apps: dict[str, App]) -> None:
        self.client = client
        self.apps = apps

    async def body(self, key: str) -> tuple[int, bytes]:
        answer = await self.client.get(key)
        return answer.status, answer.body


@pytest.fixture
async def pod(request: pytest.FixtureRequest):
    behaviours: dict[str, Behaviour] = request.param
    async with AsyncExitStack() as stack:
        apps = {name: await stack.enter_async_context(serving(behaviour)) for name, behaviour in behaviours.items()}
        table = {f"/{name}": http_get(app.port) for name, app in apps.items()}
        both = {"allOf": [*table], "timeoutSeconds": 0.4}, {"anyOf": [*table], "timeoutSeconds": 0.4}
        table |= {"/all": both[0], "/any": both[1]}
        yield Pod(await stack.enter_async_context(sidecar(table)), apps)


def pods(**behaviours: Behaviour):
    return pytest.mark.parametrize("pod", [behaviours], indirect=True)


@pods(a=answer(), b=answer(), c=answer())
async def test_all_members_well_is_ok(pod):
    assert await pod.body("/all") == (200, b"ok\n")
    assert await pod.body("/any") == (200, b"ok\n")


@pods(a=answer(), b=answer(500), c=hang())
async def test_an_aggregate_answers_as_soon_as_it_is_certain(pod):
    started = asyncio.get_running_loop().time()
    assert await pod.body("/all") == (503, b"/b: app answered 500\n")
    assert await pod.body("/any") == (200, b"ok\n")
    assert asyncio.get_running_loop().time() - started < 0.2


@pods(a=after(0.1, answer()), b=after(0.1, answer()), c=after(0.1, answer()))
async def test_members_run_side_by_side(pod):
    started = asyncio.get_running_loop().time()
    assert (await pod.body("/all"))[0] == 200
    assert asyncio.get_running_loop().time() - started < 0.2


@pods(a=answer(), b=hang())
async def test_a_hung_member_makes_it_504_in_time_and_is_named(pod):
    assert await pod.body("/all") == (504, b"/b: no answer within 0.3 s\n")


@pods(a=after(0.1, answer()), b=after(0.1, answer(503)))
async def test_however_many_ask_each_app_is_asked_once_and_measured_under_its_own_key(pod):
    answers = await asyncio.gather(*[pod.body(key) for key in ("/all", "/any", "/a", "/b") * 10])
    assert {status for status, _ in answers[0::4]} == {503}
    assert {status for status, _ in answers[1::4]} == {200}
    assert [len(pod.apps[name].requests) for name in ("a", "b")] == [1, 1]
    metrics = await pod.client.metrics()
    for key, reason, result in (
        ("/a", "ok", "success"),
        ("/b", "status", "failure"),
        ("/all", "not_serving", "failure"),
        ("/any", "ok", "success"),
    ):
        assert metrics[f'healthproxy_probes_total{{probe="{key}",reason="{reason}",result="{result}"}}'] == 1
        assert metrics[f'healthproxy_probe_duration_seconds_count{{probe="{key}",result="{result}"}}'] == 1


async def test_aggregates_of_aggregates_name_the_way_to_the_member():
    async with serving() as well:
        with closed_port() as closed:
            table = {
                "/a": http_get(well.port),
                "/b": http_get(closed),
                "/inner": {"allOf": ["/a", "/b"]},
                "/outer": {"allOf": ["/a", "/inner"]},
                "/either": {"anyOf": ["/inner", "/a"]},
            }
            async with sidecar(table) as client:
                outer, either = await client.get("/outer"), await client.get("/either")
    assert (outer.status, outer.body) == (502, b"/inner: /b: connection refused\n")
    assert (either.status, either.body) == (200, b"ok\n")


async def test_what_a_member_lets_pass_comes_to_it_through_the_aggregate():
    async with serving() as first, serving() as second:
        table = {
            "/a": http_get(first.port, forwardHeaders=["X-Tenant"]),
            "/b": http_get(second.port, forwardHeaders=["X-Other"]),
            "/all": {"allOf": ["/a", "/b"]},
        }
        async with sidecar(table) as client:
            await client.ask(b"GET /all HTTP/1.1\r\nHost: x\r\nX-Tenant: blue\r\nX-Other: red\r\n\r\n")
        assert b"\r\nX-Tenant: blue\r\n" in first.requests[0]
        assert b"X-Other" not in first.requests[0]
        assert b"\r\nX-Other: red\r\n" in second.requests[0]
        assert b"X-Tenant" not in second.requests[0]
