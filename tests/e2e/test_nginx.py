"""The story of the README with a real nginx: it comes, dies, hangs, is misconfigured and comes back, and each time the status
code on the open port, the log and the metrics tell the same.

Owns what a user sees; how each failure is judged in detail belongs to the verdict tests.
"""

from __future__ import annotations

import contextlib
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from .apps import SICK, WELL, Nginx, any_free_port
from .sidecar import ANYWHERE, Line, Sidecar, ask_as_kubelet, eventually, run_check, spawn

pytestmark = pytest.mark.e2e

DEFAULT_PORTS = (8080, 15180, 15190)
"""The app's port, the open port and the admin port of a pod that configures nothing."""


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
