"""Connections of a port: accepted, bounded in number, size and time, closed.

Bytes in, bytes out, on bare sockets: the event loop's own transports take eleven turns of the loop for a probe, these four
(decision record 0005). Knows nothing of HTTP or of probes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from healthproxy.crowd import Crowd
from healthproxy.failures import OUT_OF_FILES
from healthproxy.waits import Deadlines, Readers, is_readable

log = logging.getLogger(__name__)

MAX_DISCARDED = 64 * 1024
"""Bytes that a refused caller may still send while he reads why."""
_RECEIVE = 16 * 1024
_ACCEPT_SECONDS = 0.002  # then those who were accepted before have a turn of the loop, and so has the other port
_ACCEPT_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Bounds:
    """What callers may take."""

    max_connections: int
    header_timeout: float
    """Seconds in which a whole request must have arrived."""
    read_seconds: float = 0.0
    """Seconds that a caller may take to read an answer; with 0 it must fit into the socket's buffer, as one of 10 KiB does."""


class Connections:
    """All connections of a port and its listening sockets."""

    def __init__(
        self,
        bounds: Bounds,
        on_open: Callable[[Connection], Callable[[bytes], None]],
        refused: Callable[[str, str], None],
    ) -> None:
        """`on_open` says who receives a connection's bytes; `refused` is told why one was turned away, and its source."""
        self.bounds = bounds
        self.refused = refused
        self.loop = asyncio.get_running_loop()
        self._on_open = on_open
        self._listeners: list[socket.socket] = []
        self._silent = Crowd[Connection]()
        """Those whose request is not whole yet."""
        self._waiting = Crowd[Connection]()
        """Those who wait for an answer."""
        self._paused = False
        self.readers = Readers()
        self.deadlines = Deadlines(bounds.header_timeout)

    def __len__(self) -> int:
        """Count the open connections."""
        return self._silent.size + self._waiting.size

    @contextlib.contextmanager
    def serving(self, listeners: Iterable[socket.socket]) -> Iterator[None]:
        """Accept callers from bound, non-blocking sockets while the context lasts; at its end nobody is left."""
        self._listeners += listeners
        self.loop.add_reader(self.readers, self.readers.read)
        for listener in self._listeners:
            self.loop.add_reader(listener, self._accept, listener)
        try:
            yield
        finally:
            self.stop_listening()
            for connection in (*self._silent, *self._waiting):
                connection.close()
            self.loop.remove_reader(self.readers)
            self.readers.close()

    def stop_listening(self) -> None:
        """Accept nobody any more."""
        for listener in self._listeners:
            self.loop.remove_reader(listener)
            listener.close()
        self._listeners.clear()

    def heard(self, connection: Connection) -> None:
        """Note that it is not the caller whom this connection waits for."""
        if self._silent.remove(connection):
            self._waiting.add(connection)

    def left(self, connection: Connection) -> None:
        """Forget a connection."""
        if not self._silent.remove(connection):
            self._waiting.remove(connection)

    def _accept(self, listener: socket.socket) -> None:
        end = self.loop.time() + _ACCEPT_SECONDS
        while self.loop.time() < end:
            try:
                sock, peer = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in OUT_OF_FILES:
                    self._out_of_files(listener, error)
                    return
                continue  # the caller left before he was accepted
            self._paused = False
            sock.setblocking(False)
            if len(self) >= self.bounds.max_connections:
                self._evict()
            connection = Connection(self, sock, peer[0])
            self._silent.add(connection)
            connection.start(self._on_open)

    def _evict(self) -> None:
        """Make room: the silent go first, unless one source has a quarter of all places waiting; of a source its oldest."""
        crowded = self._waiting.most() * 4 > self.bounds.max_connections and self._waiting.most() > self._silent.most()
        (self._waiting if crowded or not self._silent.size else self._silent).oldest_of_the_busiest().lose_place()

    def _out_of_files(self, listener: socket.socket, error: OSError) -> None:
        """Make room if there is any to make; else look away for a moment, for the listener stays readable."""
        if not is_readable(listener):  # accept() takes a file before it looks
            return
        if len(self):
            self._evict()
            return
        if not self._paused:  # once, not at every try
            log.warning("cannot accept a connection: %s", error)
        self._paused = True
        self.loop.remove_reader(listener)
        self.loop.call_later(_ACCEPT_PAUSE_SECONDS, self._resume, listener)

    def _resume(self, listener: socket.socket) -> None:
        if listener in self._listeners:
            self.loop.add_reader(listener, self._accept, listener)


