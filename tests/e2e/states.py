"""A sidecar with two apps behind it, brought into the states that the history page must show.

Owns the apps. Everything is real; judges nothing.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseRequestHandler, TCPServer

from .sidecar import ANYWHERE, Sidecar, spawn

HOSTILE = b'<script>document.title = "owned"</script><img src="http://192.0.2.1/x.png"><h1>no database</h1>\x1b[2J\xff'
"""What the failing app says: would run, and would fetch, if it were taken for HTML."""
KEYS = ("/healthy", "/ready", "/db")
_SLOW_SECONDS = 5.0


def _quick() -> float:
    """Return how long a healthy app takes: some milliseconds, more now and then."""
    return random.lognormvariate(-5.5, 0.5)


class _Handler(BaseHTTPRequestHandler):
    server: _App

    def do_GET(self) -> None:
        app = self.server
        status, body, seconds = (app.status, app.body, app.seconds()) if self.path == "/healthy" else (200, b"ok\n", _quick())
        if app.over.wait(seconds):
            return
        with contextlib.suppress(ConnectionError):  # who asked may have lost patience
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _App(ThreadingHTTPServer):
    """An app that answers /healthy with `status` and `body` after `seconds()`, and is well everywhere else."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.body = 200, b"ok\n"
        self.seconds: Callable[[], float] = _quick
        self.over = threading.Event()


class World:
    """The apps, the sidecar, and those who ask it; made by `world`."""

    def __init__(self, sidecar: Sidecar, app: _App, stop_database: Callable[[], None]) -> None:
        self.sidecar = sidecar
        self._app = app
        self._stop_database = stop_database

    @property
    def url(self) -> str:
        """Of the history page."""
        return f"http://127.0.0.1:{self.sidecar.admin_port}/"

    def ask(self, times: int, *keys: str, pace: float = 0.0) -> None:
        """Ask as the kubelet does, each time for all of the keys."""
        for _ in range(times):
            began = time.monotonic()
            for key in keys:
                self.sidecar.ask(key)
            time.sleep(max(0.0, began + pace - time.monotonic()))

    def be_healthy(self, times: int = 10, pace: float = 0.0) -> None:
        """Be asked, and well."""
        self._app.status, self._app.body = 200, b"ok\n"
        self.ask(times, *KEYS, pace=pace)

    def be_slow(self, times: int = 1) -> None:
        """Answer /healthy too late."""
        self._app.seconds = lambda: _SLOW_SECONDS
        self.ask(times, "/healthy")
        self._app.seconds = _quick

    def fail(self, times: int = 4, pace: float = 0.0, body: bytes = HOSTILE) -> None:
        """Answer /healthy with 503, and be gone for /db, which is asked twice."""
        self._app.status, self._app.body = 503, body
        self.ask(times - 2, "/healthy", "/ready", pace=pace)
        self._stop_database()
        self.ask(2, *KEYS, pace=pace)

    def scan(self) -> None:
        """Ask the open port for what is none of anybody's business."""
        for path in ("/admin", "/.env", "/metrics", "/%2e%2e/"):
            self.sidecar.ask(path)


@contextlib.contextmanager
def world(period: float = 10.0, prefix: Sequence[str] = ()) -> Iterator[World]:
    """Run all of it; nobody has asked yet. `prefix` is a command that runs the sidecar's."""
    with contextlib.ExitStack() as stack:
        app, database = _App(), TCPServer(("127.0.0.1", 0), BaseRequestHandler)
        stop_database = _serve(stack, database)
        _serve(stack, app)
        stack.callback(app.over.set)
        times = {"timeoutSeconds": 0.5, "periodSeconds": period}
        table = {path: {"httpGet": {"path": path, "port": app.server_port}, **times} for path in KEYS[:2]}
        table["/db"] = {"tcpSocket": {"port": database.server_address[1]}, **times}
        environment = {"HEALTHPROXY_PROBES": json.dumps(table)}
        sidecar = stack.enter_context(spawn(*ANYWHERE, "--min-interval", "0", environment=environment, prefix=prefix))
        yield World(sidecar.started(), app, stop_database)


def _serve(stack: contextlib.ExitStack, server: TCPServer) -> Callable[[], None]:
    """Serve in a thread until the stack unwinds; return what ends it before."""
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    stack.callback(stop)
    return stop
