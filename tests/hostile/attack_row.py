"""What an attack on the open port is, how it is carried out, and what must come of it whoever the caller is.

Owns the row of the tables in this folder, the running healthproxy that they share, and the closed set of answers to what is no
probe, byte for byte: whatever a caller wrote cannot be in one of them. Holds no attack of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tests import app
from tests.sidecar import Caller, http_get, sidecar

KEY = "/healthy"
KEY_WITH_QUERY = "/ready?full=1"
ANSWERED = "answered"
"""What comes of an attack that is none: the caller gets the verdict, and the app sees what a kubelet would have sent."""
HOST = b"Host: x\r\n"
_PATIENCE_SECONDS = 5.0
_REFUSALS: dict[str, dict[bytes, tuple[bytes, ...]]] = {
    "unknown_path": {b"404 Not Found": (b"no such probe\n",)},
    "method": {b"405 Method Not Allowed": (b"only GET and HEAD\n",)},
    "malformed": {b"400 Bad Request": (b"malformed request\n", b"not HTTP/1.0 or 1.1\n")},
    "body": {b"413 Request Entity Too Large": (b"a probe has no body\n",), b"413 Content Too Large": (b"a probe has no body\n",)},
    "too_large": {b"431 Request Header Fields Too Large": (b"headers too large\n",)},
    "source": {b"403 Forbidden": (b"source address not allowed\n",)},
}
_DATE = re.compile(rb"\r\nDate: [A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT\r\n")


class Promise(StrEnum):
    """What DESIGN.md says of the open port, clause by clause; the figure is the promise's number."""

    SAME_REQUEST = "2: the app sees what the kubelet would have sent, and nothing added"
    TARGET = "3: request targets are compared byte for byte with the configured keys"
    METHOD = "3: GET and HEAD only"
    BODY = "3: no request body"
    QUERY = "3: no caller's query string"
    HEADERS = "3: no caller's headers but User-Agent and Accept"
    ORIGIN = "3: no redirect is followed out of the app's own scheme, host and port"
    SILENCE = "3: the app's body and headers do not come out unless asked for"
    ONE_FLIGHT = "4: inside minInterval callers share the last outcome"
    ONE_REQUEST = "4: one request per connection"
    BOUNDS = "4: connections, header bytes and the time to send them are bounded"
    LABELS = "5: no label ever takes a value that a caller chose"


@dataclass(frozen=True, slots=True)
class Attack:
    """One row: what is sent, and what comes of it."""

    promise: Promise
    name: str
    sent: bytes
    comes_of_it: str
    """The reason under which it is counted as refused, or `ANSWERED`."""
    cut_off: bool = False
    """Whether so much is sent that the answer may be lost with the connection."""

    def __str__(self) -> str:
        """Name the row in a test's id."""
        return self.name


def get(target: bytes, *lines: bytes, version: bytes = b"HTTP/1.1", host: bytes = HOST) -> bytes:
    """Write a GET, with header lines beside Host."""
    return b"GET " + target + b" " + version + b"\r\n" + host + b"".join([line + b"\r\n" for line in lines]) + b"\r\n"


def probe(*lines: bytes, then: bytes = b"") -> bytes:
    """Write a request for the configured key, with header lines beside Host and with bytes behind its end."""
    return get(KEY.encode(), *lines) + then


