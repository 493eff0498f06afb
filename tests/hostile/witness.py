"""Witnesses of an attack: probers in processes of their own, each at an address, and the bounds that their answers must keep."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.e2e.sidecar import BOUND_SECONDS, Lines

EVERY_SECONDS = 0.25
"""Four probes a second stand for a pod with four probes, and let a short attack be met by twenty."""
IN_TIME_SECONDS = 1.0
"""`timeoutSeconds` of every probe here, the kubelet's default."""
SCRAPE_SECONDS = 5.0
"""Prometheus's own bound is 10 s."""

ATTACKER = "127.0.0.1"
ELSEWHERE = "127.0.0.2"
"""A kubelet with an address of its own, the usual case; from `ATTACKER` one that shares it, as behind a node's SNAT."""
SCRAPER = "127.0.0.3"


class Verdict(NamedTuple):
    """One answer that a prober had, or why it had none."""

    began: float
    said: int | str
    duration: float


class Prober:
    """A prober in a process of its own; make it with `probing`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.process = process
        self._lines = Lines(process.stdout)

    @property
    def verdicts(self) -> list[Verdict]:
        """What came back so far."""
        return [Verdict(*json.loads(line)) for line in self._lines.texts]

    def end(self) -> list[Verdict]:
        """Wait for the last answer and return all."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(BOUND_SECONDS)
        self._lines.join()
        return self.verdicts


@contextlib.contextmanager
def probing(port: int, source: str, *options: str, every: float = EVERY_SECONDS) -> Iterator[Prober]:
    """Probe a port from an address while the context lasts."""
    program = Path(__file__).with_name("prober.py")
    command = [sys.executable, str(program), str(port), "--source", source, "--every", str(every), *options]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    prober = Prober(process)
    try:
        yield prober
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()
