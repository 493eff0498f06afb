"""A running healthproxy that the fuzzer attacks from both sides, and what must hold whatever either says.

Owns the invariants. Makes no bytes of its own. Raises AssertionError for what must not be.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator
from typing import Any

from tests import app
from tests.hostile.attack_row import exchange, refusals, undated, verdict, watching
from tests.sidecar import Caller, http_get, sidecar

HEADER_TIMEOUT_SECONDS = 1.0
_PATIENT: dict[str, Any] = {"timeoutSeconds": 4}
"""Every answer here has an end, so that nobody is late unless the machine is."""
_LOOK_EVERY = 25
"""Examples between two scrapes, which cost more than an example."""
_CLOSE_ENOUGH_SECONDS = 5.0

_TO_CALLERS = {b"", verdict(), verdict(head_only=True)}.union(
    *[
        refusals(reason, head_only=head_only)
        for reason in ("unknown_path", "method", "malformed", "body", "too_large")
        for head_only in (True, False)
    ]
)
_TO_THE_APP = re.compile(
    rb"GET /healthy HTTP/1\.1\r\nHost: 127\.0\.0\.1:[0-9]+\r\nUser-Agent: kube-probe/[0-9]{1,4}\.[0-9]{1,4}\+?\r\n"
    rb"Accept: \*/\*\r\n"
    rb"(?:X-Tenant: [\t\x20-\x7e\x80-\xff]*\r\n)*Connection: close\r\n\r\n"
)
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_MAY_BE_ANSWERED = re.compile(
    rb"[\r\n]*(?:GET|HEAD) +(?:/healthy|/ready\?full=1|/tenant|/-/ready|/-/healthy) +HTTP/1\.([01])\r\n"
    rb"((?:" + _TOKEN + rb":[\t\x20-\x7e\x80-\xff]*\r\n)*)\r\n"
)
_LINES = (
    b"ok|app answered [1-9][0-9]{2}|connection reset|connection closed before the answer was complete"
    b"|app did not answer in HTTP/[12]"
    b"|app speaks HTTP/2 only: if it is a gRPC app, probe it with grpc|stopped after 10 redirects"
    b"|headers of more than 1048576 bytes"
    b"|redirect to something that is no URL|app answered 101 in place of a real status"
    b"|app answered (?:UNKNOWN|SERVING|NOT_SERVING|SERVICE_UNKNOWN|an unknown health)|app answered gRPC status [A-Z_]+"
    rb"|app does not know this gRPC service \(NOT_FOUND\)|app has no gRPC health service \(UNIMPLEMENTED\)"
    b"|app's gRPC answer [a-z ]+"
    b"|app answered in HTTP/2, but not in gRPC|app answered in (?:HTTP/1|something else), not in gRPC|app reset the gRPC call"
    b"|app is closing its gRPC connections|answer of more than 65536 bytes"
)
_TO_THE_KUBELET = re.compile(
    rb"HTTP/1\.1 ([1-9][0-9]{2}) [A-Za-z -]*\r\n"
    rb"(?:Content-Type: ([\x20-\x7e]{1,256})\r\nContent-Length: ([0-9]+)\r\n)?Connection: close\r\n\r\n(.*)",
    re.DOTALL,
)


class Target(logging.Handler):
    """The healthproxy under attack; also the listener for what it must never log."""

    def __init__(self, caller: Caller, server: app.App, known: set[str], seen: list[tuple[str, object]]) -> None:
        super().__init__(logging.ERROR)
        self._caller = caller
        self._server = server
        self._known = known
        self._seen = seen
        self._examples = 0
        self._logged: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what was logged as an error, ours and asyncio's."""
        self._logged.append(logging.Formatter().format(record))

    async def receive_request(self, sent: bytes, cuts: list[int]) -> None:
        """Be a caller who sends this, in these segments, and then no more."""
        self._server.behaviour = app.answer()
        pieces = []
        rest = sent
        for size in cuts:
            pieces.append(rest[:size])
            rest = rest[size:]
        answer = undated(await exchange(self._caller, *filter(None, pieces), rest, leave=True, patience=_CLOSE_ENOUGH_SECONDS))
        assert answer in _TO_CALLERS, answer
        assert not answer.startswith(b"HTTP/1.1 200 ") or may_be_answered(sent), "answered what is no probe"
        await self._look()

    async def hold_requests(self, all_sent: list[bytes]) -> None:
        """Be callers who send this and then wait."""
        self._server.behaviour = app.answer()
        patience = HEADER_TIMEOUT_SECONDS + _CLOSE_ENOUGH_SECONDS
        answers = await asyncio.gather(*[exchange(self._caller, sent, patience=patience) for sent in all_sent])
        assert {undated(answer) for answer in answers} <= _TO_CALLERS
        self._examples = 0
        await self._look()

    async def receive_answer(self, data: bytes, key: str, reset: bool) -> None:
        """Be an app that answers this to the probe of `key`."""
        self._server.behaviour = _saying(data, reset)
        answer = undated((await self._caller.get(key)).raw)
        parts = _TO_THE_KUBELET.fullmatch(answer)
        assert parts, answer
        status, kind, length, body = parts.groups()
        assert (length is None) == (status in (b"204", b"304"))
        assert len(body) == int(length or 0) <= 10 * 1024
        if key != "/exposed" and length:
            assert kind == b"text/plain; charset=utf-8"
            assert re.fullmatch(_LINES, body.removesuffix(b"\n")), body
        await self._look()

    async def _look(self) -> None:
        """Look at everything that an example may have left behind."""
        self._examples += 1
        requests, self._server.requests[:] = self._server.requests[:], []
        for request in requests:
            assert request.startswith((b"PRI ", b"GET /")), request
            assert _TO_THE_APP.fullmatch(request) or self._server.behaviour.__name__ == "say", request
        assert not self._logged, self._logged.pop()
        asked = {place for event, place in self._seen if event == "socket.connect"}
        ports = {self._caller.open_port, self._caller.admin_port, self._server.port}
        assert asked <= {("127.0.0.1", port) for port in ports}, asked
        self._seen.clear()
        if self._examples % _LOOK_EVERY == 1:
            await self._scrape()

    async def _scrape(self) -> None:
        async with asyncio.timeout(_CLOSE_ENOUGH_SECONDS):
            while (metrics := await self._caller.metrics())["healthproxy_open_connections"]:
                await asyncio.sleep(0.005)
        strange = {
            name for name in metrics.keys() - self._known if not re.search(r'_responses_total\{code="[1-5][0-9]{2}"', name)
        }
        assert not strange
        assert not [name for name, value in metrics.items() if "internal" in name and value]


