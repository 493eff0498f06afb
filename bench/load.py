"""Load from outside Python (the prober, wrk, silent connections, `exec curl`), and CPU limits."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

STORM_CONNECTIONS = 32
INTO_CGROUP = ["sh", "-c", 'echo $$ >"$0" && exec "$@"']
CFS_PERIOD = 100_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What the prober saw: when it asked (`time.monotonic`), how long it took, the status; 0 where none came within a second."""

    port: int
    began: float
    took: float
    status: int


@dataclass(frozen=True, slots=True)
class Storm:
    """What wrk saw: good answers a second, and how many were not or did not come."""

    rate: float
    failed: int
    seconds: float


class Prober:
    """The prober, started and read."""

    def __init__(self, program: str) -> None:
        self._program = program

    def ask(self, ports: Sequence[int], rounds: int, gap: float = 0.0) -> list[Answer]:
        """Ask every port once a round, `gap` seconds from start to start."""
        return self.result(self.start(ports, rounds, gap))

    def start(self, ports: Sequence[int], rounds: int, gap: float = 0.0) -> subprocess.Popen[str]:
        """Begin to ask; with 0 rounds until the first 200."""
        words = [self._program, str(round(gap * 1e6)), str(rounds), *map(str, ports)]
        return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)

    @staticmethod
    def result(running: subprocess.Popen[str]) -> list[Answer]:
        """Wait for the end; returns what it saw."""
        lines = [line.split() for line in running.communicate()[0].splitlines()]
        return [Answer(int(port), int(began) / 1e9, int(took) / 1e9, int(status)) for port, began, took, status in lines]


def wrk_command(wrk: str, port: int | str, seconds: float) -> list[str]:
    """Return the command of a storm on fresh connections."""
    connections = ["-t", "2", "-c", str(STORM_CONNECTIONS), "-d", f"{seconds:g}s", "--timeout", "2s"]
    return [wrk, *connections, "-H", "Connection: close", f"http://127.0.0.1:{port}/healthy"]


def storm(wrk: str, port: int, seconds: float) -> Storm:
    """Ask as fast as the machine can."""
    said = subprocess.run(wrk_command(wrk, port, seconds), capture_output=True, text=True, check=True).stdout
    answers, took = re.search(r"(\d+) requests in ([\d.]+)s", said), 0.0
    assert answers is not None
    took = float(answers[2])
    failed = sum(
        int(count) for line in re.findall(r"(?:Non-2xx|Socket errors).*", said) for count in re.findall(r"\b(\d+)\b", line[8:])
    )
    return Storm(int(answers[1]) / took, failed, took)


@contextlib.contextmanager
def silent_connections(port: int, count: int) -> Iterator[None]:
    """Hold connections that send nothing while the context lasts; those that the server ends stay ended."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with contextlib.ExitStack() as stack:
        for number in range(count):
            connection = stack.enter_context(socket.socket())
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", port))
            if number % 50 == 49:
                time.sleep(0.01)  # else the queue of those who wait to be accepted overflows
        yield


def exec_curl(curl: str, port: int) -> tuple[float, float]:
    """Ask as an `exec` probe does, without the cost of getting into the container; returns seconds and CPU seconds."""
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    words = [curl, "-fsS", f"http://127.0.0.1:{port}/healthy"]
    began = time.perf_counter()
    _, status, used = os.wait4(os.posix_spawn(curl, words, os.environ, file_actions=quiet), 0)
    took = time.perf_counter() - began
    assert status == 0, "curl failed"
    return took, used.ru_utime + used.ru_stime


@contextlib.contextmanager
def cpu_limit(cpus: float) -> Iterator[list[str] | None]:
    """Make a control group of so much CPU; yields what to put before a command to run it there, None where that cannot be had."""
    old, new = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
    version = 2 if (new / "cgroup.controllers").exists() else 1
    group = (new if version == 2 else old) / f"healthproxy-bench-{os.getpid()}"
    quota = round(cpus * CFS_PERIOD)
    try:
        if version == 2:
            (new / "cgroup.subtree_control").write_text("+cpu")
        group.mkdir()
    except OSError:
        yield None
        return
    try:
        if version == 2:
            (group / "cpu.max").write_text(f"{quota} {CFS_PERIOD}")
        else:
            (group / "cpu.cfs_period_us").write_text(str(CFS_PERIOD))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
        yield [*INTO_CGROUP, str(group / "cgroup.procs")]
    finally:
        _remove(group)


def _remove(group: Path) -> None:
    """Remove a control group once the last of its processes has gone."""
    for _ in range(200):
        try:
            group.rmdir()
        except OSError:
            time.sleep(0.01)
        else:
            return
