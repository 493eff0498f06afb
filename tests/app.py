"""A real app on a real socket that misbehaves in every way a probe may meet.

Owns the app's side of a connection: what it answers, when, and how it ends. Knows nothing of healthproxy and judges nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import datetime
import errno
import functools
import http
import select
import socket
import ssl
import struct
import tempfile
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from typing import Literal

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]
"""What the app does with one connection, given the raw head of the request; the connection is closed when it returns."""
Then = Literal["close", "reset", "hang"]
"""How a connection goes on once everything is said: FIN, RST, or silence until the client ends it."""

_PATIENCE_SECONDS = 5.0
_CLOSING_SECONDS = 1.0
_MAX_CHUNKS = 1_000_000
_LAST_TURNS = 20
_current: contextvars.ContextVar[App] = contextvars.ContextVar("app of this connection")


class App:
    """An app that listens; made by `serving()`."""

    def __init__(
        self, behaviour: Behaviour, place: tuple[str, int], socket_file: str | None, tls: ssl.SSLContext | None, at_once: bool
    ) -> None:
        self.behaviour = behaviour
        """What it does from the next connection on."""
        self.requests: list[bytes] = []
        """The raw head of each request, in order."""
        self.connections = 0
        self.ends: list[str] = []
        """`FIN` or `RST`: how the client ended the connections whose behaviour waited for that."""
        self.host = place[0]
        self._socket_file = socket_file
        self._tls = tls
        self._at_once = at_once
        self._news: asyncio.Queue[str] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._server: asyncio.Server | None = None
        self._holder = _bound(*place)  # keeps the port ours while the app is stopped
        self.port: int = self._holder.getsockname()[1]

    async def start(self) -> None:
        """Listen, again on the same port."""
        if self._socket_file:
            self._server = await asyncio.start_unix_server(self._connected, self._socket_file, limit=1 << 20)
        else:
            self._server = await asyncio.start_server(self._connected, self.host, self.port, limit=1 << 20)

    async def stop(self) -> None:
        """Stop listening: connections are refused from here on; those that are open go on."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def ended(self) -> str:
        """Return how the client ended the next connection: `FIN` or `RST`."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await self._news.get()

    def note_end(self, how: str) -> None:
        """Record how a client ended his connection."""
        self.ends.append(how)
        self._news.put_nowait(how)

    async def close(self) -> None:
        """Leave nothing behind. Raises what a behaviour of its own making raised."""
        for _ in range(_LAST_TURNS):  # clients may have gone before we took them in, and TLS says goodbye twice
            await asyncio.sleep(0)
        await self.stop()
        self._holder.close()
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # aborted transports close their sockets in the loop's next turn
        for result in results:
            if isinstance(result, Exception):
                raise result

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._tasks.append(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _current.set(self)
        try:
            with contextlib.suppress(OSError, EOFError):  # the client left, or never spoke our language
                await self._converse(reader, writer)
            await _close(writer)
        finally:
            _abort(writer)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._tls is not None:
            await writer.start_tls(self._tls)
        head = b"" if self._at_once else await reader.readuntil(b"\r\n\r\n")
        self.requests += [head] if head else []
        await self.behaviour(reader, writer, head)


@contextlib.asynccontextmanager
async def serving(
    behaviour: Behaviour | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    socket_file: str | None = None,
    tls: ssl.SSLContext | None = None,
    at_once: bool = False,
) -> AsyncIterator[App]:
    """Run an app, by default one that answers 200; with `at_once` it acts before it has read a request.

    With `socket_file` it listens there, and its port is nobody's.
    """
    app = App(behaviour or answer(), (host, port), socket_file, tls, at_once)
    try:
        await app.start()
        yield app
    finally:
        await app.close()


@contextlib.contextmanager
def closed_port(host: str = "127.0.0.1") -> Iterator[int]:
    """Give a port that refuses connections; it is bound, so that nobody else comes to listen on it."""
    with _bound(host, 0) as sock:
        yield sock.getsockname()[1]


def without_app(port: Callable[[], AbstractContextManager[int]]) -> Callable[[], AbstractAsyncContextManager[int]]:
    """Make, for a table's row, a port behind which no app of ours answers."""

    @contextlib.asynccontextmanager
    async def place() -> AsyncIterator[int]:
        with port() as number:
            yield number

    return place


