"""The open port on a real socket: every status code, what reaches the app, and what never does."""

import asyncio
import gc
import re

import pytest

from healthproxy.connections import Bounds
from healthproxy.gate import Gate
from healthproxy.open_port import OpenPort, _Exchange
from healthproxy.probe import HTTPGet, Probe
from healthproxy.probers import run_probe
from healthproxy.sockets import listening
from healthproxy.values import Address
from tests import app
from tests.sidecar import KUBELET_HEADERS, Caller, http_get, sidecar

CONTROLS = b"Host: x\r\nUser-Agent: kube-probe/1.36\r\nAccept: */*\r\n\r\n"


async def test_the_app_sees_the_request_that_the_kubelet_would_have_sent():
    async with app.serving(app.answer()) as server, sidecar({"/healthy": http_get(server.port)}) as caller:
        assert (await caller.get()).status == 200
    expected = f"GET /healthy HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUser-Agent: kube-probe/1.36\r\nAccept: */*\r\n"
    assert server.requests == [expected.encode() + b"Connection: close\r\n\r\n"]


async def test_host_is_the_address_on_which_the_probe_reached_us_and_no_choice_of_the_callers():
    async with app.serving(app.answer()) as server:
        async with sidecar({"/healthy": http_get(server.port)}, "127.0.0.7", listen=":0") as caller:
            await caller.ask(b"GET /healthy HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: evil.example\r\n\r\n")
            await asyncio.sleep(0.01)
    assert server.requests[0].startswith(f"GET /healthy HTTP/1.1\r\nHost: 127.0.0.7:{server.port}\r\nUser-Agent: ".encode())
    assert b"evil" not in server.requests[0]


async def test_a_probe_over_ipv6_names_the_ipv6_address():
    async with app.serving(app.answer()) as server, sidecar({"/healthy": http_get(server.port)}, "::1", listen=":0") as caller:
        assert (await caller.get()).status == 200
    assert f"\r\nHost: [::1]:{server.port}\r\n".encode() in server.requests[0]


async def test_configured_headers_and_host_are_sent_and_go_before_the_callers():
    headers = [{"name": "host", "value": "vhost"}, {"name": "x-token", "value": "t"}, {"name": "User-Agent", "value": "mine"}]
    async with app.serving(app.answer()) as server:
        stanza = {"httpGet": {"port": server.port, "path": "/h", "httpHeaders": headers}}
        async with sidecar({"/healthy": stanza}) as caller:
            await caller.get()
    expected = b"GET /h HTTP/1.1\r\nHost: vhost\r\nUser-Agent: mine\r\nAccept: */*\r\nX-Token: t\r\nConnection: close\r\n\r\n"
    assert server.requests == [expected]


async def test_of_a_callers_headers_only_the_kubelets_version_reaches_the_app():
    async with app.serving(app.answer()) as server, sidecar({"/healthy": http_get(server.port)}) as caller:
        await caller.ask(
            b"GET /healthy HTTP/1.1\r\nHost: x\r\nUser-Agent: kube-probe/1.29+\r\nAccept: image/png\r\n"
            b"Authorization: Basic eA==\r\nCookie: a=b\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\n"
            b"Referer: http://x/\r\nRange: bytes=0-1\r\nAccept-Encoding: gzip\r\nConnection: User-Agent\r\n\r\n"
        )
    expected = f"GET /healthy HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUser-Agent: kube-probe/1.29+\r\nAccept: */*\r\n"
    assert server.requests == [expected.encode() + b"Connection: close\r\n\r\n"]


