"""What is measured, axis by axis; every figure is noted under a contestant's name. Seconds and MB throughout."""

from __future__ import annotations

import contextlib
import math
import statistics
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from contestants import DIRECT, OURS, Contestant, Field
from load import Prober, cpu_limit, exec_curl, silent_connections, storm
from servers import Web, cpu_seconds, free_port, memory, process, wake_ups

CURL = "exec curl"
MIN_INTERVAL_ZERO = ["--min-interval", "0"]
CURLS_A_BLOCK = 15
SETTLED = 1.0
"""Seconds after which a start or a load is over."""
LIMITS: tuple[float | None, ...] = (None, 0.5, 0.1)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything."""

    blocks: int
    block: int
    """Back to back: so many probes in each of so many blocks; the first warms up."""
    seconds: int
    """At one a second: so long in each of `slices` parts."""
    slices: int
    idle: float
    many: int
    """Probes between the first look at memory and the second; a fifth for plain aiohttp, which is five times slower."""
    silent: int
    starts: int
    limits: bool
    storms: int
    storm: float


FULL = Plan(16, 200, 10, 5, 10.0, 100_000, 1500, 9, True, 3, 4.0)
QUICK = Plan(4, 100, 5, 1, 3.0, 2_000, 300, 2, False, 1, 2.0)


class Figures:
    """All that was measured: lists of figures by contestant and name."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], list[float]] = {}

    def note(self, who: str, what: str, *values: float) -> None:
        """Keep figures."""
        self._values.setdefault((who, what), []).extend(values)

    def all(self, who: str, what: str) -> list[float]:
        """Return every figure, NaN alone where nothing was measured."""
        return self._values.get((who, what)) or [math.nan]

    def median(self, who: str, what: str) -> float:
        """Return the median, NaN where nothing was measured."""
        return statistics.median(self.all(who, what))

    def p99(self, who: str, what: str) -> float:
        """Return the 99th percentile; of fewer than a hundred the worst."""
        values = sorted(self.all(who, what))
        return values[math.ceil(len(values) * 0.99) - 1]


@dataclass(frozen=True, slots=True)
class Running:
    """A contestant that serves, or the app, whose process is of no interest and 0."""

    pid: int
    port: int


