"""A gRPC app that misbehaves in every way a probe may meet, written frame by frame; and a real one, grpcio's own.

Owns the app's side of HTTP/2. Its behaviours are for `tests.app.serving()`. Knows nothing of healthproxy and judges nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc
import trustme
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, StreamEnded
from hpack import Encoder

from tests.app import Behaviour, Then, raw, until_client_ends

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED, ACK = 0x1, 0x4, 0x8, 0x1
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 0, 1, 2, 7, 8, 11
ANY_STREAM = 2**31 - 1
"""The last stream that a GOAWAY names which cuts off none."""
Field = tuple[str, str | bytes]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\n"
"""What `tests.app` takes for the head of a request."""


def frame(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 1, length: int | None = None) -> bytes:
    """Write one frame; `length` is for one that lies about its own."""
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def settings(*pairs: tuple[int, int], flags: int = 0) -> bytes:
    """Write a SETTINGS frame: number and value."""
    payload = b"".join([number.to_bytes(2, "big") + value.to_bytes(4, "big") for number, value in pairs])
    return frame(SETTINGS, payload, flags, stream=0)


def block(*fields: Field) -> bytes:
    """Write a header block that needs no earlier one."""
    return Encoder().encode(fields, huffman=False)


def headers(*fields: Field, end: bool = False, stream: int = 1) -> bytes:
    """Write a HEADERS frame."""
    return frame(HEADERS, block(*fields), END_HEADERS | (END_STREAM if end else 0), stream)


def head(*more: Field, status: str = "200", kind: str = "application/grpc", end: bool = False) -> bytes:
    """Write the headers that open an answer."""
    return headers((":status", status), *([("content-type", kind)] if kind else []), *more, end=end)


def data(payload: bytes, *, end: bool = False) -> bytes:
    """Write a DATA frame."""
    return frame(DATA, payload, END_STREAM if end else 0)


def message(payload: bytes, flag: int = 0, length: int | None = None) -> bytes:
    """Write a gRPC message; `length` is for one that lies about its own."""
    return bytes([flag]) + (len(payload) if length is None else length).to_bytes(4, "big") + payload


def trailers(status: str = "0", *more: Field) -> bytes:
    """Write the end of an answer."""
    return headers(("grpc-status", status), *more, end=True)


def trailers_only(status: str, *more: Field) -> bytes:
    """Write an answer without a message, which is one HEADERS frame."""
    return head(("grpc-status", status), *more, end=True)


def said(payload: bytes) -> bytes:
    """Write a decent answer with one message."""
    return head() + data(message(payload)) + trailers()


def reset_stream(code: int, stream: int = 1) -> bytes:
    """Write the end of a call that is none."""
    return frame(RST_STREAM, code.to_bytes(4, "big"), stream=stream)


def going_away(last: int, code: int = NO_ERROR) -> bytes:
    """Write the farewell of a server that will still answer calls up to `last`."""
    return frame(GOAWAY, last.to_bytes(4, "big") + code.to_bytes(4, "big"), stream=0)


SERVING = b"\x08\x01"
"""A HealthCheckResponse."""
GREETING = settings()
"""What an HTTP/2 server sends before anything else."""
SERVES = said(SERVING)


def call(answer: bytes | Behaviour, then: Then = "hang", *, greeting: bytes | None = None, again: bytes = b"") -> Behaviour:
    """Greet, read one whole call, answer it, and with `again` a second one on the same connection."""
    greeting = GREETING if greeting is None else greeting

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        assert request == _PREFACE
        await reader.readexactly(6)
        writer.write(greeting)
        await _read_call(reader, writer if greeting else None)
        if again:
            assert isinstance(answer, bytes)
            writer.write(answer)
            await _read_call(reader, writer)
        if isinstance(answer, bytes):
            await raw(again or answer, then)(reader, writer, request)
        else:
            await answer(reader, writer, request)

    return behave


async def _read_call(reader: asyncio.StreamReader, acknowledging: asyncio.StreamWriter | None) -> None:
    kind = flags = -1
    while kind not in (DATA, HEADERS) or not flags & END_STREAM:
        start = await reader.readexactly(9)
        kind, flags = start[3], start[4]
        await reader.readexactly(int.from_bytes(start[:3], "big"))
        if kind == SETTINGS and not flags & ACK and acknowledging:
            acknowledging.write(settings(flags=ACK))


@dataclass
class Call:
    """A call as an HTTP/2 server sees it."""

    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    ended: bool = False


def recording(call: Call) -> Behaviour:
    """Take a call in with a real HTTP/2 implementation, and answer that the app serves."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        http = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        http.initiate_connection()
        http.receive_data(request)
        while not call.ended:
            writer.write(http.data_to_send())
            for event in http.receive_data(await reader.read(65536)):
                _note(call, event)
        writer.write(http.data_to_send() + SERVES)
        await until_client_ends(reader)

    return behave


def _note(call: Call, event: Event) -> None:
    match event:
        case RequestReceived():
            call.headers = [(str(name), str(value)) for name, value in event.headers or ()]
        case DataReceived():
            call.body += event.data or b""
        case StreamEnded():
            call.ended = True


@functools.cache
def offering(certificate: functools._lru_cache_wrapper[ssl.SSLContext], *protocols: str) -> ssl.SSLContext:
    """Serve one of the certificates of `tests.app` and offer protocols by ALPN; none: do without ALPN."""
    context = certificate.__wrapped__()
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


@contextlib.contextmanager
def real_server(
    statuses: Mapping[str, str] | None, socket_file: str = "", certificate: trustme.LeafCert | None = None
) -> Iterator[int]:
    """Run grpcio's own server with its own health service, by service the name of a status; None: without one."""
    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    if statuses is not None:
        servicer = health.HealthServicer()
        for service, status in statuses.items():
            servicer.set(service, health_pb2.HealthCheckResponse.ServingStatus.Value(status))
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    place = f"unix:{socket_file}" if socket_file else "127.0.0.1:0"
    if certificate:
        pair = (certificate.private_key_pem.bytes(), b"".join([pem.bytes() for pem in certificate.cert_chain_pems]))
        port = server.add_secure_port(place, grpc.ssl_server_credentials([pair]))
    else:
        port = server.add_insecure_port(place)
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()
