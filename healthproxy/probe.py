"""The vocabulary: what a probe is, what a caller may add to it, and what came of one request to the app.

Frozen values from the standard library alone. No I/O, no defaults that depend on the machine, no wire formats.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace

DEFAULT_PORT = {"http": 80, "https": 443}
"""The port that a URL means when it names none."""

Headers = tuple[tuple[str, str], ...]
"""Names and values, in order."""


def join_host_port(host: str, port: int) -> str:
    """Write host and port as a URL has them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Result(enum.StrEnum):
    """What the kubelet would conclude; `unknown` is a fault of our own and says nothing about the app."""

    SUCCESS = "success"
    FAILURE = "failure"
    UNKNOWN = "unknown"


class Reason(enum.StrEnum):
    """Why a request to the app ended as it did: a closed set, the `reason` label of the metrics."""

    OK = "ok"
    REDIRECT = "redirect"
    STATUS = "status"
    NOT_SERVING = "not_serving"
    REFUSED = "refused"
    RESET = "reset"
    TIMEOUT = "timeout"
    TLS = "tls"
    PROTOCOL = "protocol"
    INTERNAL = "internal"

    @property
    def result(self) -> Result:
        """The verdict that this reason stands for."""
        if self in (Reason.OK, Reason.REDIRECT):
            return Result.SUCCESS
        return Result.UNKNOWN if self is Reason.INTERNAL else Result.FAILURE


class ProbeError(Exception):
    """The app broke a rule; ends a prober's work with a reason and one line for humans."""

    def __init__(self, reason: Reason, detail: str) -> None:
        """Keep the reason from the closed set, and the line."""
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class TLS:
    """How to treat the app's certificate: not verified unless `ca` is given, as the kubelet does."""

    ca: str | None = None
    """PEM file of the authorities to trust; with it the chain and the name are verified."""
    server_name: str | None = None
    """Name sent by SNI and, with `ca`, expected in the certificate; default: the target's host."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the app listens: a host and port, or a socket file; and whether TLS is spoken there."""

    host: str = "127.0.0.1"
    port: int = 0
    unix_socket: str | None = None
    """Path of the socket file; goes before host and port."""
    tls: TLS | None = None
    """None for a plain connection."""
    named_host: str | None = None
    """What the probe calls the app, if it is not called by its address."""
    protocol: str = "http/1.1"
    """What TLS offers by ALPN."""

    def __str__(self) -> str:
        """Write it as the targets of short forms have it."""
        return f"unix:{self.unix_socket}" if self.unix_socket else join_host_port(self.host, self.port)


@dataclass(frozen=True, slots=True)
class HTTPGet:
    """The `httpGet` of a Pod spec, completed."""

    port: int = 0
    path: str = "/"
    """As written in the Pod spec; may hold a query."""
    host: str = "127.0.0.1"
    """Where to connect."""
    named_host: str | None = None
    """What the request calls the app; default: the address on which the probe reached us."""
    scheme: str = "http"
    """`http` or `https`."""
    headers: Headers = ()
    """`httpHeaders`, in the order and case of the Pod spec."""
    tls: TLS = TLS()
    unix_socket: str | None = None
    """Path of a socket file, in place of host and port."""

    @property
    def endpoint(self) -> Endpoint:
        """Where to connect."""
        tls = self.tls if self.scheme == "https" else None
        return Endpoint(self.host, self.port, self.unix_socket, tls, self.named_host)

    def __str__(self) -> str:
        """Write the target as a short form."""
        separator = ":" if self.unix_socket else ""
        return f"{self.scheme}://{self.endpoint}{separator}{self.path}"


@dataclass(frozen=True, slots=True)
class TCPSocket:
    """The `tcpSocket` of a Pod spec, completed."""

    port: int
    host: str = "127.0.0.1"

    @property
    def endpoint(self) -> Endpoint:
        """Where to connect."""
        return Endpoint(self.host, self.port)

    def __str__(self) -> str:
        """Write the target as a short form."""
        return f"tcp://{self.endpoint}"


@dataclass(frozen=True, slots=True)
class GRPC:
    """The `grpc` of a Pod spec, completed."""

    port: int = 0
    service: str = ""
    """Whose health is asked for; empty for the server's as a whole."""
    host: str = "127.0.0.1"
    """Where to connect."""
    named_host: str | None = None
    """What `:authority` calls the app; default: the address on which the probe reached us."""
    tls: TLS | None = None
    """None for h2c."""
    unix_socket: str | None = None
    """Path of a socket file, in place of host and port."""

    @property
    def endpoint(self) -> Endpoint:
        """Where to connect."""
        return Endpoint(self.host, self.port, self.unix_socket, self.tls, self.named_host, "h2")

    def __str__(self) -> str:
        """Write the target as a short form."""
        separator = ":" if self.unix_socket else ""
        service = f"{separator}/{self.service}" if self.service else ""
        return f"{'grpcs' if self.tls else 'grpc'}://{self.endpoint}{service}"


@dataclass(frozen=True, slots=True)
class AllOf:
    """Healthy if every member is."""

    members: tuple[str, ...]
    """Keys of other probes."""

    def __str__(self) -> str:
        """Write it for humans."""
        return f"all of {', '.join(self.members)}"


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Healthy if one member is."""

    members: tuple[str, ...]
    """Keys of other probes."""

    def __str__(self) -> str:
        """Write it for humans."""
        return f"any of {', '.join(self.members)}"


Target = HTTPGet | TCPSocket | GRPC
"""The actions that ask the app."""
Aggregate = AllOf | AnyOf
"""The actions that ask other probes."""
Action = Target | Aggregate
"""Every action a probe can perform; a new one joins a union and mypy names the places that must know it."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One configured probe."""

    key: str
    """The request target it answers to, byte for byte; the `probe` label of the metrics."""
    action: Action
    deadline: float = 0.9
    """Seconds in which the app must have answered: `timeout` less the configured offset."""
    timeout: float = 1.0
    """`timeoutSeconds`."""
    period: float = 10.0
    """`periodSeconds`; for metrics only."""
    failure_threshold: int = 3
    """`failureThreshold`; for metrics only."""
    expose_body: bool = False
    """Hand the app's body to the caller; `httpGet` only."""
    forward_headers: tuple[str, ...] = ()
    """Names of caller's headers that the app may see, in lower case; of an aggregate those of its members."""

    @property
    def endpoint(self) -> Endpoint | None:
        """Where it asks the app; None for an aggregate."""
        return None if isinstance(self.action, Aggregate) else self.action.endpoint


@dataclass(frozen=True, slots=True)
class Caller:
    """All that a caller on the open port may contribute to the request the app sees."""

    host: str
    """Our own address on which the probe arrived, without brackets."""
    user_agent: str | None = None
    accept: str | None = None
    headers: Headers = ()
    """What `forwardHeaders` lets pass: names in lower case, values as they came; callers who differ in them share nothing."""
    source: str = field(default="", compare=False)
    """His address, by which callers who share nothing take turns."""

    def limited_to(self, names: tuple[str, ...]) -> Caller:
        """Return the caller with no other headers than these."""
        if not self.headers:
            return self
        return replace(self, headers=tuple([field for field in self.headers if field[0] in names]))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one request to the app."""

    reason: Reason
    detail: str
    """One line for humans; holds nothing that the app or a caller wrote."""
    code: int | None = None
    """The status the app answered with, if it answered."""
    duration: float = 0.0
    """Seconds from the first connection attempt to the verdict."""
    body: bytes = b""
    """The first 10 KiB at most."""
    content_type: str = ""

    @property
    def result(self) -> Result:
        """The verdict."""
        return self.reason.result
