"""HTTP/1.1 as far as our ports speak it: one request in, one answer out, both as bytes.

Requests are read by aiohttp's parser and turned away before they cost anything if no port could serve them. Knows no socket, no
path and no probe.
"""

from __future__ import annotations

import asyncio
import functools
import http
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate

from multidict import CIMultiDictProxy

from healthproxy.parsers import BadHttpMethod, BaseProtocol, HttpRequestParser, RawRequestMessage

TEXT = "text/plain; charset=utf-8"
MAX_REQUEST = 16 * 1024
"""Bytes of a request; a kubelet's has about 120."""
MAX_TARGET = 8 * 1024
"""Bytes of a request target."""

_SOME_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32} /")
_HEAD_END = b"\r\n\r\n"
_OTHER_PROTOCOL = re.compile(rb"[^\r]* (?!HTTP/)[A-Z]+/1\.[01]\r\n")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is turned away."""

    reason: str
    """One of `metrics.REFUSALS`."""
    status: int
    line: str

    def answer(self, head_only: bool = False) -> bytes:
        """Return the whole answer."""
        more = {"Allow": "GET, HEAD"} if self.status == 405 else {}
        return response(self.status, f"{self.line}\n".encode(), head_only=head_only, more=more)


MALFORMED = Refusal("malformed", 400, "malformed request")
OTHER_VERSION = Refusal("malformed", 400, "not HTTP/1.0 or 1.1")
OTHER_METHOD = Refusal("method", 405, "only GET and HEAD")
BODY = Refusal("body", 413, "a probe has no body")
TOO_LARGE = Refusal("too_large", 431, "headers too large")
FAILED = b"healthproxy failed; its log says why\n"


@dataclass(frozen=True, slots=True)
class Request:
    """A request whose head is whole."""

    target: str
    headers: CIMultiDictProxy[str]
    head_only: bool
    """The method is HEAD."""
    fault: Refusal | None
    """Why no port of ours serves it."""


class RequestReader:
    """One request, read from the pieces in which it comes."""

    __slots__ = ("_head", "_parser", "_received")

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._received = 0
        self._head = bytearray()
        # The parser wants a protocol to pause when a body grows; requests with a body go no further than their headers.
        self._parser = HttpRequestParser(
            BaseProtocol(loop),
            loop,
            MAX_REQUEST,
            max_line_size=MAX_TARGET,
            max_field_size=MAX_REQUEST,
            max_headers=MAX_REQUEST,
        )

    def feed(self, data: bytes) -> Request | Refusal | None:
        """Take bytes of the request until its head is whole; what stands behind that is not ours to judge."""
        self._received += len(data)
        fed = len(self._head)
        self._head += data if fed else data.lstrip(b"\r\n")  # RFC 9112, 2.2: empty lines may come first
        end = self._head.find(_HEAD_END, max(fed - 3, 0))
        try:
            messages, _, _ = self._parser.feed_data(
                bytes(self._head[fed:] if end < 0 else self._head[fed : end + len(_HEAD_END)])
            )
        except Exception as error:  # noqa: BLE001 - whatever the parser says, the caller wrote it
            return OTHER_METHOD if isinstance(error, BadHttpMethod) and _SOME_METHOD.match(self._head) else MALFORMED
        if messages:
            return self._request(messages[0][0])
        if end >= 0:
            return MALFORMED
        return TOO_LARGE if self._received >= MAX_REQUEST else None

    def _request(self, message: RawRequestMessage) -> Request:
        return Request(message.path, message.headers, message.method == "HEAD", self._fault(message))

    def _fault(self, message: RawRequestMessage) -> Refusal | None:
        if message.version not in ((1, 0), (1, 1)) or _OTHER_PROTOCOL.match(self._head):  # the parser knows RTSP, too
            return OTHER_VERSION
        if message.method not in ("GET", "HEAD"):
            return OTHER_METHOD
        if "Transfer-Encoding" in message.headers and not message.chunked:  # RFC 9112, 6.3: a body without an end
            return MALFORMED
        if message.chunked or message.headers.get("Content-Length", "").strip("0"):
            return BODY
        return None


@functools.lru_cache(maxsize=1)
def _date(now: int) -> str:
    return formatdate(now, usegmt=True)


def response(
    status: int, body: bytes, content_type: str = TEXT, *, head_only: bool = False, more: Mapping[str, str] | None = None
) -> bytes:
    """Return a whole answer; `more` are further headers."""
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    bare = status in (204, 304)  # RFC 9110, 8.6: no Content-Length where there can be no content
    fields = "".join([f"{name}: {value}\r\n" for name, value in more.items()]) if more else ""
    content = "" if bare else f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    head = f"HTTP/1.1 {status} {phrase}\r\nDate: {_date(int(time.time()))}\r\n{fields}{content}Connection: close\r\n\r\n"
    return head.encode() + (b"" if bare or head_only else body)
