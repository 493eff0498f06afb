"""What a row of the verdicts for `tcpSocket` and `grpc` says, where it may come from, and how its app is made to exist.

Owns the words of the table; the rows are in `verdicts_tcp_grpc.py` and `verdicts_grpc.py`.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.app import Behaviour, serving

Verdict = Literal["success", "failure"]
Where = int | str
"""A port, or the path of a socket file."""
Place = Callable[[], AbstractAsyncContextManager[Where]]
"""Makes the app exist; gives where."""

BRIEF = 0.05
"""`timeoutSeconds` of the rows in which the app never comes to an end."""
STATUS = {"ok": 200, "status": 503, "not_serving": 503, "refused": 502, "reset": 502, "tls": 502, "protocol": 502, "timeout": 504}
"""What the open port answers, by the reason that the metrics name."""

CONNECT = "probe/tcp/tcp.go DoTCPProbe: what net.DialTimeout says, and no byte is sent or read"
DIAL = "probe/grpc/grpc.go Probe: DialContext WithBlock, whose error is a failure"
CHECK = "probe/grpc/grpc.go Probe: an error of Check is a failure"
HEALTH = "probe/grpc/grpc.go Probe: any status but SERVING is a failure"
DEADLINE = "probe/grpc/grpc.go Probe: WithTimeout covers dial and call"
PREFACE = "grpc-go http2_client.go reader: the server's first frame must be SETTINGS"
READER = "grpc-go http2_client.go reader: an error of the connection fails its calls"
HEAD = "grpc-go http2_client.go operateHeaders: HTTP status 200 and content-type application/grpc"
TRAILERS = "grpc-go http2_client.go operateHeaders: grpc-status of the trailers, by strconv.ParseInt; UNKNOWN without one"
NO_TRAILERS = "grpc-go http2_client.go handleData: closed the stream without sending trailers"
CUT = "grpc-go http2_client.go handleRSTStream: any code fails the call"
LEAVING = "grpc-go http2_client.go handleGoAway: calls up to its last stream go on"
AGAIN = "grpc-go stream.go shouldRetry: a call that was not processed is made once more"
REDIAL = "grpc-go clientconn.go resetTransport: WithBlock connects anew after a second until the deadline"
UNARY = "grpc-go stream.go recvMsg: one message and then the end"
MESSAGE = "grpc-go rpc_util.go parser.recvMsg, checkRecvPayload: no compression, at most 4 MiB"
PROTO = "protobuf-go proto.Unmarshal: unknown fields are skipped, the last status counts"
FRAMES = "x/net/http2/frame.go ReadFrame"
TLS = "grpc-go credentials/tls.go ClientHandshake; the kubelet itself speaks no TLS"
ALPN = "grpc-go credentials/tls.go ClientHandshake: missing selected ALPN property"
UNIX = "grpc-go resolver/unix; the kubelet itself knows no socket files"


@dataclass(frozen=True, slots=True)
class Row:
    """One app and what follows from it."""

    name: str
    app: Place
    reason: str
    """Why the probe ended so, as the metrics name it; `ok` is the success."""
    source: str
    """Where the kubelet or grpc-go decides so."""
    timeout: float = 5.0
    """`timeoutSeconds`."""
    kind: Literal["tcp", "grpc"] = "grpc"
    service: str = ""
    tls: Literal["none", "unverified", "verified"] = "none"
    host: str = "127.0.0.1"
    addresses: tuple[str, ...] = ()
    """What the host name resolves to, in this order; the app listens on the last one."""
    alone: str = ""
    """Why the kubelet succeeds where healthproxy does not."""
    grpcio_differs: str = ""
    """Why grpcio concludes otherwise than grpc-go; empty: it does not."""
    grpcio_cannot: str = ""
    """Why grpcio cannot be asked; empty: it can."""

    @property
    def kubelet(self) -> Verdict:
        """What the kubelet concludes when it asks the app."""
        return "success" if self.reason == "ok" or self.alone else "failure"

    @property
    def status(self) -> int:
        """What healthproxy answers on its open port."""
        return STATUS[self.reason]


def on(
    behaviour: Behaviour, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", *, at_once: bool = False, unix: bool = False
) -> Place:
    """Run an app that behaves so."""

    @asynccontextmanager
    async def place() -> AsyncIterator[Where]:
        with tempfile.TemporaryDirectory() as directory:
            path = str(Path(directory, "app.sock")) if unix else None
            async with serving(behaviour, host=host, socket_file=path, tls=tls, at_once=at_once) as app:
                yield path or app.port

    return place


def at_file(make: Callable[[str], AbstractContextManager[object]]) -> Place:
    """Have something at a path."""

    @asynccontextmanager
    async def place() -> AsyncIterator[Where]:
        with tempfile.TemporaryDirectory() as directory:
            path = str(Path(directory, "app.sock"))
            with make(path):
                yield path

    return place