class Bench:
    """The axes, over one app and all contestants."""

    def __init__(self, field: Field, web: Web, plan: Plan) -> None:
        self.field, self.web, self.plan = field, web, plan
        self.figures = Figures()
        self.prober = Prober(field.tools["prober"])

    @contextlib.contextmanager
    def _serving(self, *options: str) -> Iterator[dict[str, Running]]:
        """Run everybody while the context lasts; `options` are healthproxy's."""
        with contextlib.ExitStack() as stack:
            running = {}
            for name, one in self.field.contestants.items():
                port = free_port()
                command = one.command(port, self.web.http) + list(options if name == OURS else ())
                running[name] = Running(stack.enter_context(process(command, port)), port)
                self._ask_once(port)
            yield running

    def _ask_once(self, port: int) -> None:
        (answer,) = self.prober.ask([port], 1)
        if answer.status != 200:
            sys.exit(f"port {port} answered {answer.status}")

    def all(self) -> None:
        """Measure everything, the quiet axes first."""
        with self._serving(*MIN_INTERVAL_ZERO) as running:
            time.sleep(SETTLED)
            self._note_memory(running, "start")
            for axis in (self._idle, self._back_to_back, self._one_a_second, self._after_many, self._silent):
                say(axis.__name__)
                axis(running)
        say("_starts")
        self._starts()
        if "wrk" in self.field.tools:
            say("_storms")
            with self._serving() as running:
                for _ in range(self.plan.storms):
                    self._storms(running)
        self._sizes()

    def _idle(self, running: dict[str, Running]) -> None:
        before = {name: (wake_ups(one.pid), cpu_seconds(one.pid)) for name, one in running.items()}
        time.sleep(self.plan.idle)
        for name, one in running.items():
            woken, cpu = before[name]
            self.figures.note(name, "idle_wake_ups", (wake_ups(one.pid) - woken) / self.plan.idle * 10)
            self.figures.note(name, "idle_cpu", (cpu_seconds(one.pid) - cpu) / self.plan.idle)

    def _back_to_back(self, running: dict[str, Running]) -> None:
        for block in range(self.plan.blocks):
            for name, one in self._and_app(running).items():
                self._ask({name: one}, "busy" if block else "warming up", self.plan.block, 0.0)
            if curl := self.field.tools.get("curl"):
                for _ in range(CURLS_A_BLOCK):
                    self._curl(curl, "busy")

    def _one_a_second(self, running: dict[str, Running]) -> None:
        for _ in range(self.plan.slices):
            curls = threading.Thread(target=self._curls_a_second)
            curls.start()
            self._ask(self._and_app(running), "rare", self.plan.seconds, 1 / (len(running) + 1))
            curls.join()

    def _curls_a_second(self) -> None:
        if curl := self.field.tools.get("curl"):
            for _ in range(self.plan.seconds - 1):
                time.sleep(1)
                self._curl(curl, "rare")

    def _curl(self, curl: str, how: str) -> None:
        took, cpu = exec_curl(curl, self.web.http)
        self.figures.note(CURL, f"{how}_took", took)
        self.figures.note(CURL, f"{how}_cpu", cpu)

    def _and_app(self, running: dict[str, Running]) -> dict[str, Running]:
        return {DIRECT: Running(0, self.web.http), **running}

    def _ask(self, whom: dict[str, Running], how: str, rounds: int, gap: float) -> None:
        """Ask some in turn."""
        names = {one.port: name for name, one in whom.items()}
        before = {name: cpu_seconds(one.pid) for name, one in whom.items() if one.pid}
        for answer in self.prober.ask(list(names), rounds, gap):
            if answer.status != 200:
                sys.exit(f"{names[answer.port]} answered {answer.status}")
            self.figures.note(names[answer.port], f"{how}_took", answer.took)
        for name, one in whom.items():
            if one.pid:
                self.figures.note(name, f"{how}_cpu", (cpu_seconds(one.pid) - before[name]) / rounds)

    def _note_memory(self, running: dict[str, Running], when: str) -> None:
        for name, one in running.items():
            held = memory(one.pid)
            self.figures.note(name, f"rss_{when}", held.rss)
            self.figures.note(name, f"private_{when}", held.private)

    def _after_many(self, running: dict[str, Running]) -> None:
        """Ask everybody very often, all at once: one probe at a time each, so that every one reaches the app."""
        many = {name: self.plan.many // 5 if name == "plain aiohttp" else self.plan.many for name in running}

        def ask(name: str) -> None:
            bad = [answer.status for answer in self.prober.ask([running[name].port], many[name]) if answer.status != 200]
            if bad:
                sys.exit(f"{name} answered {bad[0]} and {len(bad) - 1} times more something else than 200")

        asked = self.web.asked()
        with ThreadPoolExecutor(len(running)) as pool:
            list(pool.map(ask, running))
        if self.web.asked() - asked < sum(many.values()):
            sys.exit("not every probe reached the app")
        time.sleep(SETTLED)
        self._note_memory(running, "many")

    def _silent(self, running: dict[str, Running]) -> None:
        for name, one in running.items():
            with silent_connections(one.port, self.plan.silent):
                for _ in range(3):
                    answers = self.prober.ask([one.port], 10, 0.1)
                    self.figures.note(name, "silent_failed", sum(answer.status != 200 for answer in answers))
                    self._note_memory({name: one}, "silent")

    def _starts(self) -> None:
        self._start_all(None, [], self.plan.starts)
        for cpus in filter(None, LIMITS) if self.plan.limits else ():
            with cpu_limit(cpus) as prefix:
                if prefix is not None:
                    self._start_all(cpus, prefix, self.plan.starts // 3)

    def _start_all(self, cpus: float | None, prefix: Sequence[str], times: int) -> None:
        for _ in range(times):
            for name, one in self.field.contestants.items():
                self._start(name, one, f"start_{cpus}", prefix)

    def _start(self, name: str, one: Contestant, how: str, prefix: Sequence[str]) -> None:
        """Note time and CPU from the start of the process to the first probe that the app has answered."""
        port = free_port()
        first = self.prober.start([port], 0, 0.001)
        began = time.monotonic()
        with subprocess.Popen([*prefix, *one.command(port, self.web.http)], stdout=subprocess.DEVNULL) as started:
            *_, answer = self.prober.result(first)
            self.figures.note(name, f"{how}_cpu", cpu_seconds(started.pid))
            self.figures.note(name, f"{how}_took", answer.began + answer.took - began)
            started.terminate()

    def _storms(self, running: dict[str, Running]) -> None:
        """Storm everybody in turn, the app too, with a prober beside that asks ten times a second."""
        for name, one in self._and_app(running).items():
            time.sleep(SETTLED)  # those who were still waiting in the last storm have been answered
            asked = self.web.asked()
            cpu = cpu_seconds(one.pid) if one.pid else 0.0
            beside = self.prober.start([one.port], round(self.plan.storm * 10) - 4, 0.1)
            seen = storm(self.field.tools["wrk"], one.port, self.plan.storm)
            answers = self.prober.result(beside)
            self.figures.note(name, "storm_rate", seen.rate)
            self.figures.note(name, "storm_failed", seen.failed)
            self.figures.note(name, "storm_asked", (self.web.asked() - asked - 1) / seen.seconds)
            self.figures.note(name, "storm_beside", *(answer.took for answer in answers))
            self.figures.note(name, "storm_beside_failed", *(float(answer.status != 200) for answer in answers))
            if one.pid:
                self.figures.note(name, "storm_cpu", (cpu_seconds(one.pid) - cpu) / (seen.rate * seen.seconds))

    def _sizes(self) -> None:
        for name, one in self.field.contestants.items():
            self.figures.note(name, "size", megabytes(one.installed, libraries=not one.python))
        if curl := self.field.tools.get("curl"):
            self.figures.note(CURL, "size", megabytes([Path(curl)], libraries=True))
        library = Path(sysconfig.get_path("stdlib"))
        left_out = {"test", "site-packages", "idlelib", "ensurepip", "__pycache__"}
        kept = [path for path in library.iterdir() if path.name not in left_out and not path.name.startswith("config-")]
        self.figures.note("Python", "size", megabytes([Path(sys.executable).resolve(), *kept], libraries=False))


def say(axis: str) -> None:
    """Tell the one who waits what is being measured."""
    print(time.strftime("%H:%M:%S"), axis.strip("_").replace("_", " "), file=sys.stderr, flush=True)


def megabytes(paths: Sequence[Path], *, libraries: bool) -> float:
    """Return the size of files and directories on disk, with the shared libraries that programs name."""
    files = {path.resolve() for path in paths if path.is_file()}
    files |= {file.resolve() for path in paths if path.is_dir() for file in path.rglob("*") if file.is_file()}
    if libraries:
        said = [subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout for path in paths]
        files |= {Path(word).resolve() for text in said for word in text.split() if word.startswith("/") and Path(word).is_file()}
    return sum(file.stat().st_size for file in files) / 1e6
