"""The open port: request → key → answer, for callers who may be anyone.

Requests are read by aiohttp's parser, one per connection, and turned away before they cost anything if they are not a probe.
Knows nothing of how the app is asked. Must never let a byte of a request pass but the version in a kubelet's User-Agent
and what `forwardHeaders` names.
"""

from __future__ import annotations

import asyncio
import functools
import http
import ipaddress
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from email.utils import formatdate

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import BadHttpMethod
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage

from healthproxy import kubelet
from healthproxy.connections import Bounds, Connection, Connections
from healthproxy.gate import Gate
from healthproxy.probe import Caller, Outcome, Reason
from healthproxy.values import Network

log = logging.getLogger(__name__)

TEXT = "text/plain; charset=utf-8"
OWN_HEALTH = ("/-/ready", "/-/healthy")
"""healthproxy's own health; never touches the app."""
MAX_REQUEST = 16 * 1024
"""Bytes of a request; a kubelet's has about 120."""
MAX_TARGET = 8 * 1024
"""Bytes of a request target."""

_KUBELET = re.compile(r"kube-probe/[0-9]{1,4}\.[0-9]{1,4}\+?")
_CLEAN = re.compile(r"[\x20-\x7e]{1,256}")
_SOME_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32} /")
_HEAD_END = b"\r\n\r\n"
_OTHER_PROTOCOL = re.compile(rb"[^\r]* (?!HTTP/)[A-Z]+/1\.[01]\r\n")
_STATUS = {
    Reason.OK: 200,
    Reason.STATUS: 503,
    Reason.REFUSED: 502,
    Reason.RESET: 502,
    Reason.TLS: 502,
    Reason.PROTOCOL: 502,
    Reason.NOT_SERVING: 503,
    Reason.TIMEOUT: 504,
    Reason.INTERNAL: 500,
}
"""Answers where there is no status of the app's own to hand on: `redirect` always has one."""


class OpenPort:
    """What the open port serves: the gates by key, to the sources it allows."""

    def __init__(
        self,
        gates: Mapping[str, Gate],
        bounds: Bounds,
        allow_from: tuple[Network, ...],
        refused: Callable[[str], None],
    ) -> None:
        """`gates` by key; empty `allow_from` means any source; `refused` is told the reason of each request turned away."""
        self.gates = gates
        self.refused = refused
        self.connections = Connections(bounds, self._open, refused)
        self._allow_from = allow_from
        self._loop = asyncio.get_running_loop()
        # The parser wants a protocol to pause when a body grows; requests with a body go no further than their headers.
        self._unpaused = BaseProtocol(self._loop)

    def allows(self, address: str) -> bool:
        """Tell whether this source may use the open port; an IPv4 address may come mapped into IPv6."""
        if not self._allow_from:
            return True
        source = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(source, ipaddress.IPv6Address) and source.ipv4_mapped:
            source = source.ipv4_mapped
        return any(source in network for network in self._allow_from)

    def _open(self, connection: Connection) -> Callable[[bytes], None]:
        parser = HttpRequestParser(
            self._unpaused,
            self._loop,
            MAX_REQUEST,
            max_line_size=MAX_TARGET,
            max_field_size=MAX_REQUEST,
            max_headers=MAX_REQUEST,
        )
        return _Request(self, connection, parser).receive


