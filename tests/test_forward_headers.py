"""`forwardHeaders`: what of a caller's headers reaches the app where a probe lets some pass, and who shares whose answer."""

import asyncio

import pytest

from tests import app
from tests.sidecar import Caller, http_get, sidecar


def request(*lines: bytes) -> bytes:
    """Return the bytes of a probe with these header lines."""
    return b"\r\n".join([b"GET /healthy HTTP/1.1", b"Host: x", *lines, b"", b""])


async def ask_as(caller: Caller, tenant: bytes) -> int:
    """Ask with this value and return the status."""
    return (await caller.ask(request(b"X-Tenant: " + tenant))).status


async def seen(names: list[str], *lines: bytes) -> bytes:
    """Return the head that the app sees of a caller's request, when these names may pass."""
    async with app.serving() as server, sidecar({"/healthy": http_get(server.port, forwardHeaders=names)}) as caller:
        await caller.send(request(*lines))
        return server.requests[0]


async def test_named_headers_pass_and_no_others():
    head = await seen(["X-Tenant"], b"x-tenant: blue", b"X-Other: red", b"Cookie: a=b", b"Authorization: Basic eDp5")
    assert head.split(b"\r\n")[2:] == [
        b"User-Agent: kube-probe/1.36",
        b"Accept: */*",
        b"X-Tenant: blue",
        b"Connection: close",
        b"",
        b"",
    ]


async def test_every_value_passes_in_order_byte_for_byte():
    head = await seen(["X-Tenant"], b"X-Tenant: sch\xc3\xb6n \xff", b"X-TENANT: second")
    assert b"\r\nX-Tenant: sch\xc3\xb6n \xff\r\nX-Tenant: second\r\n" in head


async def test_user_agent_and_accept_pass_as_they_are_where_they_are_named():
    head = await seen(["User-Agent", "Accept"], b"User-Agent: curl/8.5", b"Accept: application/json")
    assert b"\r\nUser-Agent: curl/8.5\r\nAccept: application/json\r\n" in head


async def test_what_the_caller_names_in_connection_is_for_this_connection_only():
    head = await seen(["X-Tenant", "X-Kept"], b"Connection: close, X-Tenant", b"X-Tenant: blue", b"X-Kept: red")
    assert b"X-Tenant" not in head
    assert b"\r\nX-Kept: red\r\n" in head


async def test_it_makes_no_difference_in_which_of_several_connection_headers_he_names_it():
    head = await seen(["X-Tenant"], b"Connection: close", b"Connection: X-Tenant", b"X-Tenant: blue")
    assert b"X-Tenant" not in head


@pytest.mark.parametrize("value", [b"a\x00b", b"a\x01b", b"a\rb", b"a\r\n b", b"a\x7fb"])
async def test_no_value_with_a_control_character_reaches_the_app(value):
    async with app.serving() as server, sidecar({"/healthy": http_get(server.port, forwardHeaders=["X-Tenant"])}) as caller:
        answer = await caller.ask(request(b"X-Tenant: " + value))
        assert (answer.status, server.requests) == (400, [])


async def test_nobody_is_answered_by_what_another_one_forwarded():
    """An app that lets only one tenant in must not let a stranger fail the kubelet's probe, nor pass by it."""

    async def only_blue(reader, writer, head: bytes) -> None:
        await app.answer(200 if b"X-Tenant: blue" in head else 401)(reader, writer, head)

    async with app.serving(only_blue) as server:
        table = {"/healthy": http_get(server.port, forwardHeaders=["X-Tenant"])}
        async with sidecar(table, min_interval="0.01") as caller:
            statuses = await asyncio.gather(*[ask_as(caller, tenant) for tenant in (b"red", b"blue", b"green", b"blue", b"red")])
            assert statuses == [401, 200, 401, 200, 401]
            assert len(server.requests) == 3
            shared = (await caller.metrics())['healthproxy_shared_answers_total{probe="/healthy"}']
    assert shared == 2


async def test_callers_who_ask_and_leave_cost_the_kubelet_nothing():
    async with app.serving(app.after(0.1, app.answer())) as server:
        table = {"/healthy": http_get(server.port, forwardHeaders=["X-Tenant"])}
        async with sidecar(table, min_interval="0.05") as caller:
            started = asyncio.get_running_loop().time()
            first = asyncio.create_task(ask_as(caller, b"first"))
            while not server.requests:
                await asyncio.sleep(0.001)
            for number in range(30):
                source = (f"127.0.1.{number + 1}", 0)
                _, writer = await asyncio.open_connection(caller.host, caller.open_port, local_addr=source)
                writer.write(request(b"X-Tenant: %d" % number))
                writer.close()
                await writer.wait_closed()
            assert (await ask_as(caller, b"kubelet"), await first) == (200, 200)
            assert asyncio.get_running_loop().time() - started < 0.4
            assert (await caller.metrics())["healthproxy_open_connections"] == 0
        assert len(server.requests) == 2


async def test_whoever_waits_with_too_many_different_headers_is_evicted_and_counted():
    async with app.serving(app.after(0.1, app.answer())) as server:
        table = {"/healthy": http_get(server.port, forwardHeaders=["X-Tenant"])}
        async with sidecar(table, min_interval="0") as caller:
            answers = await asyncio.gather(*[caller.send(request(b"X-Tenant: %d" % number)) for number in range(7)])
            evicted = (await caller.metrics())['healthproxy_refused_requests_total{reason="evicted"}']
        assert sorted(answer[9:12] for answer in answers) == [b"", b"", b"200", b"200", b"200", b"200", b"200"]
    assert evicted == 2
