"""The HTTP prober: one `httpGet`, with the kubelet's rules, over aiohttp's response parser.

Owns the connections to the app, from connect to FIN. Knows no deadline, no clock and no metric, and lets every error out: they
belong to `run_probe`.
"""

from __future__ import annotations

import asyncio
import contextlib

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpResponseParser, RawResponseMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from healthproxy import kubelet
from healthproxy.probe import Caller, HTTPGet, Outcome, ProbeError, Reason
from healthproxy.probers.stream import Stream, open_stream

MAX_HEAD = 1024 * 1024
"""Bytes of status line and headers, 1xx answers included; Go's client allows ten times as much."""
_HEAD_END = b"\r\n\r\n"
_BUFFER = 256 * 1024


async def probe_http(action: HTTPGet, caller: Caller) -> Outcome:
    """Ask the app as the kubelet would and judge what it answers."""
    request = kubelet.first_request(action, caller)
    for _ in range(kubelet.MAX_REQUESTS):
        stream = await open_stream(action, request.encode())
        try:
            answer = _Answer()
            head = await answer.read_head(stream)
            following = kubelet.next_request(request, head.code, head.headers.get("Location", ""))
            if following is None:
                body = await answer.read_body(stream, kubelet.MAX_BODY)
                content_type = head.headers.get("Content-Type", "")
                return Outcome(kubelet.judge(head.code), f"app answered {head.code}", head.code, 0.0, body, content_type)
            await answer.skip_redirect_body(stream, head)
            request = following
        finally:
            stream.close()
    raise ProbeError(Reason.PROTOCOL, f"stopped after {kubelet.MAX_REQUESTS} redirects")


class _Answer:
    """One answer of the app, read from a stream as far as it is wanted."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        # The parser wants a protocol to pause when a body grows; we stop reading long before.
        self._parser = HttpResponseParser(
            BaseProtocol(loop),
            loop,
            _BUFFER,
            max_line_size=MAX_HEAD,
            max_field_size=MAX_HEAD,
            max_headers=MAX_HEAD,
            read_until_eof=True,
            auto_decompress=False,
        )
        self._head: RawResponseMessage | None = None
        self._body: StreamReader = EMPTY_PAYLOAD
        self._informational = 0

    async def read_head(self, stream: Stream) -> RawResponseMessage:
        """Read until the headers of the final answer are whole."""
        received = 0
        while self._head is None:
            data = await stream.receive()
            if not data:
                raise ProbeError(Reason.RESET, "connection closed before the answer was complete")
            received += len(data)
            if received > MAX_HEAD:
                raise ProbeError(Reason.PROTOCOL, f"headers of more than {MAX_HEAD} bytes")
            # Head by head: the parser gives nothing back from a chunk that ends in garbage, and garbage behind a whole answer
            # is none of the kubelet's business.
            while data and self._head is None:
                head, end, data = data.partition(_HEAD_END)
                self._feed(head + end)
            self._feed_body(data)
        return self._head

    async def read_body(self, stream: Stream, limit: int) -> bytes:
        """Read the body to its end or to `limit` bytes."""
        while self._body.total_bytes < limit and not self._body.is_eof():
            data = await stream.receive()
            if data:
                self._feed_body(data)
            else:
                self._end()
        return self._body.read_nowait()[:limit] if self._body.total_bytes else b""

    async def skip_redirect_body(self, stream: Stream, head: RawResponseMessage) -> None:
        """Wait for a short body as Go does before it follows a redirect, and like it do not mind if that breaks off."""
        length = head.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) > kubelet.MAX_REDIRECT_BODY:
            return
        with contextlib.suppress(ConnectionError, ProbeError):
            await self.read_body(stream, kubelet.MAX_REDIRECT_BODY)

    def _feed(self, data: bytes) -> None:
        try:
            messages, _, _ = self._parser.feed_data(data)
        except HttpProcessingError:
            raise ProbeError(Reason.PROTOCOL, "app did not answer in HTTP/1") from None
        for head, body in messages:
            if 100 <= head.code < 200:
                self._informational += 1
                if head.code == 101 or self._informational > kubelet.MAX_INFORMATIONAL:
                    raise ProbeError(Reason.PROTOCOL, f"app answered {head.code} in place of a real status")
            elif self._head is None:
                self._head, self._body = head, body

    def _feed_body(self, data: bytes) -> None:
        if data and not self._body.is_eof():
            try:
                self._feed(data)
            except ProbeError:
                if not self._body.is_eof():
                    raise

    def _end(self) -> None:
        """Take the end of the connection for the end of the answer, if it may be."""
        try:
            self._parser.feed_eof()
        except HttpProcessingError:
            raise ProbeError(Reason.RESET, "connection closed before the answer was complete") from None
