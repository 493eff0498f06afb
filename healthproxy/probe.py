"""The vocabulary: what a probe is, what a caller may add to it, and what came of one request to the app.

Frozen values from the standard library alone. No I/O, no defaults that depend on the machine, no wire formats.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

DEFAULT_PORT = {"http": 80, "https": 443}
"""The port that a URL means when it names none."""


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
class HTTPGet:
    """The `httpGet` of a Pod spec, completed."""

    port: int
    path: str = "/"
    """As written in the Pod spec; may hold a query."""
    host: str = "127.0.0.1"
    """Where to connect."""
    named_host: str | None = None
    """What the request calls the app; default: the address on which the probe reached us."""
    scheme: str = "http"
    """`http` or `https`."""
    headers: tuple[tuple[str, str], ...] = ()
    """`httpHeaders`, in the order and case of the Pod spec."""
    tls: TLS = TLS()

    @property
    def url(self) -> str:
        """The target as a URL."""
        return f"{self.scheme}://{join_host_port(self.host, self.port)}{self.path}"


Action = HTTPGet
"""Every action a probe can perform; a new one joins this union and mypy names the places that must know it."""


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
    """Hand the app's body to the caller."""


@dataclass(frozen=True, slots=True)
class Caller:
    """All that a caller on the open port may contribute to the request the app sees."""

    host: str
    """Our own address on which the probe arrived, without brackets."""
    user_agent: str | None = None
    accept: str | None = None


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
