"""An attack and its witnesses: who attacks, who probes meanwhile, what the process took, and what is left of it afterwards.

Owns the bounds that every attack is held against, each with its reason. Judges nothing itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.e2e.apps import Nginx, any_free_port
from tests.e2e.conftest import find, require
from tests.e2e.sidecar import ANYWHERE, BOUND_SECONDS, App, Lines, Sidecar, eventually, spawn

ATTACK_SECONDS = 5.0
"""How long an attack lasts: twice the header timeout, so that even who is only thrown out by it is replaced once."""
CALLERS = 5000
"""Connections that an attacker holds at a time: twenty times what the open port grants."""
EVERY_SECONDS = 0.25
"""Four probes a second stand for a pod with four probes, and let a short attack be met by twenty."""
IN_TIME_SECONDS = 1.0
"""`timeoutSeconds` of every probe here, the kubelet's default."""
PEAK_MIB = 64.0
"""Resident memory at its peak: a memory limit of 64 MiB is the least that a pod may be expected to grant; 40 are usual."""
GROWTH_MIB = 6.0
"""What may stay of an attack. One MiB is usual: allocators keep what they once had."""
QUIET_CPU = 0.25
"""CPU seconds a second while callers say nothing: the probes beside take 0.02, a loop that spins takes 1."""
OVER_SECONDS = 10.0
"""Until when all is as it was: the header timeout is 2 s, and what the kernel still queues for us comes before that."""
NICE = "10"
"""Attackers come from other machines, so they must not take the CPU of those who wait here; they take what is left."""

ATTACKER = "127.0.0.1"
ELSEWHERE = "127.0.0.2"
"""A kubelet with an address of its own, the usual case; from `ATTACKER` one that shares it, as behind a node's SNAT."""
SCRAPER = "127.0.0.3"
SCRAPE_SECONDS = 5.0
"""Prometheus's own bound is 10 s."""
CROWD = ",".join(f"127.0.{net}.{host}" for net in (1, 2) for host in range(1, 251))
"""Five hundred addresses to attack from."""
HERE = Path(__file__).parent


class Verdict(NamedTuple):
    """One answer that a prober had, or why it had none."""

    began: float
    said: int | str
    duration: float


class Footprint(NamedTuple):
    """What a process takes of its machine."""

    rss_mib: float
    peak_mib: float
    files: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What witnesses saw of an attack."""

    verdicts: Mapping[str, list[Verdict]]
    """By the address they probed from."""
    seconds: float
    cpu: float
    """CPU seconds a second, in the second half of the attack."""
    before: Footprint
    during: Footprint
    attackers: list[str]
    """What each attacker said at its end."""

    def wrong(self, source: str) -> list[Verdict]:
        """Return the probes from an address that were not answered with 200 in time."""
        seen = self.verdicts[source]
        every, bound = (1.0, SCRAPE_SECONDS) if source == SCRAPER else (EVERY_SECONDS, IN_TIME_SECONDS)
        assert len(seen) > self.seconds / every / 2, f"the prober itself came too seldom: {seen}"
        return [verdict for verdict in seen if verdict.said != 200 or verdict.duration > bound]

    def __str__(self) -> str:
        said = {source: dict(Counter(verdict.said for verdict in seen)) for source, seen in self.verdicts.items()}
        longest = {source: round(max(verdict.duration for verdict in seen), 3) for source, seen in self.verdicts.items() if seen}
        taken = f"cpu {self.cpu:.2f}, MiB {self.before.rss_mib:.1f} -> {self.during.peak_mib:.1f}, files {self.during.files}"
        return f"{said}, longest {longest}, {taken}, {' '.join(self.attackers)[-300:]!r}"


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
    command = [sys.executable, str(HERE / "prober.py"), str(port), "--source", source, "--every", str(every), *options]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    prober = Prober(process)
    try:
        yield prober
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


@dataclass(frozen=True, slots=True)
class Attack:
    """One way to attack; `{open}` and `{admin}` in its commands are the ports."""

    name: str
    promise: str
    """What of the contract it tries."""
    commands: tuple[tuple[str, ...], ...]
    flags: tuple[str, ...] = ()
    """How the sidecar is started."""
    environment: Mapping[str, str] = field(default_factory=dict)
    silent: bool = False
    """Whether nothing is said once it is under way, so that nobody has a reason to work."""
    files: int | None = None
    """Hard limit of open files for the sidecar."""
    slow: bool = False
    """Whether the app takes half a second to answer."""
    probe: tuple[str, ...] = ()
    """Options of the probers beside it."""

    def prefix(self) -> list[str]:
        """Return the command that sets the sidecar's limits."""
        return [find("prlimit", "util-linux"), f"--nofile={self.files}:{self.files}"] if self.files else []


def attacker(kind: str, *options: str, port: str = "open") -> tuple[str, ...]:
    """Return the command of our own attacker."""
    given = ("--seconds", str(ATTACK_SECONDS), "--number", str(CALLERS), "--source", ATTACKER)
    return (sys.executable, str(HERE / "attacker.py"), kind, f"{{{port}}}", *given, *options)


