"""What the operating system knows of this process: when it started, and how many files it may open."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

from healthproxy.problems import StartError

_RESERVE = 192
"""Descriptors for all that is no caller's open connection: those being accepted, the app's, the admin port's, our own."""


def process_start() -> float:
    """Return when the process started, by `time.monotonic`."""
    ticks = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(ticks) / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - age


def raise_file_limit(max_connections: int) -> None:
    """Raise the soft limit of open files to the hard one. Raises StartError if that is too low for the connections allowed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    need = max_connections + _RESERVE
    if hard != resource.RLIM_INFINITY and hard < need:
        raise StartError(
            f"--max-connections {max_connections}: needs {need} open files and the limit is {hard}; "
            f"raise the limit, or allow {max(hard - _RESERVE, 1)} connections"
        )
