"""The attacker: a program that holds or hammers connections in one way for a bounded time.

`python attacker.py ATTACK PORT`, with options below. Prints `ready` once all connections it wants to hold have been opened, and
at the end one line of JSON: how many connections it opened, and how many the other side ended. Uses the standard library only,
and knows nothing of healthproxy.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import resource
import select
import signal
import socket
import struct
import time
from collections import Counter, deque
from collections.abc import Callable
from itertools import count, cycle

RESET_AT_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER that makes close() send RST."""
BIND_ADDRESS_NO_PORT = 24  # linux/in.h; without it a source address has but one connection to each port it takes
OPENED_A_TURN = 64
"""Connections opened before the others are looked at again."""
SMALLEST_BUFFER = 1
"""The kernel makes of it the smallest receive buffer it has."""
DRIP_SECONDS = 1.0


class Attacker:
    """Keeps `number` connections; whoever loses his opens another one."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.act: Callable[[socket.socket], None] = ATTACKS[options.attack].__get__(self)
        self.counts: Counter[str] = Counter(opened=0, ended=0)
        self._sources = cycle(options.source.split(","))
        self._numbers = count()
        self._pending: dict[int, socket.socket] = {}
        self._held: dict[int, socket.socket] = {}
        self._order: deque[int] = deque()
        self._epoll = select.epoll()
        self._dripped = 0.0

    def run(self) -> Counter[str]:
        """Attack until the time is over."""
        end = time.monotonic() + self.options.seconds
        ready = False
        while time.monotonic() < end:
            gone = self.counts["opened"] if self.options.once else len(self._held)
            room = self.options.number - gone - len(self._pending)
            for _ in range(min(room, OPENED_A_TURN)):
                self._open()
            for number, events in self._epoll.poll(0 if room > 0 else 0.02, 1024):
                self._happened(number, events)
            if self.options.attack == "drip" and time.monotonic() - self._dripped > DRIP_SECONDS:
                self._dripped = time.monotonic()
                self._drip()
            if not ready and self.counts["opened"] >= self.options.number:
                ready = True
                print("ready", flush=True)
        return self.counts

    def request(self) -> bytes:
        """Return the request that this attacker sends."""
        number = next(self._numbers)
        more = f"{self.options.header}: {os.getpid()}-{number}\r\n" if self.options.header else ""
        return f"GET {self.options.path} HTTP/1.1\r\nHost: pod\r\n{more}Connection: close\r\n\r\n".encode()

    def _open(self) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        if self.options.attack == "unread":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALLEST_BUFFER)
        source = next(self._sources)
        if source != "127.0.0.1":  # which it has anyway
            sock.setsockopt(socket.IPPROTO_IP, BIND_ADDRESS_NO_PORT, 1)
            sock.bind((source, 0))
        failure = sock.connect_ex(("127.0.0.1", self.options.port))
        if failure not in (0, errno.EINPROGRESS):
            self.counts[errno.errorcode[failure]] += 1
            sock.close()
            return
        self._pending[sock.fileno()] = sock
        self._epoll.register(sock.fileno(), select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)

    def _happened(self, number: int, events: int) -> None:
        sock = self._pending.pop(number, None)
        if sock is None:
            self._ended(number)
        elif events & (select.EPOLLERR | select.EPOLLHUP):
            self.counts["failed"] += 1
            sock.close()
        else:
            self.counts["opened"] += 1
            self._held[number] = sock
            try:
                self.act(sock)
            except OSError:
                self._forget(number)
            if events & select.EPOLLIN:
                self._ended(number)

    def _ended(self, number: int) -> None:
        sock = self._held.get(number)
        if sock is None:
            return
        try:
            while answer := sock.recv(4096):
                self.counts[answer[9:12].decode(errors="replace")] += 1
        except BlockingIOError:
            return
        except OSError:
            pass
        self.counts["ended"] += 1
        self._forget(number)

    def _forget(self, number: int) -> None:
        sock = self._held.pop(number, None)
        if sock is not None:
            sock.close()

    def _keep(self, sock: socket.socket) -> None:
        """Never look at it again; when there is no room for more, the oldest goes."""
        self._epoll.unregister(sock.fileno())
        self._order.append(sock.fileno())
        if len(self._order) >= self.options.number and not self.options.once:
            self._forget(self._order.popleft())

    def _drip(self) -> None:
        for number, sock in list(self._held.items()):
            try:
                sock.send(b"G")
            except OSError:
                self._forget(number)

    # The attacks: what becomes of a connection once it is there.

    def silent(self, sock: socket.socket) -> None:
        """Send nothing."""

    def unread(self, sock: socket.socket) -> None:
        """Send a whole request and read nothing of the answer."""
        sock.send(self.request())
        self._keep(sock)

    def kept(self, sock: socket.socket) -> None:
        """Send a whole request and never close, whatever comes."""
        sock.send(self.request())
        self._keep(sock)

    def half_closed(self, sock: socket.socket) -> None:
        """End our own direction in the middle of a request and wait."""
        sock.send(self.request()[:-1])
        sock.shutdown(socket.SHUT_WR)

    def reset(self, sock: socket.socket) -> None:
        """Reset it at once."""
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        self._forget(sock.fileno())

    def asked_and_reset(self, sock: socket.socket) -> None:
        """Send a whole request and reset."""
        sock.send(self.request())
        self.reset(sock)

    def storm(self, sock: socket.socket) -> None:
        """Send a whole request and read the answer."""
        sock.send(self.request())


ATTACKS: dict[str, Callable[[Attacker, socket.socket], None]] = {
    "silent": Attacker.silent,
    "drip": Attacker.silent,
    "unread": Attacker.unread,
    "kept": Attacker.kept,
    "half-closed": Attacker.half_closed,
    "reset": Attacker.reset,
    "asked-and-reset": Attacker.asked_and_reset,
    "storm": Attacker.storm,
}


def main() -> None:
    """Attack as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("attack", choices=ATTACKS)
    parser.add_argument("port", type=int)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--number", type=int, default=5000, help="connections held at a time")
    parser.add_argument("--once", action="store_true", help="open them once, and no others for those that end")
    parser.add_argument("--source", default="127.0.0.1", help="addresses to come from, with commas")
    parser.add_argument("--path", default="/healthy")
    parser.add_argument("--header", default="", help="a header field with a new value in each request")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    print(json.dumps(Attacker(parser.parse_args()).run()), flush=True)


if __name__ == "__main__":
    main()