def wrk(connections: int, path: str = "/healthy", port: str = "open") -> tuple[str, ...]:
    """Return the command of a storm: each request on a new connection, as fast as they go."""
    flags = ("-t2", f"-c{connections}", f"-d{ATTACK_SECONDS:g}s", "-H", "Connection: close")
    return ("wrk", *flags, f"http://127.0.0.1:{{{port}}}{path}")


class SlowApp(App):
    """An app that takes half a second to answer."""

    delay = 0.5

    def _answer(self, connection: object) -> None:
        time.sleep(self.delay)
        super()._answer(connection)  # type: ignore[arg-type]


def need_files() -> None:
    """Go on only if attackers may open as many files as they hold connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = hard == resource.RLIM_INFINITY or hard > CALLERS + 200
    require(enough, f"the limit of open files is {hard}", f"raise it above {CALLERS + 200}")


def footprint(pid: int) -> Footprint:
    """Measure a process: what is resident counts, since a limit of address space would count what is not."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    rss, peak = (int(status[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return Footprint(rss, peak, len(os.listdir(f"/proc/{pid}/fd")))  # noqa: PTH208 - counted, not walked


def cpu_seconds(pid: int) -> float:
    """Return how much CPU a process has used, to a hundredth of a second."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def attacking(sidecar: Sidecar, attack: Attack) -> Iterator[list[subprocess.Popen[str]]]:
    """Attack while the context lasts; attackers also end by themselves."""
    need_files()
    ports = {"open": str(sidecar.open_port), "admin": str(sidecar.admin_port)}
    with contextlib.ExitStack() as stack:
        processes = []
        gently = [find("nice", "coreutils"), "-n", NICE]
        for program, *arguments in attack.commands:
            found = find(program, program) if program == "wrk" else program
            command = [*gently, found, *[text.format(**ports) for text in arguments]]
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            stack.callback(process.communicate)
            stack.callback(process.kill)
            processes.append(process)
        yield processes


def endure(sidecar: Sidecar, attack: Attack) -> Figures:
    """Let an attack pass over a sidecar and return what its witnesses saw."""
    pid = sidecar.process.pid
    eventually(sidecar.ask, lambda outcome: outcome.code == 200)
    sidecar.metrics()
    before = footprint(pid)
    with contextlib.ExitStack() as stack:
        began = time.monotonic()
        witnesses = {
            source: stack.enter_context(probing(sidecar.open_port, source, *attack.probe)) for source in (ATTACKER, ELSEWHERE)
        }
        scrape = ("--path", "/metrics", "--timeout", str(SCRAPE_SECONDS))
        witnesses[SCRAPER] = stack.enter_context(probing(sidecar.admin_port, SCRAPER, *scrape, every=1.0))
        processes = stack.enter_context(attacking(sidecar, attack))
        time.sleep(ATTACK_SECONDS / 2)
        during, half, cpu = footprint(pid), time.monotonic(), cpu_seconds(pid)
        time.sleep(ATTACK_SECONDS * 0.4)
        cpu = (cpu_seconds(pid) - cpu) / (time.monotonic() - half)
        attackers = [" ".join(process.communicate(timeout=BOUND_SECONDS)[0].split()) for process in processes]
        verdicts = {source: prober.end() for source, prober in witnesses.items()}
        seconds = time.monotonic() - began
    figures = Figures(verdicts, seconds, cpu, before, during._replace(peak_mib=footprint(pid).peak_mib), attackers)
    print(f"\nFIGURES {attack.name}: {figures}")
    return figures


@dataclass(frozen=True, slots=True)
class Siege:
    """An attack that is over, and the sidecar that stood it."""

    attack: Attack
    sidecar: Sidecar
    figures: Figures
    asked: Counter[str]
    """How often the app was asked for each target from the first probe to the last."""

    def recovered(self) -> Footprint:
        """Wait until callers and files are gone, and return what the process takes then."""
        before, pid = self.figures.before, self.sidecar.process.pid
        eventually(lambda: self.sidecar.metric("healthproxy_open_connections"), lambda number: number == 0, OVER_SECONDS)
        return eventually(lambda: footprint(pid), lambda now: now.files <= before.files, OVER_SECONDS)


@contextlib.contextmanager
def besieged(attack: Attack, directory: Path) -> Iterator[Siege]:
    """Stand an attack in front of nginx, or of a slow app."""
    with contextlib.ExitStack() as stack:
        app: SlowApp | Nginx
        if attack.slow:
            app = SlowApp()
        else:
            app = Nginx(find("nginx", "nginx-light"), directory, any_free_port())
            app.start()
        stack.callback(app.end)
        flags = [flag.format(app=app.port) for flag in attack.flags]
        environment = {name: value.replace("{app}", str(app.port)) for name, value in attack.environment.items()}
        probe = () if environment else ("--probe", f"/healthy=http://127.0.0.1:{app.port}/healthy")
        sidecar = stack.enter_context(spawn(*ANYWHERE, *probe, *flags, environment=environment, prefix=attack.prefix()))
        figures = endure(sidecar.started(), attack)
        asked = Counter(line.split("|")[1].split()[1] for line in app.seen()) if isinstance(app, Nginx) else Counter[str]()
        yield Siege(attack, sidecar, figures, asked)
