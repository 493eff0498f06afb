"""What a siege asks of the machine: cores for those who are besieged, files for those who attack, a limit of memory.

Attackers come from other machines, and a pod has the CPU and the memory that it requested. Where we may not arrange for that (it
takes root), attackers are at least the first to wait for a core. Knows no attack.
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.conftest import find, require
from tests.e2e.sidecar import eventually

NICE = "10"


@contextlib.contextmanager
def cores_of_their_own() -> Iterator[None]:
    """Let what is started while the context lasts have a core whenever it wants one, if we may, whoever else is busy."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


def leftover_cores() -> list[str]:
    """Return the command that runs another one, an attacker, on what others leave of the cores."""
    if os.sched_getscheduler(0) == os.SCHED_RR:
        return [find("chrt", "util-linux"), "--other", "0"]
    return [find("nice", "coreutils"), "-n", NICE]


def need_files(number: int) -> None:
    """Go on only if a process may open so many files."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    require(hard == resource.RLIM_INFINITY or hard >= number, f"the limit of open files is {hard}", f"raise it to {number}")


@contextlib.contextmanager
def memory_limit(mib: int) -> Iterator[list[str]]:
    """Make a control group with so much memory, sockets included, if we may; yields the command that runs another one in it."""
    root = Path("/sys/fs/cgroup")
    unified = (root / "cgroup.controllers").exists()
    group = root / ("" if unified else "memory") / f"healthproxy-siege-{os.getpid()}"
    try:
        if unified:
            (root / "cgroup.subtree_control").write_text("+memory")
        group.mkdir()
    except OSError:
        yield []
        return
    try:
        (group / ("memory.max" if unified else "memory.limit_in_bytes")).write_text(str(mib * 1024 * 1024))
        yield ["sh", "-c", 'echo $$ >"$0" && exec "$@"', str(group / "cgroup.procs")]
    finally:
        eventually(lambda: _is_removed(group), bool)


def _is_removed(group: Path) -> bool:
    """Remove a control group, if the last of its processes has gone."""
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()
