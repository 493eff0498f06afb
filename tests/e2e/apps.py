"""Real apps to put behind a sidecar, each a process of its own: nginx, Redis and a gRPC health server.

They listen on loopback or on a socket file, and can be started, stopped in every way and started again at the same place. Knows
neither the sidecar nor a test.
"""

from __future__ import annotations

import abc
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from .sidecar import BOUND_SECONDS, Lines, eventually

Place = int | Path
"""Where an app listens: a port of loopback, or a socket file."""

WELL = "default_type text/plain; return 200 'ok';"
SICK = "default_type text/plain; return 503 'sick';"
CONFIGURATION = """\
daemon off;
pid nginx.pid;
error_log error.log;
worker_processes 1;
events {{ worker_connections 64; }}
http {{
    client_body_temp_path temp; proxy_temp_path temp; fastcgi_temp_path temp; uwsgi_temp_path temp; scgi_temp_path temp;
    log_format seen '$status|$request|$http_host|$http_user_agent|$http_accept|$http_connection|$http_accept_encoding';
    access_log access.log seen;
    server {{
        listen {listen};
        location /healthy {{ {answer} }}
    }}
}}
"""


def any_free_port() -> int:
    """Return a port of loopback on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class RealApp(abc.ABC):
    """A server that can be started again and again; `command` keeps it in the foreground."""

    def __init__(self, command: Sequence[str], directory: Path, place: Place) -> None:
        self.place = place
        self.directory = directory
        self._command = command
        self._process: subprocess.Popen[str] | None = None

    @property
    def port(self) -> int:
        """The port, of an app that listens on one."""
        assert isinstance(self.place, int)
        return self.place

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with (self.directory / "stderr").open("ab") as stderr:
            # A session of its own, so that a signal reaches its workers, too, as it does when a container is killed.
            self._process = subprocess.Popen(
                self._command,
                cwd=self.directory,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.has_started(self._process.stdin, Lines(self._process.stdout))
        eventually(self._state, lambda state: state == "listens")

    def has_started(self, stdin: IO[str], stdout: Lines) -> None:  # noqa: B027 - most have no use for them
        """Take the pipes of a new process; for those who use them."""

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it and its workers."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it, if it runs."""
        if self._process is not None:
            assert self._process.stdin is not None
            with contextlib.suppress(ProcessLookupError):
                self.send(number)
            self._process.wait(BOUND_SECONDS)
            self._process.stdin.close()
            self._process = None
            eventually(self._state, lambda state: state != "listens")

    def restart(self) -> None:
        """Start it where it was killed."""
        if isinstance(self.place, Path):
            self.place.unlink(missing_ok=True)  # what a container that starts anew does not find either
        self.start()

    def ensure(self) -> None:
        """See to it that it runs, whatever was done to it."""
        if self._process is None:
            self.restart()
        self.send(signal.SIGCONT)

    @abc.abstractmethod
    def requests(self) -> int:
        """Count what it has been asked, from a beginning of its own choice; Redis counts connections."""

    def _state(self) -> str:
        """Return `listens`, or what it complains of."""
        with socket.socket(socket.AF_UNIX if isinstance(self.place, Path) else socket.AF_INET) as sock:
            if sock.connect_ex(str(self.place) if isinstance(self.place, Path) else ("127.0.0.1", self.place)) == 0:
                return "listens"
        logs = [self.directory / name for name in ("stderr", "error.log")]
        return "".join([log.read_text() for log in logs if log.exists()])


class Nginx(RealApp):
    """An nginx with a directory of its own; it runs for root and for anybody else."""

    def __init__(self, binary: str, directory: Path, place: Place, pem: Path | None = None) -> None:
        super().__init__([binary, "-p", str(directory), "-c", "nginx.conf"], directory, place)
        listen = f"unix:{place}" if isinstance(place, Path) else f"127.0.0.1:{place}"
        tls = f" ssl; ssl_certificate {pem}; ssl_certificate_key {pem}" if pem else ""
        self._listen = listen + tls
        self.configure(WELL)

    def configure(self, answer: str) -> None:
        """Write the answer of /healthy into the configuration."""
        (self.directory / "nginx.conf").write_text(CONFIGURATION.format(listen=self._listen, answer=answer))

    def reload(self, answer: str) -> None:
        """Change the answer of /healthy while it runs."""
        assert self._process is not None
        self.configure(answer)
        self._process.send_signal(signal.SIGHUP)

    def seen(self) -> list[str]:
        """Return the requests so far, each with its status and the headers that came with it."""
        log = self.directory / "access.log"
        return log.read_text().splitlines() if log.exists() else []

    def requests(self) -> int:
        return len(self.seen())


class Redis(RealApp):
    """A Redis that keeps nothing."""

    def __init__(self, binary: str, directory: Path, port: int) -> None:
        flags = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(directory)]
        super().__init__([binary, *flags], directory, port)
        self._own = 0

    def requests(self) -> int:
        self._own += 1
        with socket.create_connection(("127.0.0.1", self.port), BOUND_SECONDS) as connection:
            connection.sendall(b"INFO stats\r\nQUIT\r\n")
            with connection.makefile() as answer:
                counts = [line for line in answer if line.startswith("total_connections_received:")]
        return int(counts[0].partition(":")[2]) - self._own


class GRPCHealth(RealApp):
    """A gRPC server of grpcio, with TLS if it has a key and certificates."""

    def __init__(self, directory: Path, place: Place, pem: Path | None = None) -> None:
        program = Path(__file__).with_name("health_app.py")
        address = f"unix:{place}" if isinstance(place, Path) else f"127.0.0.1:{place}"
        tls = ["--pem", str(pem)] if pem else []
        super().__init__([sys.executable, str(program), address, *tls], directory, place)
        self._stdin: IO[str] | None = None
        self._stdout: Lines | None = None

    def has_started(self, stdin: IO[str], stdout: Lines) -> None:
        self._stdin, self._stdout = stdin, stdout

    def ensure(self) -> None:
        super().ensure()
        self.say("SERVING")

    def say(self, status: str) -> None:
        """Answer with this from now on: SERVING, NOT_SERVING."""
        assert self._stdin is not None
        assert self._stdout is not None
        self._stdin.write(f"{status}\n")
        self._stdin.flush()
        self._stdout.next_with(f"says {status}")

    def requests(self) -> int:
        assert self._stdout is not None
        return self._stdout.texts.count("shop.Api")