@contextlib.contextmanager
def full_backlog() -> Iterator[int]:
    """Give a port on which a further connection attempt gets no answer at all: its queue is full and nobody accepts."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_bound("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(16):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
            if not select.select([], [sock], [], 0.05)[1]:
                break
        else:
            raise AssertionError("the listen queue never filled")
        yield listener.getsockname()[1]


@contextlib.contextmanager
def full_socket_file(path: str) -> Iterator[None]:
    """Make a socket file at which nobody accepts and further connections find no place for the moment."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        listener.listen(0)
        for _ in range(16):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.setblocking(False)
            if sock.connect_ex(path) == errno.EAGAIN:
                break
        else:
            raise AssertionError("the listen queue never filled")
        yield


async def until_client_ends(reader: asyncio.StreamReader) -> None:
    """Read until the client ends the connection, and record how."""
    how = "FIN"
    try:
        while await reader.read(65536):
            pass
    except ConnectionError:
        how = "RST"
    _current.get().note_end(how)


def raw(data: bytes, then: Then = "close") -> Behaviour:
    """Send bytes as they are."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _head: bytes) -> None:
        writer.write(data)
        await writer.drain()
        if then == "hang":
            await until_client_ends(reader)
        elif then == "reset":
            reset(writer)

    return behave


def answer(status: int = 200, body: bytes = b"ok", headers: Sequence[tuple[str, str]] = (), *, then: Then = "close") -> Behaviour:
    """Answer as a decent app does, with Content-Length where there may be one."""
    bare = status in (204, 304)
    fields = [*headers, *([] if bare else [("Content-Length", str(len(body)))]), ("Connection", "close")]
    lines = "".join([f"{name}: {value}\r\n" for name, value in fields])
    phrase = http.HTTPStatus(status).phrase if status in set(http.HTTPStatus) else "Unheard Of"
    return raw(f"HTTP/1.1 {status} {phrase}\r\n{lines}\r\n".encode() + (b"" if bare else body), then)


def redirect(location: str, status: int = 302, body: bytes = b"") -> Behaviour:
    """Redirect; `{origin}` in the location stands for host and port as the request named them."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        here = location.replace("{origin}", host_of(head))
        await answer(status, body, [("Location", here)])(reader, writer, head)

    return behave


def chain(length: int, location: str = "/hop/{next}", end: Behaviour | None = None) -> Behaviour:
    """Redirect `length` times, then behave like `end`, by default answer 200; `{next}` and `{origin}` are filled in."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        last = path_of(head).rpartition("/")[2]
        hop = int(last) if last.isdecimal() else 0
        there = redirect(location.replace("{next}", str(hop + 1)))
        await (there if hop < length else end or answer())(reader, writer, head)

    return behave


def by_path(behaviours: dict[str, Behaviour]) -> Behaviour:
    """Behave according to the path asked for, 404 elsewhere."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        await behaviours.get(path_of(head), answer(404))(reader, writer, head)

    return behave


def in_turn(first: Behaviour, later: Behaviour) -> Behaviour:
    """Behave in one way on the first connection and in another from there on."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        await (first if _current.get().connections == 1 else later)(reader, writer, head)

    return behave


def hang() -> Behaviour:
    """Never speak."""
    return raw(b"", then="hang")


def after(seconds: float, behaviour: Behaviour) -> Behaviour:
    """Think first."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        await asyncio.sleep(seconds)
        await behaviour(reader, writer, head)

    return behave


def drip(data: bytes, every: float, *, start: bytes = b"") -> Behaviour:
    """Send `start` at once and then one byte every so many seconds."""

    async def behave(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _head: bytes) -> None:
        writer.write(start)
        for byte in data:
            await asyncio.sleep(every)
            writer.write(bytes([byte]))
            await writer.drain()

    return behave


def endless(start: bytes = b"HTTP/1.1 200 OK\r\n\r\n", chunk: bytes = b"on and on " * 100) -> Behaviour:
    """Send `start`, then chunk after chunk until the client has had enough."""

    async def behave(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _head: bytes) -> None:
        writer.write(start)
        for _ in range(_MAX_CHUNKS):
            writer.write(chunk)
            await writer.drain()

    return behave


