"""Pods for the alerts: each a real sidecar in front of a small app. One is well; the others are what becomes of them.

Owns what is done to them, and that it ends with them. Knows neither rules nor Prometheus.
"""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .sidecar import BOUND_SECONDS, App, eventually, spawn

SELDOM = {"periodSeconds": 60.0}
"""For pods that are asked by hand: no test takes three of these periods."""
OFTEN = {"periodSeconds": 0.5, "failureThreshold": 100}
"""For pods that are missed soon, and yet have time to start."""
PODS: dict[str, dict[str, float]] = {
    "well": {"periodSeconds": 2, "timeoutSeconds": 5, "failureThreshold": 100},
    "fails": SELDOM,
    "starts": SELDOM,
    "slow": SELDOM,
    "late": {"periodSeconds": 0.5, "failureThreshold": 1},
    "left": OFTEN,
    "forgotten": OFTEN,
    "scanned": SELDOM,
    "broken": SELDOM,
    "crashing": SELDOM,
    "down": SELDOM,
}
"""The settings of each pod's probe."""
KUBELET_SECONDS = 0.2
SLOW_SECONDS = 0.85
"""In time for a `timeoutSeconds` of 1, but hardly."""
STRANGE_REQUESTS = 30


class Pod:
    """One pod; make it with `running_pods`."""

    def __init__(self, name: str) -> None:
        self.app = SlowApp()
        self._name = name
        self._sidecar = contextlib.ExitStack()
        self._stop = threading.Event()
        self._kubelet = threading.Thread(target=self._probe, daemon=True)

    @property
    def target(self) -> dict[str, Any]:
        """What Prometheus needs to know of it."""
        labels = {"namespace": "shop", "pod": self._name, "container": "healthproxy"}
        return {"targets": [f"127.0.0.1:{self.sidecar.admin_port}"], "labels": labels}

    def start(self, admin_port: int = 0) -> None:
        """Start the sidecar."""
        probes: dict[str, Any] = {"/healthy": {"httpGet": {"path": "/healthy", "port": self.app.port}, **PODS[self._name]}}
        probes["/all"] = {"allOf": ["/healthy"], **PODS[self._name]}
        flags = ("--listen", "127.0.0.1:0", "--admin-listen", f"127.0.0.1:{admin_port}")
        sidecar = self._sidecar.enter_context(spawn(*flags, environment={"HEALTHPROXY_PROBES": json.dumps(probes)}))
        self.sidecar = sidecar.started()

    def crash(self) -> None:
        """End the sidecar at once."""
        self._sidecar.close()

    def restart(self) -> None:
        """Start the sidecar anew where Prometheus knows it."""
        self.crash()
        self.start(self.sidecar.admin_port)

    def meet_kubelet(self) -> None:
        """Be probed from now on."""
        self._kubelet.start()

    def be_well(self) -> None:
        """Be asked by hand until the app has been well."""
        eventually(self.sidecar.ask, lambda outcome: outcome.code == 200)

    def fail_until(self, failures: int) -> None:
        """Be asked by hand until the app has failed so often in a row."""
        series = 'healthproxy_probe_consecutive_failures{probe="/healthy"}'
        eventually(lambda: (self.sidecar.ask(), self.sidecar.metric(series)), lambda said: said[1] == failures)

    def run_out_of_files(self) -> None:
        """Be asked when there is a file left for the caller and none for the app."""
        pid = self.sidecar.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        eventually(lambda: self._ask_with_one_file(pid, before[1]), lambda code: code == 500)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

    def end(self) -> None:
        """End all of it."""
        self._stop.set()
        if self._kubelet.ident is not None:
            self._kubelet.join(BOUND_SECONDS)
        self._sidecar.close()
        self.app.end()

    def _ask_with_one_file(self, pid: int, hard: int) -> int | None:
        taken = {int(file.name) for file in Path(f"/proc/{pid}/fd").iterdir()}
        free = [number for number in range(len(taken) + 2) if number not in taken]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (free[1], hard))
        return self.sidecar.ask().code

    def _probe(self) -> None:
        while not self._stop.wait(KUBELET_SECONDS):
            self.sidecar.ask("/all" if self._name == "well" else "/healthy")


class SlowApp(App):
    """An app that can take its time."""

    delay = 0.0

    def _answer(self, connection: socket.socket) -> None:
        time.sleep(self.delay)
        super()._answer(connection)


@contextlib.contextmanager
def running_pods() -> Iterator[dict[str, Pod]]:
    """Have every pod run while the context lasts; nobody has asked any of them yet."""
    with contextlib.ExitStack() as stack:
        pods = {}
        for name in PODS:
            pods[name] = Pod(name)
            stack.callback(pods[name].end)
            pods[name].start()
        yield pods