class _Request:
    """One request on its way from bytes to an answer."""

    __slots__ = ("_connection", "_head", "_head_only", "_parser", "_port", "_received")

    def __init__(self, port: OpenPort, connection: Connection, parser: HttpRequestParser) -> None:
        self._port = port
        self._connection = connection
        self._parser = parser
        self._received = 0
        self._head = bytearray()
        self._head_only = False

    def receive(self, data: bytes) -> None:
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
            self._malformed(error)
            return
        if messages:
            try:
                self._serve(messages[0][0])
            except Exception:
                log.exception("cannot serve a request")
                self._finish(500, b"healthproxy failed; its log says why\n")
        elif end >= 0:
            self._refuse("malformed", 400, "malformed request")
        elif self._received >= MAX_REQUEST:
            self._refuse("too_large", 431, "headers too large")

    def _serve(self, request: RawRequestMessage) -> None:
        self._head_only = request.method == "HEAD"
        peer, own_health = self._connection.peer, request.path in OWN_HEALTH
        if not self._port.allows(peer) and not (own_health and kubelet.is_loopback(peer)):
            self._refuse("source", 403, "source address not allowed")
        elif request.version not in ((1, 0), (1, 1)) or _OTHER_PROTOCOL.match(self._head):  # the parser knows RTSP, too
            self._refuse("malformed", 400, "not HTTP/1.0 or 1.1")
        elif request.method not in ("GET", "HEAD"):
            self._refuse("method", 405, "only GET and HEAD")
        elif "Transfer-Encoding" in request.headers and not request.chunked:  # RFC 9112, 6.3: a body without an end
            self._refuse("malformed", 400, "malformed request")
        elif request.chunked or request.headers.get("Content-Length", "").strip("0"):
            self._refuse("body", 413, "a probe has no body")
        elif own_health:
            self._finish(200, b"ok\n")
        elif (gate := self._port.gates.get(request.path)) is None:
            self._refuse("unknown_path", 404, "no such probe")
        else:
            # Callers share answers, so none may write what another is judged by: only a kubelet's version passes (record 6).
            said = request.headers.get("User-Agent", "")
            user_agent = said if _KUBELET.fullmatch(said) else kubelet.USER_AGENT
            caller = Caller(self._connection.host, user_agent, kubelet.ACCEPT)
            if gate.probe.forward_headers:
                caller = self._forwarding(caller, request, gate.probe.forward_headers)
            self._ask(gate, caller)

    def _ask(self, gate: Gate, caller: Caller) -> None:
        answer = self._answer_exposed if gate.probe.expose_body else self._answer
        self._connection.heard(functools.partial(gate.leave, caller, answer))
        del self._parser, self._head  # with the caller's headers in them, they would wait for the answer, too
        if caller.headers:
            self._connection.watch()
        if not gate.ask(caller, answer):
            self._port.refused("evicted")
            self._connection.close()

    def _forwarding(self, caller: Caller, request: RawRequestMessage, names: tuple[str, ...]) -> Caller:
        """Add what the probe lets pass, but for what the caller himself meant for this connection only."""
        own = ",".join(request.headers.getall("Connection", ())).lower().replace(",", " ").split()
        fields = [(name.lower(), value) for name, value in request.headers.items()]
        headers = tuple([field for field in fields if field[0] in names and field[0] not in own])
        return replace(caller, headers=headers, source=self._connection.peer)

    def _answer(self, outcome: Outcome) -> None:
        line = "ok" if outcome.reason is Reason.OK else outcome.detail
        self._finish(outcome.code or _STATUS[outcome.reason], f"{line}\n".encode())

    def _answer_exposed(self, outcome: Outcome) -> None:
        if outcome.code is None:
            self._answer(outcome)
        else:
            clean = _CLEAN.fullmatch(outcome.content_type)
            self._finish(outcome.code, outcome.body, outcome.content_type if clean else "application/octet-stream")

    def _malformed(self, error: Exception) -> None:
        if isinstance(error, BadHttpMethod) and _SOME_METHOD.match(self._head):
            self._refuse("method", 405, "only GET and HEAD")
        else:
            self._refuse("malformed", 400, "malformed request")

    def _finish(self, status: int, body: bytes, content_type: str = TEXT) -> None:
        self._connection.finish(_response(status, body, content_type, self._head_only))

    def _refuse(self, reason: str, status: int, line: str) -> None:
        self._port.refused(reason)
        allow = "Allow: GET, HEAD\r\n" if status == 405 else ""
        self._connection.refuse(_response(status, f"{line}\n".encode(), TEXT, self._head_only, allow))


@functools.lru_cache(maxsize=1)
def _date(now: int) -> str:
    return formatdate(now, usegmt=True)


def _response(status: int, body: bytes, content_type: str, head_only: bool, more: str = "") -> bytes:
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    bare = status in (204, 304)  # RFC 9110, 8.6: no Content-Length where there can be no content
    content = "" if bare else f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    head = f"HTTP/1.1 {status} {phrase}\r\nDate: {_date(int(time.time()))}\r\n{more}{content}Connection: close\r\n\r\n"
    return head.encode() + (b"" if bare or head_only else body)