class Connection:
    """One caller's connection: reads until told to stop, writes once, ends."""

    __slots__ = tuple("_all _discarded _hurry _left _on_open _receive _rest _sock _timer _wanted _watched peer".split())

    def __init__(self, connections: Connections, sock: socket.socket, peer: str) -> None:
        self.peer = peer
        """The caller's address."""
        self._all = connections
        self._sock = sock
        self._on_open: Callable[[Connection], Callable[[bytes], None]]
        self._receive: Callable[[bytes], None] | None = None
        self._wanted = True  # what he sends
        self._watched = False
        self._discarded = -1  # nothing is discarded yet
        self._rest: memoryview | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._left: Callable[[], None] = _nothing
        self._hurry: Callable[[], bool] | None = None

    @property
    def host(self) -> str:
        """Our own address on which the caller reached us."""
        return str(self._sock.getsockname()[0])

    def start(self, on_open: Callable[[Connection], Callable[[bytes], None]]) -> None:
        """Begin to read; `on_open` says who receives the bytes, and is asked when there are any."""
        self._on_open = on_open
        try:
            self._read()  # the request is mostly here already, and most connections end in this line
        finally:  # even after a bug his time is bounded
            if self._wanted:
                self._watch()
                self._all.deadlines.add(self._sock.fileno(), self._too_slow)

    def heard(self, left: Callable[[], None], hurry: Callable[[], bool] | None = None) -> None:
        """Stop reading: the request is whole, and it is the caller now who waits.

        `left` is called if his waiting ends without an answer; `hurry` when we need his place, and tells whether it has answered.
        """
        self._stop()
        self._left, self._hurry = left, hurry
        self._all.heard(self)

    def watch(self) -> None:
        """Look whether he is still there while he waits, which costs two system calls; what he sends is not wanted."""
        self._discarded = 0
        self._watch()

    def finish(self, answer: bytes) -> None:
        """Answer and end the connection; the caller may have left."""
        self._left = _nothing
        if self._send(answer):
            self.close()

    def refuse(self, answer: bytes) -> None:
        """Answer, and let the caller read it before the rest of what he sends would reset the connection."""
        if self._send(answer) and self._discarded < 0:
            self._discarded = 0
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:
                self.close()

    def lose_place(self) -> None:
        """End the connection for the sake of others; who waits is answered, if there is an answer."""
        if self._hurry is None or not self._hurry():
            self._all.refused("evicted", self.peer)
            self.close()

    def close(self) -> None:
        """End the connection; does no harm twice."""
        self._stop()
        left, self._left = self._left, _nothing
        left()
        self._hurry = None
        self._receive = _nobody  # else each connection would wait for the garbage collector
        self._all.left(self)
        self._sock.close()

    def _read(self) -> None:
        try:
            data = self._sock.recv(_RECEIVE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.close()
        elif self._discarded < 0:
            if self._receive is None:
                self._receive = self._on_open(self)
            self._receive(data)
        else:
            self._discarded += len(data)
            if self._discarded > MAX_DISCARDED:
                self.close()

    def _send(self, data: bytes) -> bool:
        """Send all of it; False where the connection has ended instead, or ends when the rest has been read."""
        try:
            sent = self._sock.send(data)
        except OSError:
            sent = -1
        if 0 <= sent < len(data) and self._all.bounds.read_seconds:
            self._stop()
            self._rest = memoryview(data)[sent:]
            self._timer = self._all.loop.call_later(self._all.bounds.read_seconds, self.close)
            self._all.loop.add_writer(self._sock, self._send_rest)
        elif sent != len(data):
            self.close()
        return sent == len(data)

    def _send_rest(self) -> None:
        assert self._rest is not None
        try:
            self._rest = self._rest[self._sock.send(self._rest) :]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        if not self._rest:
            self.close()

    def _too_slow(self) -> None:
        if self._discarded < 0:
            self._all.refused("header_timeout", self.peer)
        self.close()

    def _watch(self) -> None:
        self._watched = True
        self._all.readers.add(self._sock.fileno(), self._read)

    def _stop(self) -> None:
        self._wanted = False
        if self._watched:
            self._watched = False
            self._all.readers.remove(self._sock.fileno())
            self._all.deadlines.remove(self._sock.fileno())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._rest is not None:
            self._rest = None
            self._all.loop.remove_writer(self._sock)


def _nobody(_: bytes) -> None:
    """Receive nothing any more."""


def _nothing() -> None:
    """Tell nobody that a caller has left."""
