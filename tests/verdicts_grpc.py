"""The rows of the table of verdicts that say what the kubelet concludes of an answer to a gRPC health check.

Owns expectations alone; see `verdicts_tcp_grpc.py` for where they come from.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.app import in_turn, without_app
from tests.grpc_app import (
    ACK,
    ANY_STREAM,
    CANCEL,
    CONTINUATION,
    DATA,
    END_HEADERS,
    ENHANCE_YOUR_CALM,
    HEADERS,
    INTERNAL_ERROR,
    NO_ERROR,
    PADDED,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    SERVES,
    SERVING,
    WINDOW_UPDATE,
    Field,
    block,
    call,
    data,
    frame,
    going_away,
    head,
    headers,
    message,
    real_server,
    reset_stream,
    said,
    settings,
    trailers,
    trailers_only,
)
from tests.verdict_row import (
    AGAIN,
    BRIEF,
    CHECK,
    CUT,
    FRAMES,
    HEAD,
    HEALTH,
    LEAVING,
    MESSAGE,
    NO_TRAILERS,
    PROTO,
    TRAILERS,
    UNARY,
    Row,
    on,
)


def _health() -> Iterator[Row]:
    for status, number in (("UNKNOWN", 0), ("NOT_SERVING", 2), ("SERVICE_UNKNOWN", 3), ("an unknown status", 7)):
        yield Row(f"app says {status}", on(call(said(bytes([8, number])))), "not_serving", HEALTH)
    yield Row("app says SERVING", on(call(SERVES)), "ok", HEALTH)
    yield Row("app says nothing in its message", on(call(said(b""))), "not_serving", HEALTH)
    statuses = {"": "SERVING", "shop.Api": "SERVING", "shop.Sick": "NOT_SERVING", "shop.New": "UNKNOWN"}
    for service, reason in {
        "": "ok",
        "shop.Api": "ok",
        "shop.Sick": "not_serving",
        "shop.New": "not_serving",
        "none": "status",
    }.items():
        name = f"grpcio's own server, asked for {service or 'itself'}"
        yield Row(name, without_app(lambda: real_server(statuses)), reason, HEALTH, service=service)
    yield Row("grpcio's own server, not serving", without_app(lambda: real_server({"": "NOT_SERVING"})), "not_serving", HEALTH)
    yield Row("grpcio's own server without a health service", without_app(lambda: real_server(None)), "protocol", CHECK)
    long = "shop." + "A" * 300
    yield Row("a service with a long name", without_app(lambda: real_server({long: "SERVING"})), "ok", HEALTH, service=long)
    yield Row(
        "a service with a name beyond ASCII", without_app(lambda: real_server({"büro": "SERVING"})), "ok", HEALTH, service="büro"
    )


def _statuses() -> Iterator[Row]:
    for code in (1, 2, 3, 4, 5, 7, 8, 13, 14, 16, 17, 99):
        yield Row(f"grpc-status {code}", on(call(trailers_only(str(code), ("grpc-message", "app-secret")))), "status", CHECK)
        yield Row(
            f"grpc-status {code} behind SERVING", on(call(head() + data(message(SERVING)) + trailers(str(code)))), "status", CHECK
        )
    yield Row("grpc-status 12", on(call(trailers_only("12"))), "protocol", CHECK)
    yield Row("grpc-status 12 behind SERVING", on(call(head() + data(message(SERVING)) + trailers("12"))), "protocol", CHECK)
    yield Row("grpc-status 0 and no message", on(call(trailers_only("0"))), "protocol", UNARY)
    yield Row("grpc-status 0 in trailers and no message", on(call(head() + trailers())), "protocol", UNARY)
    for garbage in ("", "OK", "0x0", "zero", "0 0", "99999999999"):
        answer = head() + data(message(SERVING)) + trailers(garbage)
        yield Row(f"grpc-status that is none: {garbage or 'nothing'}", on(call(answer)), "protocol", TRAILERS)
    yield Row("grpc-status -1", on(call(head() + data(message(SERVING)) + trailers("-1"))), "status", TRAILERS)
    for odd in ("00", "+0"):
        yield Row(f"grpc-status {odd}", on(call(head() + data(message(SERVING)) + trailers(odd))), "ok", TRAILERS)
    nothing = headers(("x-note", "app-secret"), end=True)
    yield Row("trailers without grpc-status", on(call(head() + data(message(SERVING)) + nothing)), "protocol", TRAILERS)
    early = head(("grpc-status", "0")) + data(message(SERVING)) + nothing
    yield Row("grpc-status in the headers and none in the trailers", on(call(early)), "protocol", TRAILERS)
    early = head(("grpc-status", "14")) + data(message(SERVING)) + trailers()
    yield Row("grpc-status 14 in the headers and 0 in the trailers", on(call(early)), "ok", TRAILERS)
    yield Row("no trailers", on(call(head() + data(message(SERVING), end=True))), "protocol", NO_TRAILERS)
    early = head(("grpc-status", "0")) + data(message(SERVING), end=True)
    yield Row("grpc-status in the headers and no trailers", on(call(early)), "protocol", NO_TRAILERS)
    yield Row("headers alone, and the end", on(call(head(end=True))), "protocol", TRAILERS)


def _heads() -> Iterator[Row]:
    rest = data(message(SERVING)) + trailers()
    for status in ("404", "503", "401", "302", "204"):
        yield Row(
            f"HTTP status {status}", on(call(head(status=status, kind="text/plain") + data(b"no", end=True))), "protocol", HEAD
        )
        yield Row(f"HTTP status {status} beside SERVING", on(call(head(status=status) + rest)), "protocol", HEAD)
    for status in ("", "2000", "OK"):
        yield Row(f"HTTP status that is none: {status or 'nothing'}", on(call(head(status=status) + rest)), "protocol", HEAD)
    for kind in ("application/grpc+proto", "application/grpc;charset=utf-8", "application/grpc+"):
        yield Row(f"content-type {kind}", on(call(head(kind=kind) + rest)), "ok", HEAD)
    blind = "it looks at no content-type"
    for kind in ("", "text/html", "application/json", "application/grpc-web", "application/grpcx", "application/octet-stream"):
        app = on(call(head(kind=kind) + rest))
        yield Row(f"content-type {kind or 'none'}", app, "protocol", HEAD, grpcio_differs=blind)
    odd: dict[str, Field] = {
        "a value beyond UTF-8": ("x-note", "bür".encode("latin-1")),
        "a Connection header": ("connection", "close"),
        "a content-length": ("content-length", "7"),
        "a content-length that lies": ("content-length", "999"),
        "grpc-encoding": ("grpc-encoding", "gzip"),
        "an empty header": ("x-note", ""),
    }
    for name, field in odd.items():
        yield Row(f"headers with {name}", on(call(head(field) + rest)), "ok", HEAD)
    long = block((":status", "200"), ("content-type", "application/grpc"), ("x-note", "n" * 30_000))
    yield Row("headers of 30 KB", on(call(_split(long) + rest)), "ok", HEAD, grpcio_differs="it takes 16 KB of them")
    early = headers((":status", "103")) + SERVES
    yield Row("1xx before the answer", on(call(early)), "ok", HEAD, grpcio_differs="it takes 1xx for the answer")
    yield Row(
        "content-type in the trailers",
        on(call(head() + data(message(SERVING)) + trailers("0", ("content-type", "text/plain")))),
        "ok",
        TRAILERS,
    )
    yield Row("headers twice", on(call(head() + head() + rest)), "protocol", HEAD)


def _split(fields: bytes) -> bytes:
    """Write a header block that takes more than one frame."""
    parts = [fields[at : at + 16_000] for at in range(0, len(fields), 16_000)]
    kinds = [HEADERS] + [CONTINUATION] * (len(parts) - 1)
    return b"".join([frame(kind, part, END_HEADERS if part is parts[-1] else 0) for kind, part in zip(kinds, parts, strict=True)])


def _calls() -> Iterator[Row]:
    for name, code in (
        ("NO_ERROR", NO_ERROR),
        ("PROTOCOL_ERROR", PROTOCOL_ERROR),
        ("INTERNAL_ERROR", INTERNAL_ERROR),
        ("REFUSED_STREAM", REFUSED_STREAM),
        ("CANCEL", CANCEL),
        ("ENHANCE_YOUR_CALM", ENHANCE_YOUR_CALM),
        ("an unknown code", 99),
    ):
        again = reset_stream(code, 3) if code == REFUSED_STREAM else b""
        yield Row(f"call reset with {name}", on(call(reset_stream(code), again=again)), "reset", CUT)
        cut = head() + data(message(SERVING)) + reset_stream(code)
        yield Row(f"call reset with {name} behind the message", on(call(cut)), "reset", CUT)
    yield Row("call reset behind a whole answer", on(call(SERVES + reset_stream(NO_ERROR))), "ok", CUT)
    for last in (1, ANY_STREAM):
        yield Row(f"going away after stream {last}, and serves", on(call(going_away(last) + SERVES)), "ok", LEAVING)
        yield Row(f"going away after stream {last}, and closes", on(call(going_away(last), "close")), "reset", LEAVING)
    yield Row("going away for calling too often, and serves", on(call(going_away(1, ENHANCE_YOUR_CALM) + SERVES)), "ok", LEAVING)
    yield Row("serves, and goes away", on(call(SERVES + going_away(1))), "ok", LEAVING)
    other = on(in_turn(call(going_away(0), "close"), call(SERVES)))
    yield Row("goes away before the call and serves on another connection", other, "reset", AGAIN, alone="we ask once")
    twice = on(call(reset_stream(REFUSED_STREAM), again=_on_stream(3)))
    name = "call refused, and served when made again"
    yield Row(name, twice, "reset", AGAIN, alone="we ask once", grpcio_differs="it makes the call again on another connection")


def _on_stream(stream: int) -> bytes:
    return (
        headers((":status", "200"), ("content-type", "application/grpc"), stream=stream)
        + frame(DATA, message(SERVING), stream=stream)
        + headers(("grpc-status", "0"), end=True, stream=stream)
    )


def _messages() -> Iterator[Row]:
    def answered(payload: bytes) -> bytes:
        return head() + data(payload) + trailers()

    yield Row("two messages", on(call(answered(message(SERVING) * 2))), "protocol", UNARY)
    yield Row("SERVING and then NOT_SERVING", on(call(answered(message(SERVING) + message(b"\x08\x02")))), "protocol", UNARY)
    yield Row(
        "a message in pieces",
        on(call(head() + b"".join([data(bytes([byte])) for byte in message(SERVING)]) + trailers())),
        "ok",
        MESSAGE,
    )
    yield Row("a compressed message", on(call(answered(message(SERVING, flag=1)))), "protocol", MESSAGE)
    packed = head(("grpc-encoding", "gzip")) + data(message(SERVING, flag=1)) + trailers()
    yield Row("a compressed message that is none", on(call(packed)), "protocol", MESSAGE)
    yield Row("a message of an unknown kind", on(call(answered(message(SERVING, flag=2)))), "protocol", MESSAGE)
    yield Row("a message cut in its head", on(call(answered(message(SERVING)[:3]))), "protocol", MESSAGE)
    yield Row("a message cut in its body", on(call(answered(message(SERVING)[:-1]))), "protocol", MESSAGE)
    yield Row("a message longer than it says", on(call(answered(message(SERVING, length=1)))), "protocol", MESSAGE)
    yield Row("a message shorter than it says", on(call(answered(message(SERVING, length=3)))), "protocol", MESSAGE)
    yield Row("a message that says it has 4 GiB", on(call(answered(message(SERVING, length=2**32 - 1)))), "protocol", MESSAGE)
    filler = b"\x12\xd0\x0f" + b"n" * 2000
    yield Row("a message of 2 KB", on(call(answered(message(filler + SERVING)))), "ok", MESSAGE)
    large = message(filler * 29 + SERVING)
    pieces = b"".join([data(large[at : at + 16_000]) for at in range(0, len(large), 16_000)])
    yield Row("a message of 58 KB", on(call(head() + pieces + trailers())), "ok", MESSAGE)


def _protobuf() -> Iterator[Row]:
    for name, payload in {
        "an unknown number before": b"\x10\x05" + SERVING,
        "an unknown number behind": SERVING + b"\x10\x05",
        "an unknown text before": b"\x12\x03abc" + SERVING,
        "unknown fixed numbers before": b"\x19" + b"8" * 8 + b"\x25" + b"4" * 4 + SERVING,
        "an unknown group before": b"\x13\x10\x05\x14" + SERVING,
        "status twice, the last one serving": b"\x08\x02" + SERVING,
        "a tag and a status longer than they need be": b"\x88\x00\x81\x00",
        "a status of more than 32 bits": b"\x08\x81\x80\x80\x80\x10",
    }.items():
        yield Row(f"message with {name}", on(call(said(payload))), "ok", PROTO)
    for name, payload in {
        "status twice, the last one not serving": SERVING + b"\x08\x02",
        "a negative status": b"\x08" + b"\xff" * 9 + b"\x01",
        "status as a fixed number": b"\x09" + b"\1" * 8,
        "status as a text": b"\x0a\x01\x01",
    }.items():
        yield Row(f"message with {name}", on(call(said(payload))), "not_serving", PROTO)
    for name, payload in {
        "a tag and no value": b"\x08",
        "a value cut off": SERVING + b"\x08\x80",
        "a text longer than the message": SERVING + b"\x12\x7fabc",
        "a fixed number cut off": SERVING + b"\x1912",
        "an unknown kind of value": SERVING + b"\x16",
        "a group without an end": SERVING + b"\x13\x10\x05",
        "a group's end alone": SERVING + b"\x14",
        "field number 0": SERVING + b"\x00\x01",
        "a number of 11 bytes": SERVING + b"\x10" + b"\x80" * 10 + b"\x01",
        "text": b"SERVING",
    }.items():
        yield Row(f"message that is none: {name}", on(call(said(payload))), "protocol", PROTO)
    long = SERVING + b"\x10" + b"\x80" * 9 + b"\x02"
    name = "message that is none: a number of more than 64 bits"
    yield Row(name, on(call(said(long))), "protocol", PROTO, grpcio_differs="its protobuf cuts the number off")


def _frames() -> Iterator[Row]:
    ping = frame(PING, b"12345678", stream=0)
    for name, frames in {
        "500 PINGs": ping * 500,
        "500 answers to PINGs": frame(PING, b"12345678", ACK, 0) * 500,
        "500 SETTINGS": settings((3, 100)) * 500,
        "SETTINGS of every kind": settings((1, 0), (3, 1), (4, 0), (5, 16_384), (6, 100), (0x99, 1)),
        "an unknown frame": frame(0x77, b"what is this"),
        "a PRIORITY": frame(PRIORITY, b"\0\0\0\0\x10"),
        "a WINDOW_UPDATE": frame(WINDOW_UPDATE, b"\0\0\1\0") + frame(WINDOW_UPDATE, b"\0\0\1\0", stream=0),
        "empty DATA": head() + data(b"") * 50,
    }.items():
        answer = frames + (data(message(SERVING)) + trailers() if frames.startswith(head()) else SERVES)
        yield Row(f"{name} before the answer", on(call(answer)), "ok", FRAMES)
    padded = head() + frame(DATA, b"\x04" + message(SERVING) + b"\0" * 4, PADDED) + trailers()
    yield Row("padded DATA", on(call(padded)), "ok", FRAMES, grpcio_differs="it knows no padding of DATA")
    fields = block((":status", "200"), ("content-type", "application/grpc"))
    pieces = frame(HEADERS, fields[:3]) + frame(CONTINUATION, fields[3:6]) + frame(CONTINUATION, fields[6:], END_HEADERS)
    yield Row("headers in pieces", on(call(pieces + data(message(SERVING)) + trailers())), "ok", FRAMES)
    for name, broken in {
        "a frame longer than allowed": frame(DATA, b"n" * 20_000),
        "a header block that is none": frame(HEADERS, b"\xff\xff\xff\xff\xff\xff", END_HEADERS),
        "a PING of 4 bytes": frame(PING, b"1234", stream=0),
        "a SETTINGS on a stream": frame(4, b"", stream=1),
        "DATA padded beyond its end": head() + frame(DATA, b"\xff12", PADDED),
        "trailers without an end": head() + data(message(SERVING)) + headers(("grpc-status", "0")),
        "a CONTINUATION of nothing": frame(CONTINUATION, fields, END_HEADERS),
    }.items():
        yield Row(f"{name}", on(call(broken)), "protocol", FRAMES)
    yield Row("an answer to another call", on(call(_on_stream(3))), "protocol", FRAMES, BRIEF)


def rows() -> Iterator[Row]:
    """Give all of them."""
    for section in (_health, _statuses, _heads, _calls, _messages, _protobuf, _frames):
        yield from section()