async def truncate_tls(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _head: bytes) -> None:
    """Answer without a length and end the connection below TLS, with FIN but without its close_notify."""
    writer.write(b"HTTP/1.1 200 OK\r\n\r\nok")
    await writer.drain()
    writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
    _abort(writer)


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    _abort(writer)


def path_of(head: bytes) -> str:
    """Return the request target of a raw head."""
    return head.split(b" ", 2)[1].decode()


def host_of(head: bytes) -> str:
    """Return the Host of a raw head."""
    return head.partition(b"\r\nHost: ")[2].partition(b"\r\n")[0].decode()


@functools.cache
def authority() -> trustme.CA:
    """Return the CA that a probe may be told to trust."""
    return trustme.CA(organization_name="trusted")


@functools.cache
def stranger() -> trustme.CA:
    """Return a CA that nobody was told of."""
    return trustme.CA(organization_name="stranger")


def write_ca(directory: Path, ca: trustme.CA | None = None) -> str:
    """Write the PEM file of a CA, by default the trusted one, and return its path."""
    path = directory / "ca.pem"
    (ca or authority()).cert_pem.write_to_path(path)
    return str(path)


@functools.cache
def trusted() -> ssl.SSLContext:
    """Serve a certificate that is in order: known CA, right names, valid."""
    return _server_context(authority().issue_cert("127.0.0.1", "::1", "localhost"))


@functools.cache
def unknown_ca() -> ssl.SSLContext:
    """Serve a certificate of a CA that nobody knows."""
    return _server_context(stranger().issue_cert("127.0.0.1", "localhost"))


@functools.cache
def expired() -> ssl.SSLContext:
    """Serve a certificate that ended long ago."""
    then = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    start = then - datetime.timedelta(days=1)
    return _server_context(authority().issue_cert("127.0.0.1", "localhost", not_before=start, not_after=then))


@functools.cache
def wrong_name() -> ssl.SSLContext:
    """Serve a certificate for `other.test`, and for that name alone."""
    return _server_context(authority().issue_cert("other.test"))


@functools.cache
def tls_1_2() -> ssl.SSLContext:
    """Speak TLS 1.2 and nothing newer."""
    context = _server_context(authority().issue_cert("127.0.0.1"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


@functools.cache
def tls_1_3() -> ssl.SSLContext:
    """Speak TLS 1.3 and nothing older."""
    context = _server_context(authority().issue_cert("127.0.0.1"))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


@functools.cache
def tls_1_1() -> ssl.SSLContext:
    """Speak TLS 1.1, which is dead."""
    context = _server_context(authority().issue_cert("127.0.0.1"))
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


@functools.cache
def cbc() -> ssl.SSLContext:
    """Speak TLS 1.2 with one cipher suite of old Java apps alone."""
    return _with_suite("ECDHE-RSA-AES128-SHA")


@functools.cache
def rsa_key_exchange() -> ssl.SSLContext:
    """Speak TLS 1.2 without forward secrecy."""
    return _with_suite("AES128-GCM-SHA256")


@functools.cache
def client_certificate() -> ssl.SSLContext:
    """Insist on a client certificate, which the kubelet has not."""
    context = _server_context(authority().issue_cert("127.0.0.1"))
    authority().configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@functools.cache
def weak_key() -> ssl.SSLContext:
    """Serve a self-signed certificate with an RSA key of 1024 bits, from an app that does not mind."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    begin, end = (datetime.datetime(year, 1, 1, tzinfo=datetime.UTC) for year in (2020, 2099))
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), begin, end)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with tempfile.NamedTemporaryFile() as file:
        file.write(pem + builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        file.flush()
        context.load_cert_chain(file.name)
    return context


def _server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def _with_suite(suite: str) -> ssl.SSLContext:
    context = _server_context(authority().issue_cert("127.0.0.1", key_type=trustme.KeyType.RSA))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(suite)
    return context


def _bound(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    return sock


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close with all that TCP and TLS want said, as long as the client plays along."""
    with contextlib.suppress(OSError):  # a timeout is one, too
        async with asyncio.timeout(_CLOSING_SECONDS):
            writer.close()
            await writer.wait_closed()


def _abort(writer: asyncio.StreamWriter) -> None:
    """End a connection at once."""
    with contextlib.suppress(AttributeError):  # up to 3.11.4 TLS forgets what to abort once it has been closed
        writer.transport.abort()