@pytest.mark.parametrize(
    "value", [b"", b"curl/8", b"kube-probe/1.36 x", b"kube-probe/12345.1", b"kube-probe/1.\xc2\xb2", b"a" * 300]
)
async def test_whatever_a_caller_calls_himself_the_app_is_asked_as_by_a_kubelet(value):
    async with app.serving(app.answer()) as server, sidecar({"/healthy": http_get(server.port)}) as caller:
        await caller.ask(b"GET /healthy HTTP/1.1\r\nHost: x\r\nUser-Agent: " + value + b"\r\nAccept: x\r\n\r\n")
    expected = f"GET /healthy HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUser-Agent: kube-probe/1.36\r\nAccept: */*\r\n"
    assert server.requests == [expected.encode() + b"Connection: close\r\n\r\n"]


async def test_no_caller_can_choose_the_verdict_that_the_next_one_shares():
    async def negotiate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        await app.answer(200 if b"\r\nAccept: */*\r\n" in head else 406)(reader, writer, head)

    async with app.serving(negotiate) as server, sidecar({"/healthy": http_get(server.port)}, min_interval="60") as caller:
        await caller.ask(b"GET /healthy HTTP/1.1\r\nHost: x\r\nAccept: image/png\r\n\r\n")
        assert (await caller.get()).status == 200


async def test_every_probe_comes_on_a_connection_of_its_own_that_ends_with_fin():
    async with app.serving(app.answer(then="hang")) as server:
        async with sidecar({"/healthy": http_get(server.port)}, min_interval="0") as caller:
            for _ in range(3):
                assert (await caller.get()).status == 200
                assert await server.ended() == "FIN"
    assert server.connections == 3


async def test_a_hung_app_is_answered_504_in_time_and_sees_a_fin():
    async with app.serving(app.hang()) as server, sidecar({"/healthy": http_get(server.port)}) as caller:
        started = asyncio.get_running_loop().time()
        answer = await caller.get()
        took = asyncio.get_running_loop().time() - started
        assert await server.ended() == "FIN"
    assert (answer.status, answer.body) == (504, b"no answer within 0.3 s\n")
    assert 0.3 <= took < 0.4


async def test_an_app_that_speaks_one_byte_a_second_and_one_with_a_full_backlog_are_answered_504_in_time():
    async with app.serving(app.drip(b"HTTP/1.1 200 OK\r\n\r\n", every=1.0)) as server:
        with app.full_backlog() as full:
            async with sidecar({"/slow": http_get(server.port), "/full": http_get(full)}) as caller:
                started = asyncio.get_running_loop().time()
                answers = await asyncio.gather(caller.get("/slow"), caller.get("/full"))
                took = asyncio.get_running_loop().time() - started
    assert [answer.status for answer in answers] == [504, 504]
    assert took < 0.4


