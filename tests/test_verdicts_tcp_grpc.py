"""Each row of the verdicts for `tcpSocket` and `grpc`, asked three ways, and by an independent prober; what the app sees of it.

Owns how the table is run: by the prober, by `healthproxy check`, through a running healthproxy, and by grpcio's own client.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from healthproxy.check import check
from healthproxy.probe import GRPC, TLS, Caller, Outcome, Probe, Reason, TCPSocket, join_host_port
from healthproxy.probers import run_probe
from tests import grpc_app
from tests.app import Behaviour, authority, hang, raw, serving, trusted, write_ca
from tests.grpc_app import SERVES, call, head, offering
from tests.sidecar import sidecar
from tests.test_verdicts import _names  # noqa: F401 - an autouse fixture: names resolve as the row says
from tests.verdict_row import Row, Verdict, Where
from tests.verdicts_tcp_grpc import ROWS

KUBELET = Caller("127.0.0.1", "kube-probe/1.36", "*/*")
LATE_SECONDS = 0.5
"""What a busy machine may add to a deadline."""
PATIENCE_SECONDS = 5.0
DEADLINE_SECONDS = 0.1
GRPCIO_SECONDS = 0.1

every_row = pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS])
tcp_rows = pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS if row.kind == "tcp"])
grpc_rows = pytest.mark.parametrize(
    "row", [pytest.param(row, id=row.name) for row in ROWS if row.kind == "grpc" and not row.grpcio_cannot]
)


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_ca(tmp_path_factory.mktemp("ca"))


def action_of(row: Row, where: Where, ca: str) -> TCPSocket | GRPC:
    port, path = (where, None) if isinstance(where, int) else (0, where)
    if row.kind == "tcp":
        return TCPSocket(port, row.host)
    tls = None if row.tls == "none" else TLS(ca if row.tls == "verified" else None)
    host = "localhost" if path else row.host
    return GRPC(port, row.service, host, row.host if ":" in row.host else None, tls, path)


def stanza_of(row: Row, where: Where, ca: str) -> dict[str, Any]:
    place: dict[str, Any] = {"port": where, "host": row.host} if isinstance(where, int) else {"unixSocket": where}
    if row.kind == "tcp":
        return {"tcpSocket": place, "timeoutSeconds": row.timeout}
    tls = {} if row.tls == "none" else {"tls": {"ca": ca} if row.tls == "verified" else {}}
    return {"grpc": {**place, "service": row.service}, "timeoutSeconds": row.timeout, **tls}


def assert_as_expected(outcome: Outcome, row: Row) -> None:
    assert outcome.reason.value == row.reason, outcome
    assert outcome.duration < row.timeout + LATE_SECONDS
    assert "app-secret" not in outcome.detail


def test_every_row_has_a_name_of_its_own() -> None:
    names = [row.name for row in ROWS]
    assert sorted(set(names)) == sorted(names)


@every_row
async def test_prober_concludes_what_the_kubelet_would(row: Row, ca: str) -> None:
    async with row.app() as where:
        outcome = await run_probe(Probe("/healthy", action_of(row, where, ca), deadline=row.timeout), KUBELET)
    assert_as_expected(outcome, row)


@every_row
async def test_check_concludes_what_the_kubelet_would(row: Row, ca: str) -> None:
    async with row.app() as where:
        outcome = await asyncio.to_thread(check, action_of(row, where, ca), row.timeout)
    assert_as_expected(outcome, row)


@every_row
async def test_open_port_answers_and_metrics_say_why(row: Row, ca: str) -> None:
    async with row.app() as where, sidecar({"/healthy": stanza_of(row, where, ca)}) as caller:
        asked = time.monotonic()
        answer = await caller.get()
        took = time.monotonic() - asked
        metrics = await caller.metrics()
    assert answer.status == row.status, answer.raw
    assert took < row.timeout + LATE_SECONDS
    assert b"app-secret" not in answer.raw
    counted = {name: count for name, count in metrics.items() if name.startswith("healthproxy_probes_total{") and count}
    result = "success" if row.reason == "ok" else "failure"
    assert counted == {f'healthproxy_probes_total{{probe="/healthy",reason="{row.reason}",result="{result}"}}': 1.0}


@tcp_rows
async def test_plain_connection_concludes_what_the_table_says(row: Row) -> None:
    def dial(port: int) -> Verdict:
        try:
            socket.create_connection((row.host, port), row.timeout).close()
        except OSError:
            return "failure"
        return "success"

    async with row.app() as where:
        assert isinstance(where, int)
        assert await asyncio.to_thread(dial, where) == row.kubelet


@pytest.mark.e2e
@grpc_rows
async def test_grpcio_concludes_what_the_table_says(row: Row) -> None:
    async with row.app() as where:
        verdict, detail = await asyncio.to_thread(ask_grpcio, row, where)
    if row.grpcio_differs:
        assert verdict != row.kubelet, f"{detail}; it does not differ any more"
    else:
        assert verdict == row.kubelet, detail


def ask_grpcio(row: Row, where: Where) -> tuple[Verdict, str]:
    """Ask as a real gRPC client does, without the proxies of this machine's environment."""
    # Where the table says failure some answers make grpcio wait for the end.
    timeout = PATIENCE_SECONDS if row.kubelet == "success" else GRPCIO_SECONDS
    target = join_host_port(row.host, where) if isinstance(where, int) else f"unix:{where}"
    options: list[tuple[str, Any]] = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    if isinstance(where, str) and row.tls == "verified":
        options.append(("grpc.ssl_target_name_override", "localhost"))
    if row.tls == "none":
        channel = grpc.insecure_channel(target, options)
    else:
        assert row.tls == "verified"
        channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(authority().cert_pem.bytes()), options)
    with channel:
        try:
            request = health_pb2.HealthCheckRequest(service=row.service)
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout)
        except grpc.RpcError as error:
            return "failure", str(error)
    serves = answer is not None and answer.status == health_pb2.HealthCheckResponse.SERVING
    return "success" if serves else "failure", str(answer)