@dataclass(frozen=True, slots=True)
class Place:
    """A healthproxy under attack, and the app behind it."""

    caller: Caller
    server: app.App

    def asked_as(self, user_agent: bytes = b"kube-probe/1.36") -> bytes:
        """Return the one request that the app may see."""
        return (
            f"GET {KEY} HTTP/1.1\r\nHost: 127.0.0.1:{self.server.port}\r\n".encode()
            + b"User-Agent: "
            + user_agent
            + b"\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        )


@contextlib.asynccontextmanager
async def under_attack(min_interval: str = "0", header_timeout: str = "5") -> AsyncIterator[Place]:
    """Run a healthproxy whose every series exists; by default each valid probe asks the app."""
    async with app.serving(app.answer()) as server:
        table = {KEY: http_get(server.port, timeoutSeconds=4), KEY_WITH_QUERY: http_get(server.port, timeoutSeconds=4)}
        async with sidecar(table, min_interval=min_interval, header_timeout=header_timeout) as caller:
            for key in table:
                assert (await caller.get(key)).status == 200
            server.requests.clear()
            yield Place(caller, server)


async def exchange(caller: Caller, *pieces: bytes, leave: bool = False, patience: float = _PATIENCE_SECONDS) -> bytes:
    """Send pieces, each as a segment of its own, and return what comes back until the end of the connection, however it ends.

    With `leave` the caller says that he has sent everything. Raises TimeoutError for a connection that does not end.
    """
    reader, writer = await caller.connect()
    received = b""
    try:
        async with asyncio.timeout(patience):
            with contextlib.suppress(OSError):
                for piece in pieces:
                    writer.write(piece)
                    if piece is not pieces[-1]:
                        await asyncio.sleep(0.001)
                if leave:
                    writer.write_eof()
                while data := await reader.read(65536):
                    received += data
    finally:
        writer.transport.abort()
    return received


def refusals(reason: str, *, head_only: bool = False) -> set[bytes]:
    """Return every answer that may be counted under this reason, `undated()`."""
    answers = set[bytes]()
    for status, lines in _REFUSALS[reason].items():
        for line in lines:
            allow = b"Allow: GET, HEAD\r\n" if reason == "method" else b""
            length = str(len(line)).encode()
            answers.add(
                b"HTTP/1.1 "
                + status
                + b"\r\n"
                + allow
                + b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: "
                + length
                + b"\r\nConnection: close\r\n\r\n"
                + (b"" if head_only else line)
            )
    return answers


def verdict(line: bytes = b"ok\n", status: bytes = b"200 OK", *, head_only: bool = False) -> bytes:
    """Return the whole of an answer that carries a verdict, `undated()`."""
    length = str(len(line)).encode()
    return (
        b"HTTP/1.1 "
        + status
        + b"\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: "
        + length
        + b"\r\nConnection: close\r\n\r\n"
        + (b"" if head_only else line)
    )


def undated(answer: bytes) -> bytes:
    """Take the one thing that differs out of an answer."""
    return _DATE.sub(b"\r\n", answer, count=1)


async def carry_out(place: Place, attack: Attack) -> None:
    """Send an attack, and see that nothing came of it but what its row says."""
    before, asked = await place.caller.metrics(), place.server.connections
    place.server.requests.clear()
    answer = undated(await exchange(place.caller, attack.sent))
    after = await place.caller.metrics()
    head_only = attack.sent.startswith(b"HEAD ")
    if attack.comes_of_it == ANSWERED:
        assert answer == verdict(head_only=head_only)
        assert place.server.requests == [place.asked_as()]
    else:
        expected = {b""} if attack.comes_of_it == "header_timeout" else refusals(attack.comes_of_it, head_only=head_only)
        assert answer in expected or (attack.cut_off and answer == b"")
        assert place.server.connections == asked, "the app was asked"
    assert refused(before, after) == ({} if attack.comes_of_it == ANSWERED else {attack.comes_of_it: 1})
    assert after.keys() == before.keys(), "a series appeared"
    assert after["healthproxy_open_connections"] == 0


def refused(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Return by reason how many requests were turned away between two scrapes."""
    grown = {series: value - before.get(series, 0) for series, value in after.items() if "_refused_requests_total" in series}
    return {series.split('"')[1]: value for series, value in grown.items() if value}


_watchers: list[list[tuple[str, Any]]] = []


@contextlib.contextmanager
def watching() -> Iterator[list[tuple[str, Any]]]:
    """Note where this process connects to and which names it looks up, by Python's own audit events."""
    if not hasattr(watching, "hooked"):
        watching.hooked = True  # type: ignore[attr-defined]  # such a hook can never be taken back
        sys.addaudithook(_note)
    seen: list[tuple[str, Any]] = []
    _watchers.append(seen)
    try:
        yield seen
    finally:
        _watchers.remove(seen)


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if _watchers and event in ("socket.connect", "socket.getaddrinfo"):
        for seen in _watchers:
            seen.append((event, arguments[1] if event == "socket.connect" else arguments[:2]))
