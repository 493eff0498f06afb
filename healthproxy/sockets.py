"""Listening sockets: bound before anything is served, or refused with a clear line."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator

from healthproxy.problems import StartError
from healthproxy.values import Address

BACKLOG = 4096
"""Callers whom the kernel keeps waiting for us per listening socket, at most net.core.somaxconn; one more waits for a second."""
_NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


@contextlib.contextmanager
def listening(option: str, address: Address) -> Iterator[list[socket.socket]]:
    """Listen on an address while the context lasts; an empty host means IPv4 and, where the machine has it, IPv6.

    Raises StartError naming `option`.
    """
    with contextlib.ExitStack() as stack:
        sockets: list[socket.socket] = []
        try:
            for family, sockaddr in _resolve(address):
                port = address_of(sockets[0]).port if sockets else sockaddr[1]  # a port the system chose serves both families
                try:
                    sockets.append(stack.enter_context(_listen(family, sockaddr[0], port)))
                except OSError as error:
                    if address.host or family == socket.AF_INET or error.errno not in _NO_IPV6:
                        raise
        except OSError as error:
            text = f"{option} {address}: cannot listen: {error.strerror}; give another address, or free this one"
            raise StartError(text) from None
        yield sockets


def address_of(listener: socket.socket) -> Address:
    """Return the address that a socket is really bound to."""
    host, port = listener.getsockname()[:2]
    return Address(host, port)


def _resolve(address: Address) -> list[tuple[int, tuple[str, int]]]:
    if not address.host:
        return [(socket.AF_INET, ("0.0.0.0", address.port)), (socket.AF_INET6, ("::", address.port))]  # noqa: S104 - as asked
    infos = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return [(family, (str(sockaddr[0]), address.port)) for family, _, _, _, sockaddr in infos]


def _listen(family: int, host: str, port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener
