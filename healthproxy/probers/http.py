"""The HTTP prober: one `httpGet`, with the kubelet's rules, over aiohttp's response parser.

Owns the connections to the app, from connect to FIN. Knows no deadline, no clock and no metric, and lets every error out: they
belong to `run_probe`.
"""

from __future__ import annotations

import asyncio
import contextlib

from healthproxy import kubelet
from healthproxy.parsers import (
    EMPTY_PAYLOAD,
    BaseProtocol,
    HttpProcessingError,
    HttpResponseParser,
    RawResponseMessage,
    StreamReader,
)
from healthproxy.probe import Caller, HTTPGet, Outcome, ProbeError, Reason
from healthproxy.probers.stream import Stream, open_stream

_HEAD_END = b"\r\n\r\n"
_BUFFER = 256 * 1024


async def probe_http(action: HTTPGet, caller: Caller) -> Outcome:
    """Ask the app as the kubelet would and judge what it answers."""
    request = kubelet.first_request(action, caller)
    for _ in range(kubelet.MAX_REQUESTS):
        stream = await open_stream(action.endpoint, request.encode())
        try:
            answer = _Answer(stream)
            head = await answer.read_head()
            following = kubelet.next_request(request, head.code, head.headers.get("Location", ""))
            if following is None:
                body = await answer.read_body(kubelet.MAX_BODY)
                content_type = head.headers.get("Content-Type", "")
                return Outcome(kubelet.judge(head.code), f"app answered {head.code}", head.code, 0.0, body, content_type)
            await answer.skip_redirect_body()
            request = following
        finally:
            stream.close()
    raise ProbeError(Reason.PROTOCOL, f"stopped after {kubelet.MAX_REQUESTS} redirects")


class _Answer:
    """One answer of the app, read from a stream as far as it is wanted."""

    def __init__(self, stream: Stream) -> None:
        loop = asyncio.get_running_loop()
        # The parser wants a protocol to pause when a body grows; we stop reading long before.
        self._parser = HttpResponseParser(
            BaseProtocol(loop),
            loop,
            _BUFFER,
            max_line_size=kubelet.MAX_HEAD,
            max_field_size=kubelet.MAX_HEAD,
            max_headers=kubelet.MAX_HEAD,
            read_until_eof=True,
            auto_decompress=False,
        )
        self._stream = stream
        self._head: RawResponseMessage | None = None
        self._body: StreamReader = EMPTY_PAYLOAD
        self._rest = b""  # what came with the head and belongs to the body

    async def read_head(self) -> RawResponseMessage:
        """Read until the headers of the final answer are whole; those of 1xx answers go before them."""
        received = 0
        while self._head is None:
            data = await self._stream.receive()
            received += len(data)
            if not data:
                raise ProbeError(Reason.RESET, kubelet.BROKEN_OFF)
            if received > kubelet.MAX_HEAD:
                raise ProbeError(Reason.PROTOCOL, f"headers of more than {kubelet.MAX_HEAD} bytes")
            # Head by head: the parser gives nothing back from a chunk that ends in garbage, and garbage behind a whole answer
            # is none of the kubelet's business.
            while data and self._head is None:
                head, end, data = data.partition(_HEAD_END)
                self._feed(head + end)
            self._rest = data
        return self._head

    async def read_body(self, limit: int) -> bytes:
        """Read the body to its end or to `limit` bytes."""
        data, self._rest = self._rest, b""
        while self._body.total_bytes < limit and not self._body.is_eof():
            data = data or await self._stream.receive()
            if not data:
                self._end()
                break
            try:
                self._feed(data)
            except ProbeError:
                if not self._body.is_eof():  # else it is garbage behind the end
                    raise
            data = b""
        return self._body.read_nowait()[:limit] if self._body.total_bytes else b""

    async def skip_redirect_body(self) -> None:
        """Wait for a short body as Go does before it follows a redirect, and like it do not mind if that breaks off."""
        assert self._head is not None
        length = self._head.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) <= kubelet.MAX_REDIRECT_BODY:
            with contextlib.suppress(ConnectionError, ProbeError):
                await self.read_body(kubelet.MAX_REDIRECT_BODY)

    def _feed(self, data: bytes) -> None:
        try:
            messages, _, _ = self._parser.feed_data(data)
        except HttpProcessingError:
            raise ProbeError(Reason.PROTOCOL, kubelet.explain_no_http(data)) from None
        for head, body in messages:
            kubelet.check_head(head.code, head.headers.items())
            if head.code == 101:
                raise ProbeError(Reason.PROTOCOL, "app answered 101 in place of a real status")
            if head.code >= 200:
                self._head, self._body = self._head or head, body

    def _end(self) -> None:
        """Take the end of the connection for the end of the answer, if it may be."""
        try:
            self._parser.feed_eof()
        except HttpProcessingError:
            raise ProbeError(Reason.RESET, kubelet.BROKEN_OFF) from None
