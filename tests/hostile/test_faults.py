"""Faults of the app, and of our own process, while a storm goes on: the kubelet beside it learns the truth of each, in time.

Promise 1 under the conditions of promise 4: the verdict is the app's whatever others do, and what is our own fault is never
charged to the app.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.apps import Nginx, any_free_port
from tests.e2e.conftest import find
from tests.e2e.sidecar import ANYWHERE, BOUND_SECONDS, Sidecar, eventually, refusing_port, spawn

from .footprint import cpu_seconds, footprint
from .load import GROWTH_MIB, PEAK_MIB, Attack, SlowApp, attacking, wrk
from .witness import ATTACKER, ELSEWHERE, IN_TIME_SECONDS, SCRAPER, Prober, probing

pytestmark = pytest.mark.e2e

NEWS_SECONDS = 1.1
"""How long a verdict may still be the old one: a request to a hung app that is under way, and the interval to the next one."""
PHASE_SECONDS = 1.5
"""How long a fault lasts after that: six probes from each address."""
STORM = Attack("storm", "", ((*wrk(50), "-d60s"),))
"""It goes on until the test is over."""
SPINNING_CPU = 0.4
"""CPU seconds a second that no process without files may take: twenty tries a second cost 0.02, a loop that spins takes 1."""
STARVED_SECONDS = 3.0
LINES_A_STATE = 3
"""Log lines for a state that lasts; one tells it, an older one may still be due."""
GARBAGE = b"\x15\x03\x01 I am not the app\r\n\r\n"
HUNG_TIMEOUT_SECONDS = 10
"""`timeoutSeconds` of a probe whose callers wait so long that thousands come meanwhile."""


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Nginx]:
    """An nginx that runs."""
    app = Nginx(find("nginx", "nginx-light"), tmp_path, any_free_port())
    app.start()
    yield app
    app.ensure()  # it may be stopped
    app.end()


@pytest.fixture
def sidecar(nginx: Nginx) -> Iterator[Sidecar]:
    """A sidecar in front of nginx."""
    with spawn(*ANYWHERE, "--probe", f"/healthy=http://127.0.0.1:{nginx.port}/healthy") as running:
        eventually(running.started().ask, lambda outcome: outcome.code == 200)
        yield running


@contextlib.contextmanager
def somebody_else(port: int) -> Iterator[None]:
    """Hold the app's port with a program that speaks no HTTP."""
    with socket.create_server(("127.0.0.1", port)) as listener:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.sendall(GARBAGE)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(BOUND_SECONDS)


class Witness:
    """Kubelets beside a storm, who must all come to the same verdict."""

    def __init__(self, probers: list[Prober]) -> None:
        self._probers = probers

    def sees(self, status: int) -> None:
        """Wait until the news must be out, and check that from then on each probe is answered with it, in time."""
        time.sleep(NEWS_SECONDS)
        since = time.monotonic()
        time.sleep(PHASE_SECONDS)
        for prober in self._probers:
            seen = [verdict for verdict in prober.verdicts if verdict.began >= since]
            assert len(seen) > 2
            assert {verdict.said for verdict in seen} == {status}
        self.in_time()

    def in_time(self) -> None:
        """Check that no probe whatever had to wait longer than the kubelet does."""
        late = [verdict for prober in self._probers for verdict in prober.verdicts if verdict.duration > IN_TIME_SECONDS]
        assert late == []


@contextlib.contextmanager
def storm(sidecar: Sidecar) -> Iterator[Witness]:
    """Storm while the context lasts."""
    with (
        probing(sidecar.open_port, ELSEWHERE) as one,
        probing(sidecar.open_port, ATTACKER) as other,
        attacking(sidecar, STORM),
    ):
        yield Witness([one, other])


def test_killed_and_restarted(nginx: Nginx, sidecar: Sidecar) -> None:
    with storm(sidecar) as kubelets:
        nginx.end(signal.SIGKILL)
        kubelets.sees(502)
        nginx.restart()
        kubelets.sees(200)


def test_stopped_and_continued(nginx: Nginx, sidecar: Sidecar) -> None:
    with storm(sidecar) as kubelets:
        nginx.send(signal.SIGSTOP)
        kubelets.sees(504)
        nginx.send(signal.SIGCONT)
        kubelets.sees(200)


def test_its_port_taken_by_a_program_that_speaks_garbage(nginx: Nginx, sidecar: Sidecar) -> None:
    with storm(sidecar) as kubelets:
        nginx.end(signal.SIGKILL)
        with somebody_else(nginx.port):
            kubelets.sees(502)
        nginx.restart()
        kubelets.sees(200)
    assert sidecar.metric('healthproxy_probes_total{probe="/healthy",reason="protocol",result="failure"}') > 1


def test_slow_and_quick_again() -> None:
    app = SlowApp()
    app.delay = 0.0
    try:
        with spawn(*ANYWHERE, "--probe", app.probe) as sidecar, storm(sidecar.started()) as kubelets:
            app.delay = 0.7  # in time
            kubelets.sees(200)
            app.delay = 2.0
            kubelets.sees(504)
            app.delay = 0.0
            eventually(sidecar.ask, lambda outcome: outcome.code == 200)  # it serves those first who gave up
            kubelets.sees(200)
    finally:
        app.delay = 0.0
        app.end()


