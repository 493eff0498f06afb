"""What a process takes of its machine and what it gets, read from /proc."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class Footprint(NamedTuple):
    """What a process holds."""

    rss_mib: float
    peak_mib: float
    files: int


def footprint(pid: int) -> Footprint:
    """Measure a process: what is resident counts, since a limit of address space would count what is not."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    rss, peak = (int(status[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return Footprint(rss, peak, len(os.listdir(f"/proc/{pid}/fd")))  # noqa: PTH208 - counted, not walked


def cpu_seconds(pid: int) -> float:
    """Return how much CPU a process has used."""
    return _schedstat(pid, 0)


def seconds_without_core(pid: int) -> float:
    """Return how long a process wanted to run and could not, because others did."""
    return _schedstat(pid, 1)


def dropped_callers() -> int:
    """Return how many callers the kernel has not let in because a queue of those to be accepted was full."""
    names, values = [line.split() for line in Path("/proc/net/netstat").read_text().splitlines() if line.startswith("TcpExt")]
    return int(dict(zip(names, values, strict=True))["ListenDrops"])


def _schedstat(pid: int, column: int) -> float:
    """Return a column of the one thread that there is."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[column]) / 1e9