def may_be_answered(sent: bytes) -> bool:
    """Tell whether a request is a probe by the letter of RFC 9112, with no more leniency than blanks in its first line."""
    found = _MAY_BE_ANSWERED.match(sent)
    if not found:
        return False
    minor, lines = found.groups()
    fields = [
        (name.lower(), value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines.split(b"\r\n")[:-1])
    ]
    names = [name for name, _ in fields]
    lengths = [value for name, value in fields if name == b"content-length"]
    return (
        b"transfer-encoding" not in names
        and len(lengths) <= 1
        and all(re.fullmatch(rb"0+", value) for value in lengths)
        and (names.count(b"host") == 1 or (minor == b"0" and names.count(b"host") <= 1))
    )


def _saying(data: bytes, reset: bool) -> app.Behaviour:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _head: bytes) -> None:
        writer.write(data)
        with contextlib.suppress(OSError):
            await writer.drain()
            if reset:
                app.reset(writer)
            else:
                writer.write_eof()
                await reader.read()  # what is left unread would make a RST of our FIN

    return say


@contextlib.asynccontextmanager
async def target() -> AsyncIterator[Target]:
    """Run a healthproxy with a probe of each kind that either side can attack."""
    async with app.serving() as server:
        grpc = {"grpc": {"port": server.port}, **_PATIENT}
        table = {
            "/healthy": http_get(server.port, **_PATIENT),
            "/ready?full=1": http_get(server.port, **_PATIENT),
            "/tenant": http_get(server.port, forwardHeaders=["X-Tenant"], **_PATIENT),
            "/exposed": http_get(server.port, exposeBody=True, **_PATIENT),
            "/grpc": grpc,
        }
        async with sidecar(table, min_interval="0", header_timeout=str(HEADER_TIMEOUT_SECONDS)) as caller:
            known = set(await caller.metrics())
            with watching() as seen:
                attacked = Target(caller, server, known, seen)
                logging.getLogger().addHandler(attacked)
                try:
                    yield attacked
                finally:
                    logging.getLogger().removeHandler(attacked)