def test_hung_for_so_long_that_callers_pile_up_takes_no_memory(nginx: Nginx) -> None:
    table = {"/healthy": {"httpGet": {"path": "/healthy", "port": nginx.port}, "timeoutSeconds": HUNG_TIMEOUT_SECONDS}}
    with spawn(*ANYWHERE, environment={"HEALTHPROXY_PROBES": json.dumps(table)}) as sidecar:
        eventually(sidecar.started().ask, lambda outcome: outcome.code == 200)
        before = footprint(sidecar.process.pid)
        nginx.send(signal.SIGSTOP)
        attack = Attack("callers ask a hung app and come again", "", (wrk(1000),))
        with attacking(sidecar, attack) as processes:
            attackers = [process.communicate(timeout=BOUND_SECONDS)[0] for process in processes]
        peak = footprint(sidecar.process.pid).peak_mib
        print("FIGURES hung", before, peak, attackers)
        nginx.send(signal.SIGCONT)
        eventually(sidecar.ask, lambda outcome: outcome.code == 200, HUNG_TIMEOUT_SECONDS + 2)
        eventually(lambda: sidecar.metric("healthproxy_open_connections"), lambda number: number == 0)
    assert peak < before.rss_mib + GROWTH_MIB < PEAK_MIB


# Our own fault: no file is left


def lowest_free(pid: int) -> Iterator[int]:
    """Return the numbers that the next files of a process get."""
    taken = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}  # noqa: PTH208 - names are all we want
    return (number for number in itertools.count() if number not in taken)


@contextlib.contextmanager
def files_left(sidecar: Sidecar, number: int) -> Iterator[None]:
    """Let a process open no more than `number` files while the context lasts."""
    pid = sidecar.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    limit = next(itertools.islice(lowest_free(pid), number, None))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def blamed(sidecar: Sidecar) -> float:
    """Count how often the app was said to have failed."""
    lines = sidecar.metrics().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if 'result="failure"' in line and "_probes_total{" in line)


@pytest.mark.parametrize("left", [0, 1], ids=["no caller can be accepted", "the app cannot be connected to"])
def test_without_files_it_neither_spins_nor_blames_the_app(sidecar: Sidecar, left: int) -> None:
    pid = sidecar.process.pid
    before = footprint(pid)
    with probing(sidecar.open_port, ELSEWHERE) as kubelet:
        with files_left(sidecar, left):
            began, cpu = time.monotonic(), cpu_seconds(pid)
            time.sleep(STARVED_SECONDS)
            cpu = (cpu_seconds(pid) - cpu) / (time.monotonic() - began)
            fed = time.monotonic()
        eventually(sidecar.ask, lambda outcome: outcome.code == 200)
        time.sleep(NEWS_SECONDS)
        seen = kubelet.end()
    print("FIGURES files", left, cpu, [(verdict.said, round(verdict.duration, 3)) for verdict in seen], len(sidecar.log.texts))
    assert cpu < SPINNING_CPU
    assert {verdict.said for verdict in seen if began < verdict.began < fed - IN_TIME_SECONDS} <= {500, "TimeoutError"}
    assert {verdict.said for verdict in seen if verdict.began > fed + 0.5} == {200}
    assert len([line for line in sidecar.log.texts if "cannot accept" in line]) <= LINES_A_STATE
    assert blamed(sidecar) == 0
    internal = sidecar.metric('healthproxy_probes_total{probe="/healthy",reason="internal",result="unknown"}')
    assert (internal > 0) == (left == 1)
    assert eventually(lambda: footprint(pid), lambda now: now.files <= before.files)


def test_without_files_in_a_storm_probes_come_back_afterwards(sidecar: Sidecar) -> None:
    pid = sidecar.process.pid
    with storm(sidecar):
        with files_left(sidecar, 0):
            time.sleep(STARVED_SECONDS)
        eventually(sidecar.ask, lambda outcome: outcome.code == 200)
    assert blamed(sidecar) == 0
    assert footprint(pid).peak_mib < PEAK_MIB
    eventually(lambda: sidecar.metric("healthproxy_open_connections"), lambda number: number == 0)


def test_without_files_a_scraper_does_not_make_it_spin(sidecar: Sidecar) -> None:
    pid = sidecar.process.pid
    with probing(sidecar.admin_port, SCRAPER, "--path", "/metrics"), files_left(sidecar, 0):
        began, cpu = time.monotonic(), cpu_seconds(pid)
        time.sleep(STARVED_SECONDS)
        cpu = (cpu_seconds(pid) - cpu) / (time.monotonic() - began)
    print("FIGURES scraper without files", cpu, len(sidecar.log.texts))
    assert cpu < SPINNING_CPU
    assert sidecar.metric("healthproxy_open_connections") == 0


def test_a_storm_on_an_app_that_is_not_there_costs_no_more_than_one_that_is() -> None:
    with refusing_port() as port, spawn(*ANYWHERE, "--probe", f"/healthy=http://127.0.0.1:{port}/healthy") as sidecar:
        sidecar.started()
        before = footprint(sidecar.process.pid)
        with storm(sidecar) as kubelets:
            kubelets.sees(502)
        assert footprint(sidecar.process.pid).peak_mib < before.rss_mib + GROWTH_MIB
        assert sidecar.log.texts[1:] == [line for line in sidecar.log.texts if "fails: connection refused" in line]
