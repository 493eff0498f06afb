"""A byte stream to the app, plain or TLS: connect, send, receive, FIN.

Plain streams are bare sockets with the event loop's `sock_*` calls; TLS is asyncio's own. Shared by the probers; knows no protocol
above TLS and no deadline.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import ipaddress
import os
import socket
import ssl
from typing import Protocol

from healthproxy.probe import TLS, HTTPGet

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
    addresses = await _resolve(action.host, action.port)
    for address in addresses[:-1]:
        try:
            return await _open(address, action, request)
        except ConnectionRefusedError:
            continue
    return await _open(addresses[-1], action, request)


async def refuses(host: str, port: int, timeout: float) -> bool:
    """Tell whether nobody listens there any more; `timeout` in seconds, after which somebody may."""
    try:
        async with asyncio.timeout(timeout):
            for address in await _resolve(host, port):
                with _new_socket(address) as sock:
                    await _connect(sock, (address, port), b"")
                    return False
    except OSError as error:  # a TimeoutError is one
        return isinstance(error, ConnectionRefusedError)
    return False


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
        loop.add_writer(sock, writable.set_result, None)
        try:
            await writable
        finally:
            loop.remove_writer(sock)
        _raise_for(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    if sent < len(request):
        await loop.sock_sendall(sock, request[sent:])


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
    name = action.tls.server_name or (action.host if action.tls.ca else action.named_host or "")
    if not action.tls.ca and is_address(name):
        name = ""  # the kubelet sends no server name for an address
    reader, writer = await asyncio.open_connection(
        sock=sock,
        ssl=tls_context(action.tls),
        server_hostname=name,
        ssl_shutdown_timeout=_TLS_SHUTDOWN_SECONDS,
    )
    writer.write(request)
    return _TLSStream(reader, writer)


async def _resolve(host: str, port: int) -> list[str]:
    if is_address(host):
        return [host]
    infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(info[4][0]) for info in infos]


@functools.lru_cache(maxsize=256)
def is_address(host: str) -> bool:
    """Tell whether the host is an IP address rather than a name."""
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


@functools.cache
def tls_context(tls: TLS) -> ssl.SSLContext:
    """Build the client side of TLS, once per distinct setting. Raises OSError where `ca` cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["http/1.1"])
    if tls.ca:
        context.load_verify_locations(cafile=tls.ca)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
