"""healthproxy's image as a container, restricted as in a pod, and what the kernel says of it from outside.

Owns how it is started, found and removed; `image.py` owns the image. Judges nothing.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .conftest import find
from .image import build_image, environment, podman
from .sidecar import BOUND_SECONDS, Sidecar, eventually

MEMORY_MIB = 64
PIDS = 16
FILES = 1024
RESTRICTED = (
    "--read-only",
    "--read-only-tmpfs=false",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    f"--memory={MEMORY_MIB}m",
    f"--memory-swap={MEMORY_MIB}m",
    f"--pids-limit={PIDS}",
    f"--ulimit=nofile={FILES}:{FILES}",
    "--ulimit=nproc=4096:4096",  # with one limit given, podman's own come back for the others
    "--no-healthcheck",  # a kubelet knows none
)
"""What k8s/ asks of a kubelet, and the limit of open files that containerd 2 sets."""
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Container:
    """A container that was made; `pid` is its PID 1, seen from outside."""

    name: str
    pid: int

    def state(self) -> dict[str, Any]:
        """Return what podman knows of it."""
        return dict(json.loads(podman("inspect", self.name).stdout)[0]["State"])

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it."""
        return podman("exec", self.name, *command, check=False)

    def program(self) -> str:
        """Return the name of the program that PID 1 is at the moment; empty when it has gone."""
        try:
            return os.path.basename(os.readlink(f"/proc/{self.pid}/exe"))  # noqa: PTH115, PTH119 - as fast as it can be asked
        except OSError:
            return ""

    def status(self) -> dict[str, str]:
        """Return /proc/PID/status."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def memory(self) -> Memory:
        """Return what the kernel accounts to it."""
        old = _group(self.pid, "memory")
        if (old / "memory.max_usage_in_bytes").exists():
            killed = re.search(r"^oom_kill (\d+)", (old / "memory.oom_control").read_text(), re.MULTILINE)
            names = ("memory.usage_in_bytes", "memory.max_usage_in_bytes", "memory.limit_in_bytes")
        else:
            killed = re.search(r"^oom_kill (\d+)", (old / "memory.events").read_text(), re.MULTILINE)
            names = ("memory.current", "memory.peak", "memory.max")
        now, peak, limit = (int((old / name).read_text()) / 2**20 for name in names)
        return Memory(now, peak, limit, int(killed[1]) if killed else 0)

    def most_processes(self) -> int:
        """Return how many processes and threads it may have."""
        return int((_group(self.pid, "pids") / "pids.max").read_text())


@dataclass(frozen=True, slots=True)
class Memory:
    """MiB that a control group holds, held at most and may hold, and how many of its processes were killed for it."""

    now: float
    peak: float
    limit: float
    killed: int


@contextlib.contextmanager
def created(*arguments: str, options: Sequence[str] = ()) -> Iterator[Container]:
    """Make a container that is about to start, and remove it with the context; `start` it."""
    with _name() as name:
        podman("create", "--name", name, *RESTRICTED, *options, build_image(), *arguments)
        podman("init", name)
        yield Container(name, _pid(name))


@contextlib.contextmanager
def running(*arguments: str, options: Sequence[str] = ()) -> Iterator[tuple[Sidecar, Container]]:
    """Run the image until the context ends; `Sidecar` speaks with it as with a process on this machine."""
    with _name() as name:
        command = [find("podman", "podman"), "run", "--name", name, *RESTRICTED, *options, build_image(), *arguments]
        process = subprocess.Popen(
            command, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        sidecar = Sidecar(process)
        try:
            sidecar.started()
            yield sidecar, Container(name, _pid(name))
        finally:
            podman("rm", "--force", "--time", "0", "--ignore", name)
            sidecar.wait()


def start(container: Container) -> None:
    """Let a created container run, and return as soon as its PID 1 is Python."""
    with subprocess.Popen([find("podman", "podman"), "start", container.name], env=environment(), stdout=subprocess.DEVNULL):
        end = time.monotonic() + BOUND_SECONDS
        while not container.program().startswith("python"):
            assert time.monotonic() < end, f"PID 1 is {container.program()!r}"


def stop(container: Container) -> int:
    """Send SIGTERM as a runtime does and return the exit status."""
    os.kill(container.pid, signal.SIGTERM)
    state = eventually(container.state, lambda state: state["Status"] == "exited")
    return int(state["ExitCode"])


@contextlib.contextmanager
def _name() -> Iterator[str]:
    """Give a name that nobody has, and remove what bears it; also what a test run that was killed has left."""
    for name in podman("ps", "--all", "--format", "{{.Names}}").stdout.split():
        found = re.fullmatch(r"healthproxy-test-(\d+)-\d+", name)
        if found and not Path("/proc", found[1]).exists():
            podman("rm", "--force", "--time", "0", "--ignore", name)
    name = f"healthproxy-test-{os.getpid()}-{next(_numbers)}"
    try:
        yield name
    finally:
        podman("rm", "--force", "--time", "0", "--ignore", name)


def _pid(name: str) -> int:
    return int(podman("inspect", "--format", "{{.State.Pid}}", name).stdout)


def _group(pid: int, controller: str) -> Path:
    """Return the control group of a process, of version 1 or 2."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return Path(f"/sys/fs/cgroup/{controller}{path}")
    return Path(f"/sys/fs/cgroup{path}")
