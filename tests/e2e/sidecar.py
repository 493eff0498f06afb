"""A real `healthproxy` process, a kubelet-like caller and a small app to put behind it.

Everything is waited for by reading what a process prints or by asking it, with a bound. Every process is ended by its id. Knows
no test; what a machine may lack is `conftest.py`'s concern.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TypeVar

from healthproxy.kubelet import ACCEPT, USER_AGENT
from healthproxy.probe import Caller, HTTPGet, Outcome, Probe
from healthproxy.probers import run_probe

T = TypeVar("T")

BOUND_SECONDS = 10.0
"""How long anything may take that normally takes milliseconds."""
POLL_SECONDS = 0.02
ANYWHERE = ("--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
"""Flags of a sidecar that shares the machine with others."""
_START_LINE = re.compile(r"open port (?P<open>.+?); admin port (?P<admin>.+?); ")


def eventually(ask: Callable[[], T], wanted: Callable[[T], bool], seconds: float = BOUND_SECONDS) -> T:
    """Ask until the answer is a wanted one, and return it."""
    end = time.monotonic() + seconds
    while not wanted(answer := ask()):
        assert time.monotonic() < end, f"after {seconds:g} s still {answer!r}"
        time.sleep(POLL_SECONDS)
    return answer


def ask_as_kubelet(port: int, path: str = "/healthy") -> Outcome:
    """Send one probe of `timeoutSeconds: 1` to a port of loopback, as the kubelet would."""
    probe = Probe(path, HTTPGet(port, path), deadline=1.0)
    return asyncio.run(run_probe(probe, Caller("127.0.0.1", USER_AGENT, ACCEPT)))


def run_check(url: str, prefix: Sequence[str] = ()) -> tuple[int, str]:
    """Run `healthproxy check` as a user does; return its exit status and what it prints."""
    command = [*prefix, sys.executable, "-m", "healthproxy", "check", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BOUND_SECONDS, check=False)
    return done.returncode, done.stdout + done.stderr


@dataclass(frozen=True, slots=True)
class Line:
    """One line that a process printed."""

    at: float
    """When it came, on the clock of `time.monotonic`."""
    text: str


class Lines:
    """What a process prints on one pipe, while it runs and after."""

    def __init__(self, pipe: IO[str]) -> None:
        self.seen: list[Line] = []
        self._read = 0
        self._ended = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._collect, args=(pipe,), daemon=True)
        self._thread.start()

    @property
    def texts(self) -> list[str]:
        """All lines so far."""
        return [line.text for line in self.seen]

    def next(self, seconds: float = BOUND_SECONDS) -> Line:
        """Return the line after the last one returned; wait for it if need be."""
        with self._news:
            self._news.wait_for(lambda: len(self.seen) > self._read or self._ended, seconds)
            assert len(self.seen) > self._read, f"no further line after {self.texts}"
            self._read += 1
            return self.seen[self._read - 1]

    def next_with(self, words: str, seconds: float = BOUND_SECONDS) -> Line:
        """Return the next line that contains the words; pass over others."""
        end = time.monotonic() + seconds
        while words not in (line := self.next(max(0.0, end - time.monotonic()))).text:
            pass
        return line

    def join(self) -> None:
        """Wait for the end of the pipe."""
        self._thread.join(BOUND_SECONDS)

    def _collect(self, pipe: IO[str]) -> None:
        with pipe:
            for text in pipe:
                with self._news:
                    self.seen.append(Line(time.monotonic(), text.rstrip("\n")))
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


class Sidecar:
    """A `healthproxy` process; make it with `spawn`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self.process = process
        self.out = Lines(process.stdout)
        self.log = Lines(process.stderr)
        self.start_line = ""
        self.open_addresses: list[str] = []
        self.admin_addresses: list[str] = []

    def started(self) -> Sidecar:
        """Wait for the start line and take from it the addresses really bound."""
        self.start_line = self.log.next_with("open port ").text
        if self.start_line.startswith("{"):
            fields = json.loads(self.start_line)
            self.open_addresses, self.admin_addresses = fields["open_port"], fields["admin_port"]
        else:
            found = _START_LINE.search(self.start_line)
            assert found, f"not a start line: {self.start_line}"
            self.open_addresses, self.admin_addresses = found["open"].split(", "), found["admin"].split(", ")
        return self

    @property
    def open_port(self) -> int:
        """The number of the open port."""
        return int(self.open_addresses[0].rpartition(":")[2])

    @property
    def admin_port(self) -> int:
        """The number of the admin port."""
        return int(self.admin_addresses[0].rpartition(":")[2])

    def ask(self, path: str = "/healthy") -> Outcome:
        """Probe the open port once."""
        return ask_as_kubelet(self.open_port, path)

    def metrics(self) -> str:
        """Scrape the admin port."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/metrics", timeout=BOUND_SECONDS) as answer:
            return str(answer.read().decode())

    def metric(self, series: str) -> float:
        """Return the value of one series, written as /metrics writes it."""
        text = self.metrics()
        found = [line for line in text.splitlines() if line.startswith(f"{series} ")]
        assert len(found) == 1, f"{series} is not in\n{text}"
        return float(found[0].rpartition(" ")[2])

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self, seconds: float = BOUND_SECONDS) -> int:
        """Return the exit status, as `subprocess` has it; all lines have been read by then."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {seconds:g} s; it said {self.log.texts}") from None
        self.out.join()
        self.log.join()
        return status


@contextlib.contextmanager
def spawn(*arguments: str, environment: Mapping[str, str] | None = None, prefix: Sequence[str] = ()) -> Iterator[Sidecar]:
    """Start `healthproxy` with nothing in its environment but PATH and what is given; it ends with the context at the latest.

    `prefix` is a command that runs another one, such as `unshare`.
    """
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", "healthproxy", *arguments],
        env={"PATH": os.environ["PATH"], **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    sidecar = Sidecar(process)
    try:
        yield sidecar
    finally:
        process.kill()
        sidecar.wait()


@contextlib.contextmanager
def refusing_port() -> Iterator[int]:
    """Hold a port of loopback on which nobody listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])


class App:
    """An app in a thread: answers one request after the other with `status`, as long as `may_answer` is set."""

    def __init__(self) -> None:
        self.status = 200
        self.requests = 0
        self.asked = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.probe = f"/healthy=http://127.0.0.1:{self.port}/healthy"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def go(self) -> None:
        """Refuse connections from now on; a request that is being answered still is."""
        # Closing alone would not wake the thread out of its accept, and the port would stay open until then.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def end(self) -> None:
        """Go, and forget whoever waits for an answer."""
        self.may_answer.set()
        self.go()
        self._thread.join(BOUND_SECONDS)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection, contextlib.suppress(OSError):
                    if connection.recv(65536):  # who only tries the port sends nothing
                        self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        self.requests += 1
        self.asked.set()
        self.may_answer.wait(BOUND_SECONDS)
        connection.sendall(f"HTTP/1.1 {self.status} Any\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok".encode())
