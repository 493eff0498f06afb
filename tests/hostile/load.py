"""An attack and its witnesses: who attacks, who probes meanwhile, what the process took, and what is left of it afterwards.

Owns the bounds that every attack is held against, each with its reason. Judges nothing itself.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.apps import Nginx, any_free_port
from tests.e2e.conftest import find, require
from tests.e2e.sidecar import ANYWHERE, BOUND_SECONDS, App, Sidecar, eventually, spawn

from .footprint import Footprint, cpu_seconds, dropped_callers, footprint, seconds_without_core
from .machine import leftover_cores, memory_limit, need_files
from .witness import ATTACKER, ELSEWHERE, EVERY_SECONDS, IN_TIME_SECONDS, SCRAPE_SECONDS, SCRAPER, Verdict, probing

ATTACK_SECONDS = 5.0
"""How long an attack lasts: twice the header timeout, so that even who is only thrown out by it is replaced once."""
CALLERS = 5000
"""Connections that an attacker holds at a time: twenty times what the open port grants."""
FILES = 1024
"""Files that the sidecar may open: the soft limit of containers since containerd 2.0, here the hard one."""
PEAK_MIB = 64
"""Its memory, its sockets included: the least limit that a pod may be expected to grant; 32 are usual."""
GROWTH_MIB = 6.0
"""What may stay of an attack. One MiB is usual: allocators keep what they once had."""
QUIET_CPU = 0.25
"""CPU seconds a second while callers say nothing: the probes beside take 0.02, a loop that spins takes 1."""
OVER_SECONDS = 10.0
"""Until when all is as it was: the header timeout is 2 s, and what the kernel still queues for us comes before that."""
STARVED = 0.25
"""Share of an attack that the sidecar may wait for a core (0.04 as root); beyond that it is the machine that is late."""

CROWD = ",".join(f"127.0.{net}.{host}" for net in (1, 2) for host in range(1, 251))
"""Five hundred addresses to attack from."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What witnesses saw of an attack."""

    verdicts: Mapping[str, list[Verdict]]
    """By the address they probed from."""
    seconds: float
    cpu: float
    """CPU seconds a second, in the second half of the attack."""
    waited: float
    """Seconds for which the sidecar had no core."""
    dropped: int
    """Callers whom the kernel did not let in, for want of room in a queue; each of them tries again a second later."""
    before: Footprint
    during: Footprint
    attackers: list[str]
    """What each attacker said at its end."""

    def wrong(self, source: str) -> list[Verdict]:
        """Return the probes from an address that were not answered with 200 in time."""
        seen = self.verdicts[source]
        every, bound = (1.0, SCRAPE_SECONDS) if source == SCRAPER else (EVERY_SECONDS, IN_TIME_SECONDS)
        assert len(seen) > self.seconds / every / 2, f"the prober itself came too seldom: {seen}"
        wrong = [verdict for verdict in seen if verdict.said != 200 or verdict.duration > bound]
        enough = not wrong or self.waited < STARVED * self.seconds
        require(enough, f"the sidecar waited {self.waited:.1f} of {self.seconds:.1f} s for a core", "run it alone, or as root")
        return wrong

    def __str__(self) -> str:
        said = {source: dict(Counter(verdict.said for verdict in seen)) for source, seen in self.verdicts.items()}
        longest = {source: round(max(verdict.duration for verdict in seen), 3) for source, seen in self.verdicts.items() if seen}
        taken = f"cpu {self.cpu:.2f}, waited {self.waited:.2f}, dropped {self.dropped}"
        held = f"MiB {self.before.rss_mib:.1f} -> {self.during.peak_mib:.1f}, files {self.during.files}"
        return f"{said}, longest {longest}, {taken}, {held}, {' '.join(self.attackers)[-300:]!r}"


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
    slow: bool = False
    """Whether the app takes half a second to answer."""
    least: int = CALLERS
    """How often it must at least have come to be called an attack; most come ten times as often."""
    probe: tuple[str, ...] = ()
    """Options of the probers beside it."""
    crowds_out: bool = False
    """Whether it leaves a kubelet at its own address no answer, which SECURITY.md says."""


def attacker(kind: str, *options: str, port: str = "open") -> tuple[str, ...]:
    """Return the command of our own attacker."""
    program = Path(__file__).with_name("attacker.py")
    given = ("--seconds", str(ATTACK_SECONDS), "--number", str(CALLERS), "--source", ATTACKER)
    return (sys.executable, str(program), kind, f"{{{port}}}", *given, *options)


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


@contextlib.contextmanager
def attacking(sidecar: Sidecar, attack: Attack) -> Iterator[list[subprocess.Popen[str]]]:
    """Attack while the context lasts; attackers also end by themselves."""
    need_files(CALLERS + 200)
    ports = {"open": str(sidecar.open_port), "admin": str(sidecar.admin_port)}
    with contextlib.ExitStack() as stack:
        processes = []
        for program, *arguments in attack.commands:
            found = find(program, program) if program == "wrk" else program
            command = [*leftover_cores(), found, *[text.format(**ports) for text in arguments]]
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
    before, waited, dropped = footprint(pid), seconds_without_core(pid), dropped_callers()
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
    during = during._replace(peak_mib=footprint(pid).peak_mib)
    waited, dropped = seconds_without_core(pid) - waited, dropped_callers() - dropped
    figures = Figures(verdicts, seconds, cpu, waited, dropped, before, during, attackers)
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
        prefix = [*stack.enter_context(memory_limit(PEAK_MIB)), find("prlimit", "util-linux"), f"--nofile={FILES}:{FILES}"]
        sidecar = stack.enter_context(spawn(*ANYWHERE, *probe, *flags, environment=environment, prefix=prefix))
        figures = endure(sidecar.started(), attack)
        asked = Counter(line.split("|")[1].split()[1] for line in app.seen()) if isinstance(app, Nginx) else Counter[str]()
        yield Siege(attack, sidecar, figures, asked)
