"""The app `shop` of the manifests: answers every path on 8080, and is told by signals how it feels.

SIGUSR1 makes it sick and well again. SIGTERM makes it drain: it goes on answering, 503, until SIGUSR2 lets it exit. Uses the
standard library alone: it runs in a container of its own.
"""

import signal
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)


class Server(ThreadingHTTPServer):
    """Listens on every address, IPv6 and IPv4."""

    address_family = socket.AF_INET6
    daemon_threads = True


class Handler(BaseHTTPRequestHandler):
    """Says how the app feels, and logs nothing."""

    status = 200

    def do_GET(self) -> None:
        """Answer any path."""
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
threading.Thread(target=Server(("::", 8080), Handler).serve_forever, daemon=True).start()
while (number := signal.sigwait(SIGNALS)) != signal.SIGUSR2:
    Handler.status = 503 if number == signal.SIGTERM or Handler.status == 200 else 200
