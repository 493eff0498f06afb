"""The story of the README with a real nginx: it comes, dies, hangs, is misconfigured and comes back, and each time the status
code on the open port, the log and the metrics tell the same.

Owns what a user sees; how each failure is judged in detail belongs to the verdict tests.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .sidecar import ANYWHERE, BOUND_SECONDS, Line, Sidecar, ask_as_kubelet, eventually, run_check, spawn

pytestmark = pytest.mark.e2e

DEFAULT_PORTS = (8080, 15180, 15190)
"""The app's port, the open port and the admin port of a pod that configures nothing."""
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
        listen 127.0.0.1:{port};
        location /healthy {{ {answer} }}
    }}
}}
"""


class Nginx:
    """An nginx with a directory of its own; it runs for root and for anybody else."""

    def __init__(self, binary: str, prefix: Path, port: int) -> None:
        self.port = port
        self._prefix = prefix
        self._command = [binary, "-p", str(prefix), "-c", "nginx.conf"]
        self._process: subprocess.Popen[bytes] | None = None
        self.configure(WELL)

    def configure(self, answer: str) -> None:
        """Write the answer of /healthy into the configuration."""
        (self._prefix / "nginx.conf").write_text(CONFIGURATION.format(port=self.port, answer=answer))

    def start(self) -> None:
        """Start master and worker, and wait until they listen."""
        with (self._prefix / "stderr").open("ab") as stderr:
            # A session of its own, so that a signal reaches the worker, too, as it does when a container is killed.
            self._process = subprocess.Popen(self._command, stderr=stderr, start_new_session=True)
        eventually(self._state, lambda state: state == "listens")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to master and worker."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def reload(self, answer: str) -> None:
        """Change the answer of /healthy while it runs."""
        assert self._process is not None
        self.configure(answer)
        self._process.send_signal(signal.SIGHUP)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it, if it runs."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.send(number)
            self._process.wait(BOUND_SECONDS)
            self._process = None
            eventually(self._state, lambda state: state != "listens")

    def seen(self) -> list[str]:
        """Return the requests so far, each with its status and the headers that came with it."""
        log = self._prefix / "access.log"
        return log.read_text().splitlines() if log.exists() else []

    def _state(self) -> str:
        """Return `listens`, or what it complains of."""
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", self.port)) == 0:
                return "listens"
        return "".join([(self._prefix / name).read_text() for name in ("stderr", "error.log") if (self._prefix / name).exists()])


@contextlib.contextmanager
def default_ports() -> Iterator[bool]:
    """Tell whether the ports of a pod that configures nothing are free; if so, they are kept from other runs of these tests."""
    with socket.socket(socket.AF_UNIX) as claim:
        try:
            claim.bind("\0healthproxy-e2e-default-ports")  # goes with the process that holds it
        except OSError:
            yield False
        else:
            yield all(is_free(port) for port in DEFAULT_PORTS)


def is_free(port: int) -> bool:
    """Tell whether one could listen on this port of every address."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def any_free_port() -> int:
    """Return a port of loopback on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def nginx(nginx_binary: str, tmp_path: Path) -> Iterator[Nginx]:
    """An nginx that has not been started, on the port where healthproxy expects an app if that is free."""
    with default_ports() as free:
        app = Nginx(nginx_binary, tmp_path, DEFAULT_PORTS[0] if free else any_free_port())
        yield app
        app.end()


@pytest.fixture
def sidecar(nginx: Nginx) -> Iterator[Sidecar]:
    """The sidecar of a pod that configures nothing; where others hold its ports, one that has been told others."""
    moved = (*ANYWHERE, "--probe", f"/healthy=http://127.0.0.1:{nginx.port}/healthy")
    with spawn(*(() if nginx.port == DEFAULT_PORTS[0] else moved)) as running:
        yield running.started()


class Watcher:
    """The kubelet, the log reader, Prometheus and a user at the keyboard, who must all learn the same."""

    def __init__(self, sidecar: Sidecar) -> None:
        self._sidecar = sidecar

    def sees(self, code: int, reason: str, words: str) -> Line:
        """Probe until the open port answers `code`; by then everybody must know why. Returns the log line."""
        counted = self._count(reason)
        outcome = eventually(self._sidecar.ask, lambda outcome: outcome.code == code)
        well = code < 400
        assert outcome.duration < 1, "the kubelet would have given up"
        line = self._sidecar.log.next()
        assert f"probe /healthy {words}" in line.text
        assert self._count(reason) == counted + 1
        assert self._gauge("probe_success") == well
        assert self._gauge("probe_consecutive_failures") == (not well)
        verdict = f"success: HTTP {code}" if well else f"failure: HTTP probe failed with statuscode: {code}"
        status, text = run_check(f"http://127.0.0.1:{self._sidecar.open_port}/healthy")
        assert (status, text.partition(" (")[0]) == (not well, verdict)
        return line

    def _count(self, reason: str) -> float:
        result = "success" if reason == "ok" else "failure"
        return self._sidecar.metric(f'healthproxy_probes_total{{probe="/healthy",reason="{reason}",result="{result}"}}')

    def _gauge(self, name: str) -> float:
        return self._sidecar.metric(f'healthproxy_{name}{{probe="/healthy"}}')


def recovery_seconds(line: Line) -> float:
    """Take from a log line how long the app was down."""
    found = re.search(r"succeeds again after (\d+\.\d) s$", line.text)
    assert found, line.text
    return float(found[1])


def test_whatever_becomes_of_nginx_everybody_learns_it(nginx: Nginx, sidecar: Sidecar) -> None:
    watcher = Watcher(sidecar)
    # The sidecar is there before the app.
    watcher.sees(502, "refused", "fails: connection refused")
    nginx.start()
    watcher.sees(200, "ok", "succeeds for the first time, ")
    # It dies.
    nginx.end(signal.SIGKILL)
    died = watcher.sees(502, "refused", "fails: connection refused")
    nginx.start()
    back = watcher.sees(200, "ok", "succeeds again after ")
    assert recovery_seconds(back) == pytest.approx(back.at - died.at, abs=0.3)
    # It hangs: the kernel takes connections for it, nobody answers.
    nginx.send(signal.SIGSTOP)
    watcher.sees(504, "timeout", "fails: no answer within 0.9 s")
    nginx.send(signal.SIGCONT)
    watcher.sees(200, "ok", "succeeds again after ")
    # Somebody breaks its configuration.
    nginx.reload(SICK)
    watcher.sees(503, "status", "fails: app answered 503")
    nginx.end(signal.SIGTERM)
    nginx.configure(WELL)
    nginx.start()
    watcher.sees(200, "ok", "succeeds again after ")
    # The app's own log agrees.
    request = f"GET /healthy HTTP/1.1|127.0.0.1:{nginx.port}|kube-probe/1.36|*/*|close|-"
    assert {seen.partition("|")[2] for seen in nginx.seen()} == {request}
    sick = [seen for seen in nginx.seen() if seen.startswith("503|")]
    assert sidecar.metric('healthproxy_app_responses_total{code="503",probe="/healthy"}') == len(sick) > 0


def test_nginx_sees_one_request_for_a_probe_and_it_is_the_kubelets(nginx: Nginx, sidecar: Sidecar) -> None:
    nginx.start()
    assert ask_as_kubelet(nginx.port).code == 200
    assert sidecar.ask().code == 200
    directly, through_us = eventually(nginx.seen, lambda seen: len(seen) == 2)
    assert through_us == directly
