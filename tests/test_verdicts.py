"""Each row of the table of verdicts, asked three ways: by the prober, through a running healthproxy, by `healthproxy check`."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from ssl import SSLContext
from typing import Any

import pytest

from healthproxy.check import check
from healthproxy.config import parse_config
from healthproxy.probe import TLS, Caller, HTTPGet, Outcome, Probe, Reason
from healthproxy.probers import run_probe
from healthproxy.server import running
from tests import app
from tests.verdicts import OK, ROWS, SECRET, Row, Verdict

KUBELET = Caller("127.0.0.1", "kube-probe/1.36", "*/*")
PATIENCE_SECONDS = 10
OURS = {b"Date", b"Content-Type", b"Content-Length", b"Connection"}
FAILED = {Reason.REFUSED: 502, Reason.RESET: 502, Reason.TLS: 502, Reason.PROTOCOL: 502, Reason.TIMEOUT: 504}
SUCCEEDED: dict[Reason, Verdict] = {Reason.OK: "success", Reason.REDIRECT: "warning"}

every_row = pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS])


def verdict_of(outcome: Outcome) -> tuple[Verdict, int | None]:
    """Return what the kubelet would conclude, and the status that says so on the open port."""
    assert outcome.reason is not Reason.INTERNAL
    return SUCCEEDED.get(outcome.reason, "failure"), FAILED.get(outcome.reason, outcome.code)


def action_of(row: Row, port: int) -> HTTPGet:
    return HTTPGet(port, "/healthy", row.host, row.host if ":" in row.host else None, row.scheme)


def stanza_of(action: HTTPGet, timeout: float) -> dict[str, Any]:
    where = {"path": action.path, "port": action.port, "host": action.host, "scheme": action.scheme.upper()}
    return {"httpGet": where, "timeoutSeconds": timeout}


@asynccontextmanager
async def open_port(stanza: dict[str, Any]) -> AsyncIterator[int]:
    """Run a healthproxy whose callers after the first share its outcome; gives its open port."""
    flags = {"listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0", "min_interval": "60"}
    config = parse_config(flags, {"HEALTHPROXY_PROBES": json.dumps({"/healthy": stanza})})
    async with running(config) as sidecar:
        yield sidecar.open_port[0].port


async def ask_raw(port: int) -> tuple[int, dict[bytes, bytes], bytes]:
    """Send the kubelet's bytes to the open port; return status, headers and body as they come to the end of the connection."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"GET /healthy HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: kube-probe/1.36\r\n"
            b"Accept: */*\r\nConnection: close\r\n\r\n" % port
        )
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    head, end, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    assert end
    return int(status.split(b" ")[1]), dict([line.split(b": ", 1) for line in lines]), body


@pytest.fixture(autouse=True)
def _names(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have names resolve as the row says, whatever this machine's hosts file holds."""
    row = request.node.callspec.params.get("row") if hasattr(request.node, "callspec") else None
    if row is None or not row.addresses:
        return

    def resolve(host: str, *rest: Any, **options: Any) -> list[Any]:
        names = row.addresses if host == row.host else [host]
        return [info for name in names for info in system(name, *rest, **options)]

    system = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def test_every_row_has_a_name_of_its_own() -> None:
    names = [row.name for row in ROWS]
    assert sorted(set(names)) == sorted(names)


@every_row
async def test_prober_concludes_what_the_kubelet_would(row: Row) -> None:
    async with row.app() as port:
        outcome = await run_probe(Probe("/healthy", action_of(row, port), deadline=row.timeout), KUBELET)
    assert verdict_of(outcome) == row.by_prober, outcome
    assert SECRET.decode() not in outcome.detail


@every_row
async def test_check_concludes_what_the_kubelet_would(row: Row) -> None:
    async with row.app() as port:
        outcome = await asyncio.to_thread(check, action_of(row, port), row.timeout)
    assert verdict_of(outcome) == row.by_check, outcome
    assert SECRET.decode() not in outcome.detail


@every_row
async def test_open_port_answers_the_kubelet_so_that_it_concludes_the_same(row: Row) -> None:
    async with row.app() as app_port, open_port(stanza_of(action_of(row, app_port), row.timeout)) as port:
        status, headers, body = await ask_raw(port)
        again = await run_probe(Probe("/healthy", HTTPGet(port, "/healthy"), deadline=PATIENCE_SECONDS), KUBELET)
    assert (SUCCEEDED.get(again.reason, "failure"), status) == row.by_prober, again
    assert again.code == status
    assert headers.keys() <= OURS
    assert SECRET not in b"".join([*headers, *headers.values(), body])
    if status in (204, 304):
        assert (b"Content-Length" in headers, body) == (False, b"")
    else:
        assert (int(headers[b"Content-Length"]), body.count(b"\n")) == (len(body), 1)


@pytest.mark.parametrize(
    ("certificate", "ca", "server_name", "expected"),
    [
        pytest.param(app.trusted, app.authority, None, ("success", 200), id="in order"),
        pytest.param(app.trusted, app.stranger, None, ("failure", 502), id="of another CA than the configured one"),
        pytest.param(app.unknown_ca, app.authority, None, ("failure", 502), id="of an unknown CA"),
        pytest.param(app.weak_key, app.authority, None, ("failure", 502), id="self-signed"),
        pytest.param(app.expired, app.authority, None, ("failure", 502), id="expired"),
        pytest.param(app.wrong_name, app.authority, None, ("failure", 502), id="for another name"),
        pytest.param(app.wrong_name, app.authority, "other.test", ("success", 200), id="for the configured serverName"),
        pytest.param(app.trusted, app.authority, "other.test", ("failure", 502), id="not for the configured serverName"),
    ],
)
async def test_certificate_is_verified_where_a_ca_is_configured(
    tmp_path: Path, certificate: Callable[[], SSLContext], ca: Callable[[], Any], server_name: str | None, expected: object
) -> None:
    file = app.write_ca(tmp_path, ca())
    async with app.serving(OK, tls=certificate()) as target:
        action = HTTPGet(target.port, "/healthy", scheme="https", tls=TLS(file, server_name))
        probed = await run_probe(Probe("/healthy", action, deadline=PATIENCE_SECONDS), KUBELET)
        checked = await asyncio.to_thread(check, action, PATIENCE_SECONDS)
        stanza = stanza_of(action, PATIENCE_SECONDS) | {"tls": {"ca": file, "serverName": server_name}}
        async with open_port(stanza) as port:
            status, _, _ = await ask_raw(port)
    assert verdict_of(probed) == verdict_of(checked) == expected
    assert (probed.reason in (Reason.OK, Reason.TLS), probed.reason) == (True, checked.reason)
    assert status == verdict_of(probed)[1]
