"""A byte stream to the app, plain or TLS: connect, send, receive, FIN.

Plain streams are bare sockets that the event loop watches; TLS is asyncio's own. Shared by the probers; knows no
protocol above TLS and no deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from healthproxy.failures import is_gone, met_itself
from healthproxy.kubelet import is_address
from healthproxy.probe import TLS, Endpoint, ProbeError, Reason
from healthproxy.tls import HANDSHAKE_BROKEN, NO_HTTP2, server_name, tls_context

_RECEIVE = 64 * 1024
_TLS_SHUTDOWN_SECONDS = 0.05
"""How long the app may take to answer our close_notify before it sees the FIN all the same."""
_FULL_QUEUE_SECONDS = 0.01

SocketAddress = tuple[str, int] | str
"""Address and port, or the path of a socket file."""


class Stream(Protocol):
    """What a prober needs of a connection."""

    async def receive(self) -> bytes:
        """Return the next bytes; none at the end."""

    async def send(self, data: bytes) -> None:
        """Send more than the request."""

    def close(self) -> None:
        """End the connection with FIN."""


async def open_stream(endpoint: Endpoint, request: bytes) -> Stream:
    """Connect to the first address that accepts, as Go's dialer does, and send the request."""
    errors = []
    for address in await _addresses(endpoint):
        try:
            return await _open(address, endpoint, request)
        except TimeoutError:
            raise
        except OSError as error:
            errors.append(error)
    raise errors[0]


async def refuses(endpoint: Endpoint, seconds: float) -> bool:
    """Tell whether nobody listens there any more; after `seconds` without an answer somebody may."""
    try:
        async with asyncio.timeout(seconds):
            for address in await _addresses(endpoint):
                try:
                    with _new_socket(address) as sock:
                        await _connect(sock, address, b"")
                except OSError as error:
                    if is_gone(error):
                        continue
                    raise
                return False
    except (OSError, UnicodeError):  # a timeout is an OSError, too
        return False
    return True


async def _open(address: SocketAddress, endpoint: Endpoint, request: bytes) -> Stream:
    sock = _new_socket(address)
    try:
        if endpoint.tls is not None:
            await _connect(sock, address, b"")
            return await _start_tls(sock, endpoint, endpoint.tls, request)
        await _connect(sock, address, request)
    except BaseException:
        sock.close()
        raise
    return _PlainStream(sock)


def _new_socket(address: SocketAddress) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    sock.setblocking(False)
    return sock


async def _connect(sock: socket.socket, address: SocketAddress, request: bytes) -> None:
    """Connect and send. On loopback the handshake is over when `connect` returns: no turn of the loop is spent on it."""
    loop = asyncio.get_running_loop()
    while (number := sock.connect_ex(address)) == errno.EAGAIN:  # noqa: ASYNC110 - a socket file with a full queue; nothing tells its end
        await asyncio.sleep(_FULL_QUEUE_SECONDS)
    _raise_for(number, errno.EINPROGRESS)
    try:
        sent = sock.send(request)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.ENOTCONN):
            raise
        sent = 0
        writable = loop.create_future()
        loop.add_writer(sock, _set, writable)
        try:
            await writable
        finally:
            loop.remove_writer(sock)
        _raise_for(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    if met_itself(sock):
        raise ConnectionRefusedError
    if sent < len(request):
        await loop.sock_sendall(sock, request[sent:])


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _raise_for(number: int, *fine: int) -> None:
    if number and number not in fine:
        raise OSError(number, os.strerror(number))


class _PlainStream:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def receive(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self._sock, _RECEIVE)

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._sock, data)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.recv(_RECEIVE)  # what lies there unread, as a greeting, would make a RST of our FIN
        self._sock.close()


class _TLSStream:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def receive(self) -> bytes:
        return await self._reader.read(_RECEIVE)

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def close(self) -> None:
        self._writer.close()


async def _start_tls(sock: socket.socket, endpoint: Endpoint, tls: TLS, request: bytes) -> Stream:
    try:
        reader, writer = await asyncio.open_connection(
            sock=sock,
            ssl=tls_context(tls, endpoint.protocol),
            server_hostname=server_name(endpoint),
            ssl_shutdown_timeout=_TLS_SHUTDOWN_SECONDS,
        )
    except ConnectionError:
        raise ProbeError(Reason.TLS, HANDSHAKE_BROKEN) from None
    stream = _TLSStream(reader, writer)
    if endpoint.protocol == "h2" and writer.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
        writer.transport.abort()
        raise ProbeError(Reason.TLS, NO_HTTP2)
    writer.write(request)
    return stream


@functools.cache
def _resolvers() -> ThreadPoolExecutor:
    """Make the threads that look up names: not the loop's own, whose end would wait for them."""
    return ThreadPoolExecutor(max_workers=4, thread_name_prefix="resolver")


async def _addresses(endpoint: Endpoint) -> list[SocketAddress]:
    if endpoint.unix_socket:
        return [endpoint.unix_socket]
    if is_address(endpoint.host):
        return [(endpoint.host, endpoint.port)]
    look_up = functools.partial(socket.getaddrinfo, endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    infos = await asyncio.get_running_loop().run_in_executor(_resolvers(), look_up)
    return [(str(info[4][0]), endpoint.port) for info in infos]
