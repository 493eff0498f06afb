"""The open port: request → key → answer, for callers who may be anyone.

One request per connection, turned away before it costs anything if it is not a probe. Knows nothing of how the app is asked.
Must never let a byte of a request pass but the version in a kubelet's User-Agent and what `forwardHeaders` names.
"""

from __future__ import annotations

import functools
import ipaddress
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from healthproxy import kubelet
from healthproxy.connections import Bounds, Connection, Connections
from healthproxy.gate import Gate
from healthproxy.http1 import FAILED, TEXT, Refusal, Request, RequestReader, response
from healthproxy.probe import Caller, Outcome, Reason
from healthproxy.values import Network

log = logging.getLogger(__name__)

OWN_HEALTH = ("/-/ready", "/-/healthy")
"""healthproxy's own health; never touches the app."""
STRANGER = Refusal("source", 403, "source address not allowed")
UNKNOWN_PATH = Refusal("unknown_path", 404, "no such probe")

_KUBELET = re.compile(r"kube-probe/[0-9]{1,4}\.[0-9]{1,4}\+?")
_CLEAN = re.compile(r"[\x20-\x7e]{1,256}")
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
        refused: Callable[[str, str], None],
    ) -> None:
        """`gates` by key; empty `allow_from` means any source; `refused` is told why somebody was turned away, and his source."""
        self.gates = gates
        self.refused = refused
        self.connections = Connections(bounds, self._open, refused)
        self._allow_from = allow_from

    def allows(self, address: str) -> bool:
        """Tell whether this source may use the open port; an IPv4 address may come mapped into IPv6."""
        if not self._allow_from:
            return True
        source = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(source, ipaddress.IPv6Address) and source.ipv4_mapped:
            source = source.ipv4_mapped
        return any(source in network for network in self._allow_from)

    def _open(self, connection: Connection) -> Callable[[bytes], None]:
        return _Exchange(self, connection).receive


class _Exchange:
    """One request on its way from bytes to an answer."""

    __slots__ = ("_connection", "_head_only", "_port", "_reader")

    def __init__(self, port: OpenPort, connection: Connection) -> None:
        self._port = port
        self._connection = connection
        self._reader = RequestReader()
        self._head_only = False

    def receive(self, data: bytes) -> None:
        """Take bytes of the request until its head is whole."""
        request = self._reader.feed(data)
        if isinstance(request, Refusal):
            self._refuse(request)
        elif request is not None:
            try:
                self._serve(request)
            except Exception:
                log.exception("cannot serve a request")
                self._finish(500, FAILED)

    def _serve(self, request: Request) -> None:
        self._head_only = request.head_only
        peer, own_health = self._connection.peer, request.target in OWN_HEALTH
        if not self._port.allows(peer) and not (own_health and kubelet.is_loopback(peer)):
            self._refuse(STRANGER)
        elif request.fault is not None:
            self._refuse(request.fault)
        elif own_health:
            self._finish(200, b"ok\n")
        elif (gate := self._port.gates.get(request.target)) is None:
            self._refuse(UNKNOWN_PATH)
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
        self._connection.heard(functools.partial(gate.leave, caller, answer), functools.partial(gate.hurry, caller, answer))
        del self._reader  # with the caller's headers in it, it would wait for the answer, too
        if caller.headers:
            self._connection.watch()
        if not gate.ask(caller, answer):
            self._port.refused("evicted", self._connection.peer)
            self._connection.close()

    def _forwarding(self, caller: Caller, request: Request, names: tuple[str, ...]) -> Caller:
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

    def _finish(self, status: int, body: bytes, content_type: str = TEXT) -> None:
        self._connection.finish(response(status, body, content_type, head_only=self._head_only))

    def _refuse(self, refusal: Refusal) -> None:
        self._port.refused(refusal.reason, self._connection.peer)
        self._connection.refuse(refusal.answer(self._head_only))
