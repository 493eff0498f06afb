"""What `healthproxy check --explain` shows of each app: the note beside every phase, and the kubelet's event.

Owns expectations alone. The words of the events are the kubelet's and Go's: `tests/e2e/test_explain.py` asks Go's HTTP client for
its own, those of gRPC were compared with what grpc-go says to the same apps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.app import after, answer, closed_port, full_backlog, hang, raw, redirect, trusted, without_app
from tests.grpc_app import GREETING, INTERNAL_ERROR, SERVES, call, head, offering, reset_stream, said, trailers_only
from tests.verdict_row import Place, on

TIMEOUT = 0.2
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"
HERE, NO = "127.0.0.1:{port}", "not reached"
FAILED, LIKE = "Warning Unhealthy Readiness probe failed: ", "Warning Unhealthy, in words like these Readiness probe failed: "
ERRORED = "Warning Unhealthy Readiness probe errored and resulted in failure state: "
WARNING = "Warning ProbeWarning Readiness probe warning: Probe terminated redirects, Response body: "
LIKE_ERRORED = ERRORED.replace("Unhealthy", "Unhealthy, in words like these")
GET = 'Get "{target}": '
AWAITED = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
TRIES = " (the kubelet tries 3 times, then forgets this result; healthproxy counts a failure)"
POD = " (the kubelet asks the pod's IP, and writes that in place of 127.0.0.1)"
LATE = FAILED + GET + AWAITED + POD
NONE = "none: the kubelet writes one for a failure or a warning only"
NOT_CONNECTED = FAILED + 'timeout: failed to connect service "127.0.0.1:{port}" within {within}: context deadline exceeded'
AGAIN = " (until then the kubelet connects again and again)"
NO_RPC = FAILED + "timeout: health rpc did not complete within {within}"
RPC = "error: health rpc probe failed: rpc error: code = "


def hung(what: str) -> str:
    return f"hung: no {what} within {TIMEOUT:g} s"


@dataclass(frozen=True)
class Case:
    """An app, and what is shown of a probe of it."""

    name: str
    app: Place
    rows: Mapping[str, str]
    event: str
    target: str = "http://127.0.0.1:{port}/healthy"


ANSWERED = {"connect": HERE, "first byte": ""}
ENCRYPTED = {"connect": HERE, "TLS": "TLSv1.3", "first byte": ""}
UNANSWERED = {"first byte": NO, "headers": NO, "body": NO}
WHOLE = {**ANSWERED, "headers": "200", "body": "2 bytes"}
TLS, RPC_TARGET = "https://127.0.0.1:{port}/healthy", "grpc://127.0.0.1:{port}/shop.Api"

HTTP = [
    Case("answers", on(answer()), WHOLE, NONE),
    Case(
        "answers after 1xx",
        on(raw(b"HTTP/1.1 103 Early Hints\r\n\r\n" + LONG[:-3] + b"n" * 100)),
        {**WHOLE, "body": "100 bytes"},
        NONE,
    ),
    Case(
        "says it is sick",
        on(answer(503, b"database unreachable\n")),
        {**ANSWERED, "headers": "503", "body": "21 bytes"},
        FAILED + "HTTP probe failed with statuscode: 503",
    ),
    Case(
        "nobody listens",
        without_app(closed_port),
        {"connect": HERE + ", failed: connection refused", **UNANSWERED},
        FAILED + GET + "dial tcp 127.0.0.1:{port}: connect: connection refused" + POD,
    ),
    Case(
        "nobody accepts",
        without_app(full_backlog),
        {"connect": f"{HERE}, {hung('connection')}", **UNANSWERED},
        LIKE + GET + AWAITED + POD,
    ),
    Case("never answers", on(hang()), {"connect": HERE, "first byte": hung("first byte"), "headers": NO, "body": NO}, LATE),
    Case(
        "closes without a byte",
        on(raw(b"")),
        {"connect": HERE, "first byte": "failed: connection closed before the answer was complete", "headers": NO, "body": NO},
        FAILED + GET + "EOF" + POD,
    ),
    Case(
        "resets without a byte",
        on(raw(b"", "reset")),
        {"connect": HERE, "first byte": "failed: connection reset", "headers": NO, "body": NO},
        LIKE + GET + "read tcp NODE:PORT->127.0.0.1:{port}: read: connection reset by peer" + POD,
    ),
    Case(
        "hangs in the headers", on(raw(LONG[:30], "hang")), {**ANSWERED, "headers": hung("end of the headers"), "body": NO}, LATE
    ),
    Case(
        "closes in the headers",
        on(raw(LONG[:30])),
        {**ANSWERED, "headers": "failed: connection closed before the answer was complete", "body": NO},
        LIKE + GET + "net/http: HTTP/1.x transport connection broken: unexpected EOF" + POD,
    ),
    Case(
        "is no HTTP server",
        on(raw(b"SSH-2.0-OpenSSH_9.2\r\n")),
        {**ANSWERED, "headers": "failed: app did not answer in HTTP/1", "body": NO},
        LIKE + GET + 'net/http: HTTP/1.x transport connection broken: malformed HTTP response "..."' + POD,
    ),
    Case(
        "switches protocols",
        on(raw(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")),
        {**ANSWERED, "headers": "failed: app answered 101 in place of a real status", "body": NO},
        FAILED + "HTTP probe failed with statuscode: 101",
    ),
    Case(
        "hangs in the body",
        on(raw(LONG, "hang")),
        {**ANSWERED, "headers": "200", "body": hung("end of the body")},
        ERRORED + "context deadline exceeded (Client.Timeout or context cancellation while reading body)" + TRIES,
    ),
    Case(
        "closes in the body",
        on(raw(LONG)),
        {**ANSWERED, "headers": "200", "body": "failed: connection closed before the answer was complete"},
        LIKE_ERRORED + "unexpected EOF" + TRIES,
    ),
    Case(
        "resets in the body",
        on(raw(LONG, "reset")),
        {**ANSWERED, "headers": "200", "body": "failed: connection reset"},
        LIKE_ERRORED + "read tcp NODE:PORT->127.0.0.1:{port}: read: connection reset by peer" + TRIES + POD,
    ),
    Case("answers over TLS", on(answer(), trusted()), {**ENCRYPTED, "headers": "200", "body": "2 bytes"}, NONE, TLS),
    Case(
        "hangs in the handshake",
        on(hang(), at_once=True),
        {"connect": HERE, "TLS": hung("end of the handshake"), **UNANSWERED},
        LATE,
        TLS,
    ),
    Case(
        "resets in the handshake",
        on(after(0.03, raw(b"", "reset")), at_once=True),  # at once it is a race
        {"connect": HERE, "TLS": "failed: connection closed during the handshake", **UNANSWERED},
        LIKE + GET + "EOF" + POD,
        TLS,
    ),
    Case(
        "speaks no TLS",
        on(raw(b"HTTP/1.0 400 Bad Request\r\n\r\n"), at_once=True),
        {"connect": HERE, "TLS": "failed: wrong version number", **UNANSWERED},
        LIKE + GET + "http: server gave HTTP response to HTTPS client" + POD,
        TLS,
    ),
    Case(
        "speaks HTTP/2 alone",
        on(raw(b"\x15\x03\x03\x00\x02\x02\x78"), at_once=True),  # alert 120
        {
            "connect": HERE,
            "TLS": "failed: app does not offer what this probe speaks: HTTP/1.1 for httpGet, HTTP/2 for grpc",
            **UNANSWERED,
        },
        "unknown: the kubelet would speak HTTP/2 to this app, which check does not",
        TLS,
    ),
    Case(
        "speaks HTTP/2 alone and without ALPN",
        on(raw(GREETING), trusted()),
        {**ENCRYPTED, "headers": "failed: app speaks HTTP/2 only: if it is a gRPC app, probe it with grpc", "body": NO},
        "unknown: the kubelet would speak HTTP/2 to this app, which check does not",
        TLS,
    ),
    Case(
        "speaks HTTP/2 alone and without TLS",
        on(raw(GREETING)),
        {**ANSWERED, "headers": "failed: app speaks HTTP/2 only: if it is a gRPC app, probe it with grpc", "body": NO},
        LIKE + GET + 'net/http: HTTP/1.x transport connection broken: malformed HTTP response "..."' + POD,
    ),
]
REDIRECTS = [
    Case(
        "redirects to another host",
        on(redirect("http://elsewhere.example/", body=b"gone")),
        {**ANSWERED, "headers": "302, Location: http://elsewhere.example/", "body": "4 bytes"},
        WARNING + "gone",
    ),
    Case("redirects without a Location", on(answer(304)), {**ANSWERED, "headers": "304", "body": "0 bytes"}, WARNING.rstrip()),
    Case(
        "redirects to another port",
        on(redirect("http://127.0.0.1:1/x")),
        {**ANSWERED, "headers": "302, Location: http://127.0.0.1:1/x", "body": "0 bytes"},
        "unknown: the kubelet would go on to http://127.0.0.1:1/x "
        "(check and healthproxy follow a redirect only to the same scheme, host and port)",
    ),
    Case(
        "redirects to no URL",
        on(redirect("/%zz")),
        {**ANSWERED, "headers": "302, Location: /%zz", "body": NO},
        LIKE + GET + 'failed to parse Location header "/%zz": parse "/%zz": ...' + POD,
    ),
]
OTHERS = [
    Case("accepts", on(hang(), at_once=True), {"connect": HERE}, NONE, "tcp://127.0.0.1:{port}"),
    Case(
        "does not listen",
        without_app(closed_port),
        {"connect": HERE + ", failed: connection refused"},
        FAILED + "dial tcp 127.0.0.1:{port}: connect: connection refused" + POD,
        "tcp://127.0.0.1:{port}",
    ),
    Case(
        "does not accept",
        without_app(full_backlog),
        {"connect": f"{HERE}, {hung('connection')}"},
        FAILED + "dial tcp 127.0.0.1:{port}: i/o timeout" + POD,
        "tcp://127.0.0.1:{port}",
    ),
    Case(
        "answers a socket file",
        on(answer(503), unix=True),
        {"connect": "{port}", "first byte": "", "headers": "503", "body": "2 bytes"},
        FAILED + "HTTP probe failed with statuscode: 503 (asked through healthproxy, for the kubelet reaches no socket file)",
        "http://unix:{port}:/healthy",
    ),
    Case(
        "redirects behind a socket file",
        on(redirect("http://elsewhere.example/"), unix=True),
        {"connect": "{port}", "first byte": "", "headers": "302, Location: http://elsewhere.example/", "body": "0 bytes"},
        WARNING + "app answered 302 (asked through healthproxy, for the kubelet reaches no socket file)",
        "http://unix:{port}:/healthy",
    ),
]


def rpc(name: str, app: Place, answered: str, event: str) -> Case:
    return Case(name, app, {"connect": HERE, "greeting": "", "answer": answered}, event, RPC_TARGET)


def no_rpc(name: str, app: Place, rows: Mapping[str, str], note: str = AGAIN) -> Case:
    return Case(name, app, {**rows, "answer": NO}, NOT_CONNECTED + note + POD, RPC_TARGET)


CALLS = [
    rpc("serves", on(call(SERVES)), "app answered SERVING", NONE),
    rpc(
        "does not serve",
        on(call(said(b"\x08\x02"))),
        "app answered NOT_SERVING",
        FAILED + 'service unhealthy (responded with "NOT_SERVING")',
    ),
    rpc(
        "has a health of its own making",
        on(call(said(b"\x08\x07"))),
        "app answered an unknown health",
        LIKE + 'service unhealthy (responded with "...")',
    ),
    rpc(
        "has no health service",
        on(call(trailers_only("12", ("grpc-message", "unknown%20service")))),
        "failed: app has no gRPC health service (UNIMPLEMENTED)",
        FAILED + "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): unknown service",
    ),
    rpc(
        "does not know the service",
        on(call(trailers_only("5", ("grpc-message", "no such service")))),
        "app does not know this gRPC service (NOT_FOUND)",
        FAILED + RPC + "NotFound desc = no such service",
    ),
    rpc(
        "answers a status of its own making",
        on(call(trailers_only("99", ("grpc-message", "odd")))),
        "app answered gRPC status UNKNOWN",
        FAILED + RPC + "Code(99) desc = odd",
    ),
    rpc(
        "answers a negative status",
        on(call(trailers_only("-1", ("grpc-message", "odd")))),
        "app answered gRPC status UNKNOWN",
        FAILED + RPC + "Code(4294967295) desc = odd",
    ),
    rpc("answers that it was late", on(call(trailers_only("4"))), "app answered gRPC status DEADLINE_EXCEEDED", NO_RPC),
    rpc("begins to answer", on(call(head())), hung("end of the answer"), NO_RPC),
    rpc("answers without a status", on(call(head(end=True))), "failed: app's gRPC answer has no status", LIKE + RPC + "..."),
    rpc("resets the call", on(call(reset_stream(INTERNAL_ERROR))), "failed: app reset the gRPC call", LIKE + RPC + "..."),
    no_rpc("never greets", on(hang()), {"connect": HERE, "greeting": hung("HTTP/2 greeting")}, note=""),
    no_rpc("is an HTTP/1 server", on(answer(400)), {"connect": HERE, "greeting": "failed: app answered in HTTP/1, not in gRPC"}),
    no_rpc("refuses", without_app(closed_port), {"connect": HERE + ", failed: connection refused", "greeting": NO}),
    Case(
        "does not serve over TLS",
        on(call(said(b"\x08\x02")), offering(trusted, "h2")),
        {"connect": HERE, "TLS": "TLSv1.3", "greeting": "", "answer": "app answered NOT_SERVING"},
        FAILED + "HTTP probe failed with statuscode: 503 (asked through healthproxy, for the kubelet's gRPC probe speaks no TLS)",
        "grpcs://127.0.0.1:{port}",
    ),
]

CASES = (*HTTP, *REDIRECTS, *OTHERS, *CALLS)
