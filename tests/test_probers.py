"""`run_probe` at its boundary: every failure is a value, and a fault of our own is told as such."""

import errno
import socket
import ssl

import pytest

from healthproxy.failures import explain, met_itself
from healthproxy.probe import AllOf, Caller, Endpoint, HTTPGet, Probe, ProbeError, Reason, Result
from healthproxy.probers import refuses, run_probe
from tests import app

CALLER = Caller("127.0.0.1", "kube-probe/1.36", "*/*")


@pytest.mark.parametrize(
    ("error", "reason", "detail"),
    [
        (ProbeError(Reason.PROTOCOL, "said so"), Reason.PROTOCOL, "said so"),
        (TimeoutError(), Reason.TIMEOUT, "no answer within 0.9 s"),
        (ConnectionRefusedError(), Reason.REFUSED, "connection refused"),
        (ConnectionResetError(), Reason.RESET, "connection reset"),
        (BrokenPipeError(), Reason.RESET, "connection reset"),
        (socket.gaierror(-2, "x"), Reason.REFUSED, "cannot resolve the app's host name"),
        (OSError(errno.EHOSTUNREACH, "x"), Reason.REFUSED, "app's host unreachable"),
        (OSError(errno.EADDRNOTAVAIL, "x"), Reason.REFUSED, "app's host unreachable"),
        (PermissionError(errno.EPERM, "x"), Reason.REFUSED, "no permission to connect"),
        (PermissionError(errno.EACCES, "x"), Reason.REFUSED, "no permission to connect"),
        (FileNotFoundError(errno.ENOENT, "x"), Reason.REFUSED, "no socket of the app at this path"),
        (OSError(errno.EPROTOTYPE, "x"), Reason.REFUSED, "no socket of the app at this path"),
        (OSError(errno.EMFILE, "x"), Reason.INTERNAL, "healthproxy could not ask the app: Too many open files"),
        (UnicodeError("x"), Reason.REFUSED, "cannot resolve the app's host name"),
        (OSError(errno.ETIMEDOUT, "x"), Reason.TIMEOUT, "no answer within 0.9 s"),
        (ssl.SSLError(1, "x"), Reason.TLS, "TLS failed: handshake broken off"),
        (
            ssl.SSLError(1, "[SSL] tlsv1 alert no application protocol (_ssl.c:1006)"),
            Reason.TLS,
            "TLS failed: app does not offer what this probe speaks: HTTP/1.1 for httpGet, HTTP/2 for grpc",
        ),
    ],
)
def test_each_failure_has_its_reason_and_a_line_for_people(error, reason, detail):
    outcome = explain(error, 0.9)
    assert outcome is not None
    assert (outcome.reason, outcome.detail) == (reason, detail)


@pytest.mark.parametrize("error", [OSError(errno.EBADF, "x"), KeyError("x"), ValueError("x")])
def test_what_is_no_failure_of_the_app_is_not_blamed_on_it(error):
    assert explain(error, 0.9) is None


def test_every_reason_stands_for_one_result():
    verdicts = {reason: reason.result for reason in Reason}
    assert [reason for reason, result in verdicts.items() if result is Result.SUCCESS] == [Reason.OK, Reason.REDIRECT]
    assert [reason for reason, result in verdicts.items() if result is Result.UNKNOWN] == [Reason.INTERNAL]


async def test_a_fault_of_our_own_is_an_outcome_and_a_line_in_the_log(caplog):
    probe = Probe("/x", HTTPGet(99_999))  # no configuration lets such a port through
    outcome = await run_probe(probe, CALLER)
    assert outcome.reason is Reason.INTERNAL
    assert "probe /x: cannot ask the app" in caplog.text
    assert "OverflowError" in caplog.text


async def test_a_name_that_does_not_resolve_is_a_failure():
    outcome = await run_probe(Probe("/x", HTTPGet(1, host="nowhere.invalid")), CALLER)
    assert (outcome.reason, outcome.result) == (Reason.REFUSED, Result.FAILURE)


async def test_an_app_is_gone_when_all_its_addresses_refuse():
    async with app.serving() as server:
        assert not await refuses(Endpoint("localhost", server.port), 0.2)
        await server.stop()
        assert await refuses(Endpoint("localhost", server.port), 0.2)
    with app.full_backlog() as hung:
        assert not await refuses(Endpoint("127.0.0.1", hung), 0.05)


async def test_an_app_behind_a_socket_file_is_gone_with_the_file_or_with_its_listener(tmp_path):
    path = tmp_path / "app.sock"
    place = Endpoint(unix_socket=str(path))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert not await refuses(place, 0.2)
    assert await refuses(place, 0.2)
    path.unlink()
    assert await refuses(place, 0.2)


async def test_a_socket_file_with_a_full_queue_is_waited_for_until_the_deadline(tmp_path):
    path = str(tmp_path / "app.sock")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as other:
        listener.bind(path)
        listener.listen(0)
        other.connect(path)
        outcome = await run_probe(Probe("/x", HTTPGet(unix_socket=path), deadline=0.05), CALLER)
    assert (outcome.reason, outcome.detail) == (Reason.TIMEOUT, "no answer within 0.05 s")


def test_a_socket_that_the_kernel_connected_to_itself_is_no_app():
    with socket.socket() as itself:
        itself.bind(("127.0.0.1", 0))
        itself.connect(itself.getsockname())
        assert met_itself(itself)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert not met_itself(client)


async def test_an_aggregate_whose_members_nobody_knows_is_a_fault_of_our_own(caplog):
    outcome = await run_probe(Probe("/all", AllOf(("/x",))), CALLER)
    assert outcome.reason is Reason.INTERNAL
    assert "nobody knows how to ask /x" in caplog.text