@pytest.mark.parametrize(
    ("behaviour", "status", "line"),
    [
        (app.answer(200), 200, b"ok\n"),
        (app.answer(404), 404, b"app answered 404\n"),
        (app.answer(599), 599, b"app answered 599\n"),
        (app.redirect("http://169.254.169.254/latest/meta-data"), 302, b"app answered 302\n"),
        (app.raw(b"", then="reset"), 502, b"connection reset\n"),
        (app.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"), 502, b"connection closed before the answer was complete\n"),
        (app.raw(b"+OK POP3 ready\r\n"), 502, b"app did not answer in HTTP/1\n"),
    ],
)
async def test_the_status_code_is_the_message(behaviour, status, line):
    async with app.serving(behaviour) as server, sidecar({"/healthy": http_get(server.port)}) as caller:
        answer = await caller.get()
    assert (answer.status, answer.body) == (status, line)
    assert answer.headers["content-length"] == str(len(line))
    assert set(answer.headers) == {"date", "content-type", "content-length", "connection"}
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


async def test_a_closed_port_is_answered_502():
    with app.closed_port() as port:
        async with sidecar({"/healthy": http_get(port)}) as caller:
            answer = await caller.get()
    assert (answer.status, answer.body) == (502, b"connection refused\n")


async def test_failed_tls_is_answered_502(tmp_path):
    async with app.serving(app.answer(), tls=app.trusted()) as server:
        stanza = {"httpGet": {"port": server.port, "scheme": "HTTPS"}, "tls": {"ca": app.write_ca(tmp_path, app.stranger())}}
        async with sidecar({"/healthy": stanza}) as caller:
            answer = await caller.get()
    assert answer.status == 502
    assert answer.body.startswith(b"TLS failed: ")


async def test_a_204_has_neither_body_nor_length():
    async with app.serving(app.answer(204, b"")) as server, sidecar({"/healthy": http_get(server.port)}) as caller:
        answer = await caller.get()
    assert (answer.status, answer.body) == (204, b"")
    assert "content-length" not in answer.headers


async def test_head_asks_the_app_with_get_and_gets_the_headers_of_the_answer():
    async with app.serving(app.answer(503)) as server, sidecar({"/healthy": http_get(server.port)}) as caller:
        answer = await caller.ask(b"HEAD /healthy HTTP/1.1\r\n" + CONTROLS)
    assert (answer.status, answer.headers["content-length"], answer.body) == (503, "17", b"")
    assert server.requests[0].startswith(b"GET /healthy ")


@pytest.mark.parametrize(
    ("request_bytes", "status", "reason"),
    [
        (b"GET /secret HTTP/1.1\r\n" + CONTROLS, 404, "unknown_path"),
        (b"GET / HTTP/1.1\r\n" + CONTROLS, 404, "unknown_path"),
        (b"GET /healthy?x=1 HTTP/1.1\r\n" + CONTROLS, 404, "unknown_path"),
        (b"GET /healthy/ HTTP/1.1\r\n" + CONTROLS, 404, "unknown_path"),
        (b"GET /HEALTHY HTTP/1.1\r\n" + CONTROLS, 404, "unknown_path"),
        (b"GET //healthy HTTP/1.1\r\n" + CONTROLS, 404, "unknown_path"),
        (b"GET /x/../healthy HTTP/1.1\r\n" + CONTROLS, 404, "unknown_path"),
        (b"GET /%68ealthy HTTP/1.1\r\n" + CONTROLS, 404, "unknown_path"),
        (b"GET http://127.0.0.1/healthy HTTP/1.1\r\n" + CONTROLS, 404, "unknown_path"),
        (b"GET /healthy#f HTTP/1.1\r\n" + CONTROLS, 404, "unknown_path"),
        (b"POST /healthy HTTP/1.1\r\n" + CONTROLS, 405, "method"),
        (b"OPTIONS * HTTP/1.1\r\n" + CONTROLS, 405, "method"),
        (b"TRACE /healthy HTTP/1.1\r\n" + CONTROLS, 405, "method"),
        (b"CONNECT app:80 HTTP/1.1\r\n" + CONTROLS, 405, "method"),
        (b"BREW /healthy HTTP/1.1\r\n" + CONTROLS, 405, "method"),
        (b"get /healthy HTTP/1.1\r\n" + CONTROLS, 405, "method"),
        (b"GET /healthy HTTP/1.1\r\nContent-Length: 1\r\n" + CONTROLS + b"x", 413, "body"),
        (b"GET /healthy HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + CONTROLS + b"0\r\n\r\n", 413, "body"),
        (b"GET /healthy HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n" + CONTROLS, 431, "too_large"),
        (b"GET /healthy HTTP/1.1\r\n" + b"X: a\r\n" * 5_000 + CONTROLS, 431, "too_large"),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n" + CONTROLS, 400, "malformed"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "malformed"),
        (b"GET /healthy HTTP/1.1\r\n\r\n", 400, "malformed"),
        (b"GET /healthy HTTP/1.1\r\nHost: x\r\nBad Header: x\r\n\r\n", 400, "malformed"),
        (b"GET /healthy HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400, "malformed"),
        (b"GET /healthy\r\n\r\n", 400, "malformed"),
        (b"GET /healthy HTTP/0.9\r\n" + CONTROLS, 400, "malformed"),
        (b"GET /healthy HTTP/2.0\r\n" + CONTROLS, 400, "malformed"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "malformed"),
    ],
    ids=lambda value: re.sub(rb"[^!-~]+", b" ", value[:40]).decode() if isinstance(value, bytes) else str(value),
)
async def test_what_is_no_probe_is_turned_away_counted_and_never_reaches_the_app(request_bytes, status, reason):
    async with app.serving(app.answer()) as server, sidecar({"/healthy": http_get(server.port)}) as caller:
        answer = await caller.ask(request_bytes)
        metrics = await caller.metrics()
    assert answer.status == status
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.headers.get("allow") == ("GET, HEAD" if status == 405 else None)
    assert server.connections == 0
    refused = {series: value for series, value in metrics.items() if "refused_requests_total" in series and value}
    assert refused == {f'healthproxy_refused_requests_total{{reason="{reason}"}}': 1}
    assert not any("secret" in series for series in metrics)


async def test_a_request_in_many_pieces_is_one_request():
    async with app.serving(app.answer()) as server, sidecar({"/healthy": http_get(server.port)}) as caller:
        reader, writer = await caller.connect()
        for byte in b"GET /healthy HTTP/1.1\r\nHost: x\r\n\r\n":
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()
    assert server.connections == 1


async def test_one_request_per_connection_the_rest_is_not_read():
    twice = (b"GET /healthy HTTP/1.1\r\n" + CONTROLS) * 2
    async with app.serving(app.answer()) as server, sidecar({"/healthy": http_get(server.port)}) as caller:
        answers = await caller.send(twice)
    assert answers.count(b"HTTP/1.1 ") == 1
    assert server.connections == 1


async def test_http_1_0_without_host_is_answered():
    async with app.serving(app.answer()) as server, sidecar({"/healthy": http_get(server.port)}) as caller:
        assert (await caller.ask(b"GET /healthy HTTP/1.0\r\n\r\n")).status == 200


@pytest.mark.parametrize("target", ["/-/ready", "/-/healthy"])
async def test_own_health_never_touches_the_app(target):
    async with app.serving(app.answer(503)) as server, sidecar({"/healthy": http_get(server.port)}) as caller:
        answer = await caller.get(target)
        assert (answer.status, answer.body) == (200, b"ok\n")
        assert (await caller.get("/-/metrics")).status == 404
    assert server.connections == 0


@pytest.mark.parametrize(
    ("allowed", "host", "status"),
    [
        (["127.0.0.0/8"], "127.0.0.1", 200),
        (["10.0.0.0/8", "::1/128"], "127.0.0.1", 403),
        (["10.0.0.0/8", "::1/128"], "::1", 200),
        (["fd00::/8"], "::1", 403),
    ],
)
async def test_only_allowed_sources_are_answered(allowed, host, status):
    async with app.serving(app.answer()) as server:
        async with sidecar({"/healthy": http_get(server.port)}, host, listen=":0", allow_from=allowed) as caller:
            assert (await caller.get()).status == status
    assert server.connections == (1 if status == 200 else 0)


async def test_the_apps_body_and_headers_do_not_come_out():
    secret = app.answer(500, b"secret", [("X-Secret", "secret"), ("Set-Cookie", "secret"), ("Location", "/secret")])
    async with app.serving(secret) as server, sidecar({"/healthy": http_get(server.port)}) as caller:
        assert b"secret" not in (await caller.get()).raw.lower()


async def test_an_exposed_body_comes_with_its_type_and_at_most_10_kib():
    body = b"<p>" + b"x" * 20_000
    behaviour = app.answer(503, body, [("Content-Type", "text/html"), ("X-Secret", "s")])
    async with app.serving(behaviour) as server, sidecar({"/healthy": http_get(server.port)}, expose_body=True) as caller:
        answer = await caller.get()
    assert (answer.status, answer.body) == (503, body[:10240])
    assert (answer.headers["content-type"], answer.headers["content-length"]) == ("text/html", "10240")
    assert b"X-Secret" not in answer.raw


async def test_an_exposed_body_that_cannot_be_had_leaves_the_reason():
    with app.closed_port() as port:
        async with sidecar({"/healthy": http_get(port, exposeBody=True)}) as caller:
            assert (await caller.get()).body == b"connection refused\n"


async def test_a_key_with_a_query_is_compared_with_its_query():
    async with app.serving(app.answer()) as server, sidecar({"/ready?full=1": http_get(server.port, "/x?y=z")}) as caller:
        assert (await caller.get("/ready?full=1")).status == 200
        assert (await caller.get("/ready")).status == 404
    assert server.requests[0].startswith(b"GET /x?y=z HTTP/1.1\r\n")


async def test_fifty_callers_at_once_are_one_request_and_those_who_leave_cancel_nothing():
    async with app.serving(app.after(0.05, app.answer())) as server, sidecar({"/healthy": http_get(server.port)}) as caller:
        asking = [asyncio.create_task(caller.get()) for _ in range(50)]
        for _ in range(10):
            _, leaving = await caller.connect()
            leaving.write(b"GET /healthy HTTP/1.1\r\nHost: x\r\n" + KUBELET_HEADERS)
            leaving.close()
        answers = await asyncio.gather(*asking)
        metrics = await caller.metrics()
    assert {answer.status for answer in answers} == {200}
    assert server.connections == 1
    assert metrics['healthproxy_shared_answers_total{probe="/healthy"}'] >= 49
    assert metrics['healthproxy_probes_total{probe="/healthy",reason="ok",result="success"}'] == 1


async def test_the_first_caller_may_leave_and_the_others_still_get_their_answer():
    async with app.serving(app.after(0.05, app.answer())) as server, sidecar({"/healthy": http_get(server.port)}) as caller:
        _, first = await caller.connect()
        first.write(b"GET /healthy HTTP/1.1\r\nHost: x\r\n" + KUBELET_HEADERS)
        while server.connections == 0:
            await asyncio.sleep(0.001)
        first.transport.abort()
        assert (await caller.get()).status == 200
    assert server.connections == 1


async def test_a_bug_of_ours_is_answered_500_and_logged(caplog):
    class Broken(Gate):
        def ask(self, caller, answer):
            raise KeyError("bug")

    probe = Probe("/healthy", HTTPGet(1))
    gate = Broken(probe, 0, run_probe, lambda *_: None, lambda _: None)
    port = OpenPort({probe.key: gate}, Bounds(8, 1.0), (), lambda *_: None)
    with listening("--listen", Address("127.0.0.1", 0)) as (listener,):
        with port.connections.serving([listener]):
            answer = await Caller("127.0.0.1", listener.getsockname()[1], 0).get()
    assert (answer.status, answer.body) == (500, b"healthproxy failed; its log says why\n")
    assert "KeyError: 'bug'" in caplog.text


async def test_the_containers_own_health_check_is_no_matter_of_allow_from():
    with app.closed_port() as port:
        async with sidecar({"/healthy": http_get(port)}, allow_from=["10.0.0.0/8"]) as caller:
            assert (await caller.get("/-/ready")).status == 200
            assert (await caller.get("/healthy")).status == 403


async def test_of_callers_who_lost_their_place_nothing_is_kept_while_the_app_hangs():
    async with app.serving(app.hang()) as server, sidecar({"/healthy": http_get(server.port)}, max_connections="4") as caller:
        waiting = []
        for _ in range(40):
            reader, writer = await caller.connect()
            writer.write(b"GET /healthy HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 8000 + b"\r\n\r\n")
            waiting.append((reader, writer))
        while (await caller.metrics())['healthproxy_refused_requests_total{reason="evicted"}'] < 36:
            await asyncio.sleep(0.001)
        gc.collect()
        assert sum(isinstance(thing, _Exchange) for thing in gc.get_objects()) <= 4
        for _, writer in waiting:
            writer.close()
