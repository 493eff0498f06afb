"""A byte stream to the app, plain or TLS: connect, send, receive, FIN.

Plain streams are bare sockets that the event loop watches; TLS is asyncio's own. Shared by the probers; knows no
protocol above TLS and no deadline.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from healthproxy.failures import is_gone
from healthproxy.kubelet import is_address
from healthproxy.probe import HTTPGet, ProbeError, Reason
from healthproxy.tls import server_name, tls_context

_RECEIVE = 64 * 1024
_TLS_SHUTDOWN_SECONDS = 0.05
"""How long the app may take to answer our close_notify before it sees the FIN all the same."""


class Stream(Protocol):
    """What a prober needs of a connection."""

    async def receive(self) -> bytes:
        """Return the next bytes; none at the end."""

    def close(self) -> None:
        """End the connection with FIN."""


async def open_stream(action: HTTPGet, request: bytes) -> Stream:
    """Connect to the first address of the host that accepts, as Go's dialer does, and send the request."""
    errors = []
    for address in await _resolve(action.host, action.port):
        try:
            return await _open(address, action, request)
        except TimeoutError:
            raise
        except OSError as error:
            errors.append(error)
    raise errors[0]


async def refuses(host: str, port: int, seconds: float) -> bool:
    """Tell whether nobody listens there any more; after `seconds` without an answer somebody may."""
    try:
        async with asyncio.timeout(seconds):
            for address in await _resolve(host, port):
                with _new_socket(address) as sock:
                    try:
                        await _connect(sock, (address, port), b"")
                    except OSError as error:
                        if is_gone(error):
                            continue
                        raise
                return False
    except (OSError, UnicodeError):  # a timeout is an OSError, too
        return False
    return True


async def _open(address: str, action: HTTPGet, request: bytes) -> Stream:
    sock = _new_socket(address)
    try:
        if action.scheme == "https":
            await _connect(sock, (address, action.port), b"")
            return await _start_tls(sock, action, request)
        await _connect(sock, (address, action.port), request)
    except BaseException:
        sock.close()
        raise
    return _PlainStream(sock)


def _new_socket(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    sock.setblocking(False)
    return sock


async def _connect(sock: socket.socket, address: tuple[str, int], request: bytes) -> None:
    """Connect and send. On loopback the handshake is over when `connect` returns: no turn of the loop is spent on it."""
    loop = asyncio.get_running_loop()
    _raise_for(sock.connect_ex(address), errno.EINPROGRESS)
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

    def close(self) -> None:
        self._sock.close()


class _TLSStream:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def receive(self) -> bytes:
        return await self._reader.read(_RECEIVE)

    def close(self) -> None:
        self._writer.close()


async def _start_tls(sock: socket.socket, action: HTTPGet, request: bytes) -> Stream:
    try:
        reader, writer = await asyncio.open_connection(
            sock=sock,
            ssl=tls_context(action.tls),
            server_hostname=server_name(action),
            ssl_shutdown_timeout=_TLS_SHUTDOWN_SECONDS,
        )
    except ConnectionError:
        raise ProbeError(Reason.TLS, "TLS failed: connection closed during the handshake") from None
    writer.write(request)
    return _TLSStream(reader, writer)


@functools.cache
def _resolvers() -> ThreadPoolExecutor:
    """Make the threads that look up names: not the loop's own, whose end would wait for them."""
    return ThreadPoolExecutor(max_workers=4, thread_name_prefix="resolver")


async def _resolve(host: str, port: int) -> list[str]:
    if is_address(host):
        return [host]
    look_up = functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    infos = await asyncio.get_running_loop().run_in_executor(_resolvers(), look_up)
    return [str(info[4][0]) for info in infos]
