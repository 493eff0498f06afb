"""One `grpc.health.v1.Health/Check` as bytes: what the kubelet's gRPC prober sends and how it judges what comes back.

Mirrors pkg/probe/grpc of Kubernetes 1.36 and the rules of grpc-go for a unary call. Sits on h2, so it is imported only where a
gRPC probe is configured. Opens no socket: the sidecar's prober and `healthproxy check` move the bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, Event, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings

from healthproxy import kubelet
from healthproxy.probe import GRPC, Caller, Outcome, ProbeError, Reason

PATH = "/grpc.health.v1.Health/Check"
MAX_RECEIVED = 64 * 1024
"""Bytes of a whole answer; a health server's has about 200."""

_NOT_HTTP2 = "app did not answer in HTTP/2"
_SETTINGS, _GOAWAY = 4, 7
_STREAM = 1
_SERVING = 1
_HEALTH = {0: "UNKNOWN", _SERVING: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_UNKNOWN, _NOT_FOUND, _UNIMPLEMENTED = 2, 5, 12
NUMBER = re.compile(r"[+-]?[0-9]{1,10}", re.ASCII)
"""What a `grpc-status` must be."""
_CODES = (
    "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED RESOURCE_EXHAUSTED "
    "FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED"
).split()


class HealthCheck:
    """One call: `to_send()` gives what goes out, `receive()` takes what comes in until it returns the outcome."""

    def __init__(self, action: GRPC, caller: Caller) -> None:
        """Write the request."""
        self._received = 0
        self._pending = b""
        self._greeted = False
        self._headers: dict[str, str] = {}
        self._message = b""
        self._http = H2Connection(H2Configuration(client_side=True, header_encoding="latin-1", validate_inbound_headers=False))
        self._http.local_settings = Settings(client=True, initial_values={SettingCodes.ENABLE_PUSH: 0})
        self._http.initiate_connection()
        fields = (
            (":method", "POST"),
            (":scheme", "https" if action.tls else "http"),
            (":path", PATH),
            (":authority", kubelet.authority(action, caller)),
            ("content-type", "application/grpc"),
            ("user-agent", caller.user_agent or kubelet.USER_AGENT),
            ("te", "trailers"),
        )
        self._http.send_headers(_STREAM, fields)
        self._http.send_data(_STREAM, _encode_request(action.service), end_stream=True)

    def to_send(self) -> bytes:
        """Return what must go out by now: the request, later acknowledgements, at the end the farewell."""
        return self._http.data_to_send()

    def receive(self, data: bytes) -> Outcome | None:
        """Take what came, no bytes for the end of the connection. Raises ProbeError where grpc-go would fail the call."""
        self._received += len(data)
        if not data:
            raise ProbeError(Reason.RESET, kubelet.BROKEN_OFF)
        if self._received > MAX_RECEIVED:
            raise ProbeError(Reason.PROTOCOL, f"answer of more than {MAX_RECEIVED} bytes")
        self._pending += data
        while frame := self._next_frame():
            if _spares_us(frame):  # h2 would refuse to read the answer behind it
                continue
            try:
                events = self._http.receive_data(frame)
            except H2Error:
                raise ProbeError(Reason.PROTOCOL, _NOT_HTTP2) from None
            for event in events:
                if self._take(event):
                    self._http.close_connection()
                    return self._judge()
        return None

    def _next_frame(self) -> bytes:
        """Return the next frame when it is whole. One by one, for h2 waits for frames that it will refuse for their length."""
        if len(self._pending) < kubelet.FRAME_HEAD:
            return b""
        size, kind = kubelet.FRAME_HEAD + int.from_bytes(self._pending[:3], "big"), self._pending[3]
        if not self._greeted and kind != _SETTINGS:
            spoken = "HTTP/1" if self._pending.startswith(b"HTTP/") else "something else"
            raise ProbeError(Reason.PROTOCOL, f"app answered in {spoken}, not in gRPC")
        self._greeted = True
        if size > kubelet.FRAME_HEAD + self._http.max_inbound_frame_size:
            raise ProbeError(Reason.PROTOCOL, _NOT_HTTP2)
        if len(self._pending) < size:
            return b""
        frame, self._pending = self._pending[:size], self._pending[size:]
        return frame

    def _take(self, event: Event) -> bool:
        """Take in one event; true at the end of the answer."""
        match event:
            case TrailersReceived():
                self._headers = _fields(event.headers)
            case ResponseReceived():
                self._headers = _fields(event.headers)
                if not event.stream_ended:
                    self._headers.pop("grpc-status", None)  # it counts at the end alone
                status, kind = self._headers.get(":status"), self._headers.get("content-type", "")
                if status != "200":
                    raise ProbeError(Reason.PROTOCOL, "app answered in HTTP/2, but not in gRPC")
                if kind.partition(";")[0].partition("+")[0].strip() != "application/grpc":
                    raise ProbeError(Reason.PROTOCOL, "app answered in HTTP/2, but not in gRPC")
            case DataReceived():
                self._message += event.data or b""
            case StreamReset():
                raise ProbeError(Reason.RESET, "app reset the gRPC call")
            case ConnectionTerminated():
                raise ProbeError(Reason.RESET, "app is closing its gRPC connections")
        return isinstance(event, StreamEnded)

    def _judge(self) -> Outcome:
        status = self._headers.get("grpc-status", "")
        if not NUMBER.fullmatch(status):
            raise ProbeError(Reason.PROTOCOL, "app's gRPC answer has no status")
        code = int(status)
        if code == _UNIMPLEMENTED:
            raise ProbeError(Reason.PROTOCOL, "app has no gRPC health service (UNIMPLEMENTED)")
        if code == _NOT_FOUND:
            return Outcome(Reason.STATUS, "app does not know this gRPC service (NOT_FOUND)")
        if code != 0:
            return Outcome(Reason.STATUS, f"app answered gRPC status {_CODES[code if 0 < code < len(_CODES) else _UNKNOWN]}")
        health = _decode_response(self._message)
        said = f"app answered {_HEALTH.get(health, 'an unknown health')}"
        return Outcome(Reason.OK if health == _SERVING else Reason.NOT_SERVING, said)


def _spares_us(frame: bytes) -> bool:
    """Tell whether it is a GOAWAY of a server that will still answer our call."""
    return frame[3] == _GOAWAY and len(frame) >= 17 and int.from_bytes(frame[9:13], "big") & 0x7FFFFFFF >= _STREAM


def _fields(received: Iterable[Any] | None) -> dict[str, str]:
    fields = {str(name): str(value) for name, value in received or ()}
    if any(name != name.lower() for name in fields):
        raise ProbeError(Reason.PROTOCOL, _NOT_HTTP2)
    return fields


def _encode_request(service: str) -> bytes:
    name = service.encode()
    message = b"\x0a" + _encode_varint(len(name)) + name if name else b""
    return b"\0" + len(message).to_bytes(4, "big") + message


def _encode_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _decode_response(data: bytes) -> int:  # noqa: C901 - one case a wire type
    """Return the `status` of a HealthCheckResponse, the one message of the answer. Raises ProbeError for anything else."""
    if len(data) < 5 or data[0] or int.from_bytes(data[1:5], "big") != len(data) - 5:
        raise ProbeError(Reason.PROTOCOL, "app's gRPC answer is not one plain message")
    health, at, groups = 0, 5, list[int]()
    while at < len(data):
        tag, at = _decode_varint(data, at)
        number = tag >> 3
        match tag & 7 if number else None:
            case 0:
                value, at = _decode_varint(data, at)
                if number == 1 and not groups:
                    health = value & 0xFFFFFFFF  # an int32, as protobuf cuts it
            case 1:
                at += 8
            case 2:
                size, at = _decode_varint(data, at)
                at += size
            case 3:
                groups.append(number)
            case 4 if groups and groups.pop() == number:
                pass
            case 5:
                at += 4
            case _:
                at = len(data) + 1
    if at > len(data) or groups:
        raise ProbeError(Reason.PROTOCOL, "app's gRPC answer is no health check's")
    return health


def _decode_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at] if at < len(data) else 0x80
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value, at) if value < 1 << 64 else (0, len(data) + 1)
    return 0, len(data) + 1
