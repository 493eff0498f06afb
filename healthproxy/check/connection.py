"""A blocking connection to the app, plain or TLS, that ends at a deadline. Knows no protocol above TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

from healthproxy.check.steps import Steps
from healthproxy.failures import met_itself
from healthproxy.kubelet import is_address
from healthproxy.probe import Endpoint, ProbeError, Reason, join_host_port
from healthproxy.tls import HANDSHAKE_BROKEN, NO_HTTP2, server_name, tls_context

_RECEIVE = 64 * 1024
_FULL_QUEUE_SECONDS = 0.01


class Connection:
    """A connected socket with a deadline, by `time.monotonic`; past it everything raises TimeoutError."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        """Take over a socket that is connected."""
        self._sock = sock
        self._deadline = deadline

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self._sock.settimeout(_left(self._deadline))
        self._sock.sendall(data)

    def receive(self) -> bytes:
        """Return the next bytes; none at the end."""
        self._sock.settimeout(_left(self._deadline))
        return self._sock.recv(_RECEIVE)

    def receive_into(self, buffer: Any) -> int:
        """Fill a buffer with the next bytes and return how many; 0 at the end."""
        self._sock.settimeout(_left(self._deadline))
        return self._sock.recv_into(buffer)


def prepare(endpoint: Endpoint) -> None:
    """Load what `connect` will need, so that the clock of a probe counts the app's time alone."""
    if endpoint.tls is not None:
        tls_context(endpoint.tls, endpoint.protocol)
    if not endpoint.unix_socket and not is_address(endpoint.host):
        import concurrent.futures.thread  # noqa: F401 - what looks up names


@contextlib.contextmanager
def connect(endpoint: Endpoint, deadline: float, steps: Steps) -> Iterator[Connection]:
    """Connect to the first address that accepts, or raise what the first one said, as Go does; ends with FIN."""
    errors = []
    for address in _addresses(endpoint, deadline, steps):
        steps.begin("connect", address if isinstance(address, str) else join_host_port(*address))
        try:
            sock = _new_socket(endpoint, address)
        except OSError as error:  # no IPv6 on this machine
            steps.fail(error)
            errors.append(error)
            continue
        with sock:
            try:
                sock.settimeout(_left(deadline))
                _connect(sock, address, deadline)
            except TimeoutError:
                raise
            except OSError as error:
                steps.fail(error)
                errors.append(error)
                continue
            if isinstance(sock, ssl.SSLSocket):
                steps.begin("TLS")
                _shake_hands(sock, endpoint, deadline)
                steps.end(sock.version() or "")
            steps.end()
            yield Connection(sock, deadline)
            return
    raise errors[0]


def _shake_hands(sock: ssl.SSLSocket, endpoint: Endpoint, deadline: float) -> None:
    sock.settimeout(_left(deadline))
    try:
        sock.do_handshake()
    except ConnectionError:
        raise ProbeError(Reason.TLS, HANDSHAKE_BROKEN) from None
    if endpoint.protocol == "h2" and sock.selected_alpn_protocol() != "h2":
        raise ProbeError(Reason.TLS, NO_HTTP2)


def _connect(sock: socket.socket, address: tuple[str, int] | str, deadline: float) -> None:
    while True:
        try:
            sock.connect(address)
            break
        except BlockingIOError:  # a socket file with a full queue; nothing tells its end
            time.sleep(min(_FULL_QUEUE_SECONDS, _left(deadline)))
    if met_itself(sock):
        raise ConnectionRefusedError


def _new_socket(endpoint: Endpoint, address: tuple[str, int] | str) -> socket.socket:
    plain = socket.socket(
        socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    )
    if endpoint.tls is None:
        return plain
    # Wrapped before it connects: up to 3.12 a socket that is reset while it is being wrapped is never closed.
    context, name = tls_context(endpoint.tls, endpoint.protocol), server_name(endpoint) or None
    return context.wrap_socket(plain, server_hostname=name, do_handshake_on_connect=False)


def _addresses(endpoint: Endpoint, deadline: float, steps: Steps) -> list[tuple[str, int] | str]:
    if endpoint.unix_socket:
        return [endpoint.unix_socket]
    if is_address(endpoint.host):
        return [(endpoint.host, endpoint.port)]
    steps.begin("resolve", endpoint.host)
    found = _resolve(endpoint.host, deadline)
    steps.end(", ".join(found))
    return [(address, endpoint.port) for address in found]


def _resolve(host: str, deadline: float) -> list[str]:
    """Look up a name in a thread, for a resolver may take longer than the deadline."""
    from concurrent.futures import ThreadPoolExecutor

    look_up = ThreadPoolExecutor(max_workers=1).submit(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
    return [str(info[4][0]) for info in look_up.result(_left(deadline))]


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
