"""The table of verdicts for `tcpSocket` and `grpc`: what the kubelet concludes of each app, and what healthproxy must say of it.

Owns expectations alone: here how apps connect, greet, encrypt and fall silent; `verdicts_grpc.py` has what they answer. They come
from the kubelet's probers (pkg/probe/tcp and pkg/probe/grpc of Kubernetes) and from grpc-go, never from what healthproxy does;
`test_verdicts_tcp_grpc.py` holds each row of gRPC against grpcio as well.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

from tests.app import (
    Then,
    after,
    answer,
    authority,
    closed_port,
    drip,
    endless,
    expired,
    full_backlog,
    full_socket_file,
    hang,
    in_turn,
    raw,
    trusted,
    unknown_ca,
    without_app,
    wrong_name,
)
from tests.grpc_app import GREETING, PING, SERVES, call, data, frame, going_away, head, offering, real_server
from tests.verdict_row import (
    ALPN,
    BRIEF,
    CONNECT,
    DEADLINE,
    DIAL,
    HEALTH,
    LEAVING,
    PREFACE,
    READER,
    REDIAL,
    TLS,
    UNIX,
    Row,
    at_file,
    on,
)
from tests.verdicts_grpc import rows as answers

PINGS = frame(PING, b"12345678", stream=0)
SMTP = b"220 app.test ESMTP\r\n"
UNVERIFYING = "it verifies certificates always"
RESOLVING = "it resolves names by itself"


def _tcp() -> Iterator[Row]:
    silent = on(hang(), at_once=True)
    both = ("::1", "127.0.0.1")
    yield Row("tcp: accepts", silent, "ok", CONNECT, kind="tcp")
    yield Row("tcp: greets at once", on(raw(SMTP, "hang"), at_once=True), "ok", CONNECT, kind="tcp")
    yield Row("tcp: greets at length", on(endless(SMTP), at_once=True), "ok", CONNECT, kind="tcp")
    yield Row("tcp: closes at once", on(raw(b""), at_once=True), "ok", CONNECT, kind="tcp")
    # At once is a race that even the kubelet may lose.
    yield Row("tcp: resets soon", on(after(0.03, raw(b"", "reset")), at_once=True), "ok", CONNECT, kind="tcp")
    yield Row("tcp: speaks TLS", on(answer(), trusted()), "ok", CONNECT, kind="tcp")
    yield Row("tcp: ::1", on(hang(), host="::1", at_once=True), "ok", CONNECT, kind="tcp", host="::1")
    for addresses in (("127.0.0.1",), ("::1",), both, ("127.0.0.1", "::1")):
        tried = " and then ".join(addresses)
        here = on(hang(), host=addresses[-1], at_once=True)
        yield Row(f"tcp: localhost, which is {tried}", here, "ok", CONNECT, kind="tcp", host="localhost", addresses=addresses)
    nobody = without_app(closed_port)
    yield Row("tcp: localhost, where nobody listens", nobody, "refused", CONNECT, kind="tcp", host="localhost", addresses=both)
    yield Row("tcp: refused", nobody, "refused", CONNECT, kind="tcp")
    # The kernel has no route for a connection to everybody: no packet leaves the machine.
    yield Row("tcp: unreachable", nobody, "refused", CONNECT, kind="tcp", host="255.255.255.255")
    yield Row("tcp: nobody accepts and the queue is full", without_app(full_backlog), "timeout", CONNECT, BRIEF, "tcp")


def _dials() -> Iterator[Row]:
    both = ("::1", "127.0.0.1")
    yield Row("refused", without_app(closed_port), "refused", DIAL)
    yield Row("unreachable", without_app(closed_port), "refused", DIAL, host="255.255.255.255")
    yield Row("nobody accepts and the queue is full", without_app(full_backlog), "timeout", DEADLINE, BRIEF)
    yield Row(
        "localhost, which is ::1",
        on(call(SERVES), host="::1"),
        "ok",
        DIAL,
        host="localhost",
        addresses=("::1",),
        grpcio_cannot=RESOLVING,
    )
    here = on(call(SERVES))
    yield Row(
        "localhost, which is ::1 and then 127.0.0.1", here, "ok", DIAL, host="localhost", addresses=both, grpcio_cannot=RESOLVING
    )
    yield Row("::1", on(call(SERVES), host="::1"), "ok", DIAL, host="::1")
    yield Row("closes at once", on(raw(b""), at_once=True), "reset", DIAL)
    yield Row("resets at once", on(raw(b"", "reset"), at_once=True), "reset", DIAL)
    yield Row("closes after the preface", on(raw(b"")), "reset", DIAL)
    yield Row("resets after the preface", on(raw(b"", "reset")), "reset", DIAL)
    later = on(in_turn(raw(b""), call(SERVES)))
    yield Row(
        "closes the first connection and serves the second",
        later,
        "reset",
        REDIAL,
        alone="we ask once",
        grpcio_differs="Check does not wait for a connection",
    )


def _strangers() -> Iterator[Row]:
    for status in (400, 200, 101):
        yield Row(f"HTTP/1 server that answers {status}", on(answer(status)), "protocol", PREFACE)
        yield Row(f"HTTP/1 server that answers {status} and waits", on(answer(status, then="hang")), "protocol", PREFACE)
    yield Row("HTTP/1 server that answers in pieces", on(drip(b"HTTP/1.1 400 Bad", 0.01)), "protocol", PREFACE)
    yield Row("SMTP server", on(raw(SMTP, "hang"), at_once=True), "protocol", PREFACE)
    yield Row("SSH server", on(raw(b"SSH-2.0-OpenSSH_9.2\r\n", "hang"), at_once=True), "protocol", PREFACE)
    yield Row("garbage", on(raw(bytes(range(256)), "hang")), "protocol", PREFACE)
    yield Row("zeros without end", on(endless(b"\0" * 9, b"\0" * 999)), "protocol", PREFACE)
    yield Row("PINGs without end and no answer", on(call(endless(b"", PINGS * 100))), "protocol", DEADLINE)
    yield Row("garbage too short for a frame, and the end", on(raw(b"\x15\x03\x01")), "reset", PREFACE)
    yield Row("answers without a greeting", on(call(SERVES, greeting=b"")), "protocol", PREFACE)


def _silence() -> Iterator[Row]:
    for name, behaviour in (
        ("accepts and says nothing", hang()),
        ("greets and says nothing more", call(b"")),
        ("answers with headers alone", call(head())),
        ("answers without an end", call(SERVES[:-20])),
        ("sends a byte now and then", drip(GREETING + SERVES, 0.04)),
        ("answers a byte now and then", call(drip(SERVES, 0.04))),
        ("sends PINGs now and then and no answer", call(drip(PINGS * 50, 0.002))),
    ):
        yield Row(name, on(behaviour), "timeout", DEADLINE, BRIEF)
    yield Row("answers late", on(after(0.5, call(SERVES))), "timeout", DEADLINE, BRIEF)
    yield Row("answers in time", on(after(0.05, call(SERVES))), "ok", DEADLINE)
    yield Row("answers in pieces, in time", on(call(drip(SERVES, 0.0005))), "ok", DEADLINE)


def _ends() -> Iterator[Row]:
    ends: tuple[tuple[Then, str], ...] = (("close", "closes"), ("reset", "resets"))
    for then, how in ends:
        yield Row(f"{how} after its greeting", on(call(b"", then)), "reset", READER)
        yield Row(f"{how} after the headers", on(call(head(), then)), "reset", READER)
        yield Row(f"{how} in the message", on(call(head() + data(b"\0\0"), then)), "reset", READER)
        yield Row(f"{how} before the trailers", on(call(SERVES[:-30], then)), "reset", READER)
        yield Row(f"{how} in a frame", on(call(SERVES[:-1], then)), "reset", READER)
        yield Row(f"{how} after a whole answer", on(call(SERVES, then)), "ok", HEALTH)
    yield Row("says it is going away, and closes", on(call(going_away(0), "close")), "reset", LEAVING)


def _tls() -> Iterator[Row]:
    serves = call(SERVES)
    for name, certificate in (
        ("in order", trusted),
        ("of an unknown CA", unknown_ca),
        ("that is expired", expired),
        ("for another name", wrong_name),
    ):
        app = on(serves, offering(certificate, "h2"))
        reason = "ok" if certificate is trusted else "tls"
        yield Row(f"TLS, not verified: a certificate {name}", app, "ok", TLS, tls="unverified", grpcio_cannot=UNVERIFYING)
        yield Row(f"TLS, verified: a certificate {name}", app, reason, TLS, tls="verified")
    both = on(serves, offering(trusted, "http/1.1", "h2"))
    yield Row("TLS: offers h2 and http/1.1", both, "ok", TLS, tls="verified")
    yield Row("TLS: offers no ALPN", on(serves, offering(trusted)), "tls", ALPN, tls="verified")
    yield Row("TLS: offers http/1.1 alone", on(serves, offering(trusted, "http/1.1")), "tls", ALPN, tls="verified")
    not_serving = without_app(lambda: real_server({"": "NOT_SERVING"}, certificate=authority().issue_cert("127.0.0.1")))
    yield Row("TLS: grpcio's own server, not serving", not_serving, "not_serving", HEALTH, tls="verified")
    serving = without_app(lambda: real_server({"": "SERVING"}, certificate=authority().issue_cert("127.0.0.1")))
    yield Row("TLS: grpcio's own server", serving, "ok", HEALTH, tls="verified")
    yield Row("TLS asked of a plain app", on(call(SERVES)), "timeout", TLS, BRIEF, tls="verified")
    yield Row(
        "TLS asked of an HTTP/1 app", on(raw(b"HTTP/1.0 400 Bad Request\r\n\r\n"), at_once=True), "tls", TLS, tls="verified"
    )
    yield Row("plain asked of a TLS app", on(serves, offering(trusted, "h2")), "reset", READER)
    yield Row("TLS handshake that hangs", on(hang(), at_once=True), "timeout", TLS, BRIEF, tls="verified")
    yield Row("TLS handshake closed at once", on(raw(b""), at_once=True), "tls", TLS, tls="verified")
    yield Row("TLS handshake reset", on(after(0.03, raw(b"", "reset")), at_once=True), "tls", TLS, tls="verified")
    yield Row("TLS and no answer", on(call(b""), offering(trusted, "h2")), "timeout", DEADLINE, BRIEF, tls="verified")
    yield Row(
        "TLS and closes after its greeting", on(call(b"", "close"), offering(trusted, "h2")), "reset", READER, tls="verified"
    )
    yield Row("TLS refused", without_app(closed_port), "refused", DIAL, tls="verified")


def _unix() -> Iterator[Row]:
    @contextlib.contextmanager
    def left_behind(path: str) -> Iterator[None]:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(path)
            yield

    @contextlib.contextmanager
    def datagrams(path: str) -> Iterator[None]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind(path)
            yield

    @contextlib.contextmanager
    def common_file(path: str) -> Iterator[None]:
        Path(path).touch()
        yield

    @contextlib.contextmanager
    def directory(path: str) -> Iterator[None]:
        Path(path).mkdir()
        yield

    no_file = at_file(lambda path: contextlib.nullcontext())
    yield Row("socket file: serves", on(call(SERVES), unix=True), "ok", UNIX)
    yield Row("socket file: grpcio's own server", at_file(lambda path: real_server({"": "SERVING"}, path)), "ok", UNIX)
    yield Row(
        "socket file: grpcio's own server, not serving",
        at_file(lambda path: real_server({"": "NOT_SERVING"}, path)),
        "not_serving",
        UNIX,
    )
    yield Row(
        "socket file: TLS",
        on(call(SERVES), offering(trusted, "h2"), unix=True),
        "ok",
        UNIX,
        tls="unverified",
        grpcio_cannot=UNVERIFYING,
    )
    yield Row("socket file: TLS, verified", on(call(SERVES), offering(trusted, "h2"), unix=True), "ok", UNIX, tls="verified")
    yield Row("socket file: does not exist", no_file, "refused", UNIX)
    yield Row("socket file: nobody listens any more", at_file(left_behind), "refused", UNIX)
    yield Row("socket file: is a common file", at_file(common_file), "refused", UNIX)
    yield Row("socket file: is a directory", at_file(directory), "refused", UNIX)
    yield Row("socket file: is one for datagrams", at_file(datagrams), "refused", UNIX)
    yield Row("socket file: nobody accepts and the queue is full", at_file(full_socket_file), "timeout", UNIX, BRIEF)
    yield Row("socket file: says nothing", on(hang(), unix=True), "timeout", DEADLINE, BRIEF)
    yield Row("socket file: closes at once", on(raw(b""), at_once=True, unix=True), "reset", READER)
    yield Row("socket file: HTTP/1 server", on(answer(400), unix=True), "protocol", PREFACE)


ROWS = tuple([row for section in (_tcp, _dials, answers, _strangers, _silence, _ends, _tls, _unix) for row in section()])