@pytest.mark.parametrize("version", ["1.36", "1.30"])
async def test_app_sees_the_call_that_the_kubelet_makes(version: str) -> None:
    seen = grpc_app.Call()
    async with serving(grpc_app.recording(seen)) as app:
        action = GRPC(app.port, "shop.Api")
        outcome = await run_probe(Probe("/api", action), Caller("10.1.0.87", f"kube-probe/{version}", "*/*"))
        assert await app.ended() == "FIN"
    assert outcome.reason is Reason.OK
    assert seen.headers == [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", f"10.1.0.87:{app.port}"),
        ("content-type", "application/grpc"),
        ("user-agent", f"kube-probe/{version}"),
        ("te", "trailers"),
    ]
    assert seen.body == b"\0\0\0\0\x0a\x0a\x08shop.Api"
    assert health_pb2.HealthCheckRequest.FromString(seen.body[5:]).service == "shop.Api"


async def test_app_sees_the_callers_version_through_a_running_healthproxy() -> None:
    seen = grpc_app.Call()
    async with serving(grpc_app.recording(seen)) as app, sidecar({"/api": {"grpc": {"port": app.port}}}) as caller:
        answer = await caller.ask(b"GET /api HTTP/1.1\r\nHost: x\r\nUser-Agent: kube-probe/1.30\r\nConnection: close\r\n\r\n")
    fields = dict(seen.headers)
    assert (answer.status, fields["user-agent"], fields[":authority"]) == (200, "kube-probe/1.30", f"127.0.0.1:{app.port}")
    assert seen.body == b"\0\0\0\0\0"


async def test_authority_is_localhost_on_a_socket_file_and_the_scheme_is_https_over_tls(tmp_path: Path) -> None:
    seen, path = grpc_app.Call(), str(tmp_path / "app.sock")
    async with serving(grpc_app.recording(seen), socket_file=path, tls=offering(trusted, "h2")):
        outcome = await run_probe(Probe("/api", GRPC(host="localhost", unix_socket=path, tls=TLS())), KUBELET)
    fields = dict(seen.headers)
    assert (outcome.reason, fields[":authority"], fields[":scheme"]) == (Reason.OK, "localhost", "https")


ENDINGS: dict[str, tuple[Behaviour, bool]] = {
    "after a whole answer": (call(SERVES), False),
    "after garbage": (raw(b"HTTP/1.1 400 Bad Request\r\n\r\n", "hang"), False),
    "at the deadline of an app that says nothing": (hang(), True),
    "at the deadline of an app that greets": (call(b""), True),
    "at the deadline of an app that begins to answer": (call(head()), True),
}


@pytest.mark.parametrize("encrypted", [pytest.param(None, id="plain"), pytest.param(offering(trusted, "h2"), id="TLS")])
@pytest.mark.parametrize(("behaviour", "late"), [pytest.param(*ending, id=name) for name, ending in ENDINGS.items()])
@pytest.mark.parametrize("asked", ["prober", "check"])
async def test_call_ends_with_fin(behaviour: Behaviour, late: bool, asked: str, encrypted: ssl.SSLContext | None) -> None:
    async with serving(behaviour, tls=encrypted) as app:
        action = GRPC(app.port, tls=TLS() if encrypted else None)
        outcome = await ask(asked, action, DEADLINE_SECONDS if late else PATIENCE_SECONDS)
        assert await app.ended() == "FIN"
    assert (outcome.reason is Reason.TIMEOUT) == late


@pytest.mark.parametrize("asked", ["prober", "check"])
async def test_handshake_that_hangs_ends_with_fin(asked: str) -> None:
    async def take_hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        await hang()(reader, writer, request)

    async with serving(take_hello, at_once=True) as app:
        outcome = await ask(asked, GRPC(app.port, tls=TLS()), DEADLINE_SECONDS)
        assert await app.ended() == "FIN"
    assert outcome.reason is Reason.TIMEOUT


@pytest.mark.parametrize("asked", ["prober", "check"])
async def test_tcp_probe_sends_no_byte_and_ends_with_fin(asked: str) -> None:
    received: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _request: bytes) -> None:
        received.append(await reader.read())

    async with serving(note, at_once=True) as app:
        outcome = await ask(asked, TCPSocket(app.port), PATIENCE_SECONDS)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not received:
                await asyncio.sleep(0.001)
    assert (outcome.reason, received) == (Reason.OK, [b""])


async def ask(how: str, action: TCPSocket | GRPC, timeout: float) -> Outcome:
    if how == "check":
        return await asyncio.to_thread(check, action, timeout)
    return await run_probe(Probe("/healthy", action, deadline=timeout), KUBELET)
