"""What a port waits for with many callers at once: bytes of theirs, or the end of their time.

The event loop's `add_reader` and `call_later` take half of what a caller costs who sends nothing; these two stand for thousands
by one descriptor and one timer of the loop. Know no connection.
"""

from __future__ import annotations

import asyncio
import select
import socket
import time
from collections.abc import Callable

_READ_A_TURN = 16
_TURN_SECONDS = 0.002  # a page of the admin port may take longer by itself: then nobody is read with it


class Readers:
    """Sockets that are read when they have bytes; for the loop itself a file that becomes readable with any of them."""

    def __init__(self) -> None:
        """Begin with none; have `read` called when `fileno` is readable, and `close` at the end."""
        self._epoll = select.epoll()
        self._reads: dict[int, Callable[[], None]] = {}

    def fileno(self) -> int:
        """Return the descriptor that stands for all."""
        return self._epoll.fileno()

    def close(self) -> None:
        """Watch nothing any more."""
        self._epoll.close()

    def add(self, number: int, read: Callable[[], None]) -> None:
        """Have a socket, by its number, read whenever it has bytes or has ended."""
        self._reads[number] = read
        self._epoll.register(number, select.EPOLLIN)

    def remove(self, number: int) -> None:
        """Leave a socket alone; it must still be open."""
        del self._reads[number]
        self._epoll.unregister(number)

    def read(self) -> None:
        """Read those who are ready, for as long as a turn of the loop may take; the rest is told again in the next."""
        end = time.monotonic() + _TURN_SECONDS
        for number, _ in self._epoll.poll(0, _READ_A_TURN):
            read = self._reads.get(number)
            if read is not None:  # one before it in this turn may have ended it
                read()
            if time.monotonic() >= end:
                return


class Deadlines:
    """Times that are all equally long, so that who began first is over first."""

    def __init__(self, seconds: float) -> None:
        """`seconds`: how long each is."""
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._ends: dict[int, tuple[float, Callable[[], None]]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, number: int, over: Callable[[], None]) -> None:
        """Begin one; `over` is called at its end, if it has not been removed by then, and must remove it."""
        self._ends[number] = (self._loop.time() + self._seconds, over)
        self._schedule()

    def remove(self, number: int) -> None:
        """End one before its time, if there is one."""
        self._ends.pop(number, None)
        if not self._ends and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        if self._ends and self._timer is None:
            first, _ = next(iter(self._ends.values()))
            self._timer = self._loop.call_at(first, self._end)

    def _end(self) -> None:
        self._timer = None
        now = self._loop.time()
        for over in [over for end, over in self._ends.values() if end <= now]:
            over()
        self._schedule()


def is_readable(sock: socket.socket) -> bool:
    """Tell whether there is something to read, or on a listening socket somebody to accept, without a file of our own."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
