"""What many probes of every kind cost beside a single `httpGet`, and what each kind costs by itself, in one run of about 30 s.

Three sidecars, started in turn several times: one `httpGet`; the same and one `grpc`; a hundred probes of all kinds. All against
real servers on loopback, a fresh connection for each probe. Prints medians. "Added" is the time beyond that of an answer for
which no app is asked (`/-/ready`), so the app's own time is in it. Nothing here is a test: figures are for reading.
"""

import argparse
import contextlib
import itertools
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from ruamel.yaml import YAML
from servers import GRPC_SERVICE, Memory, Web, cpu_seconds, free_port, memory, probe, serving_grpc, serving_web

Table = Mapping[str, object]
"""Stanzas by key."""

MIX = {"httpGet": 40, "https": 10, "tcpSocket": 15, "grpc": 10, "unixSocket": 10, "allOf": 10, "anyOf": 5}
"""A hundred probes; aggregates have three members each."""
ASKED = 100
"""How often every probe is asked before memory is measured anew."""
QUIET = 500
BATCHES, BATCH = 8, 40
SCRAPES = 9
OWN_HEALTH = "/-/ready"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What many probes of every kind cost.")
    parser.add_argument("--starts", type=int, default=5, help="starts of each sidecar (default: 5)")
    starts = parser.parse_args().starts
    with serving_web() as web, serving_grpc() as grpc_port, tempfile.TemporaryDirectory() as directory:
        stanza = stanzas(web, grpc_port)
        first: Table = {"/httpGet-0": stanza["httpGet"]}
        tables = {"1 httpGet": first, "and 1 grpc": {**first, "/grpc-0": stanza["grpc"]}, "100 mixed": mixed(stanza)}
        sidecars = {name: Variant(table, Path(directory, f"{index}.yaml")) for index, (name, table) in enumerate(tables.items())}
        for _ in range(starts - 1):
            for variant in sidecars.values():
                with variant.running():
                    pass
        with contextlib.ExitStack() as stack:
            for variant in sidecars.values():
                stack.enter_context(variant.running())
                variant.scrape()
            for _ in range(QUIET):
                for variant in sidecars.values():
                    variant.note("quiet", probe(variant.port, "/httpGet-0"))
            for variant in sidecars.values():
                variant.ask_all()
        kinds = Variant(one_of_each(stanza), Path(directory, "kinds.yaml"))
        with kinds.running():
            costs = cost_of_kinds(kinds)
    report(web.name, starts, sidecars)
    report_kinds(costs)


def stanzas(web: Web, grpc_port: int) -> dict[str, object]:
    """Write one stanza for each kind that asks an app."""
    return {
        "httpGet": {"httpGet": {"path": "/healthy", "port": web.http}},
        "https": {"httpGet": {"path": "/healthy", "port": web.https, "scheme": "HTTPS"}},
        "tcpSocket": {"tcpSocket": {"port": web.http}},
        "grpc": {"grpc": {"port": grpc_port, "service": GRPC_SERVICE}},
        "unixSocket": {"httpGet": {"path": "/healthy", "unixSocket": web.unix}},
    }


def mixed(stanza: Mapping[str, object]) -> Table:
    """Return a hundred probes in proportion; aggregates take their members in turn from all the others."""
    table = {f"/{kind}-{number}": stanza[kind] for kind, count in MIX.items() if kind in stanza for number in range(count)}
    members = itertools.cycle(table)
    aggregates = [f"/{kind}-{number}" for kind in ("allOf", "anyOf") for number in range(MIX[kind])]
    return table | {key: {key[1:6]: list(itertools.islice(members, 3))} for key in aggregates}


def one_of_each(stanza: Mapping[str, object]) -> Table:
    """Return one probe of each kind, and an aggregate over three of one kind."""
    others = {"/second": stanza["httpGet"], "/third": stanza["httpGet"], "/httpGet-0": stanza["httpGet"]}
    aggregates = {f"/{kind}": {kind: list(others)} for kind in ("allOf", "anyOf")}
    return {f"/{kind}": stanza[kind] for kind in stanza} | others | aggregates


@dataclass(frozen=True, slots=True)
class Cost:
    """One kind of probe, in µs."""

    median: float
    cpu: float


class Variant:
    """A sidecar with a table of probes, and all that was measured of it: lists of figures by name."""

    def __init__(self, table: Table, config: Path) -> None:
        self.table = table
        self.port, self.admin_port = free_port(), free_port()
        self.pid = 0
        self.figures: dict[str, list[float]] = {}
        YAML().dump({"probes": dict(table), "minInterval": 0, "logLevel": "error"}, config)
        listen = ["--listen", f"127.0.0.1:{self.port}", "--admin-listen", f"127.0.0.1:{self.admin_port}"]
        self._command = [sys.executable, "-m", "healthproxy", "--config", str(config), *listen]

    def note(self, name: str, value: float) -> None:
        """Keep a figure."""
        self.figures.setdefault(name, []).append(value)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run it while the context lasts; measures the start."""
        started = time.perf_counter()
        with subprocess.Popen(self._command) as process:
            try:
                self.pid = process.pid
                when_it_answers(lambda: probe(self.port, "/httpGet-0"))
                self.note("start", time.perf_counter() - started)
                self.note("start_cpu", cpu_seconds(self.pid))
                self._note_memory("after_start")
                yield
            finally:
                process.kill()

    def ask_all(self) -> None:
        """Ask every probe a hundred times, a few callers at once, and see what that left behind."""
        with ThreadPoolExecutor(4) as callers:
            list(callers.map(lambda key: probe(self.port, key), [*self.table] * ASKED))
        self._note_memory("asked")

    def scrape(self) -> None:
        """Scrape the metrics a few times."""
        for _ in range(SCRAPES):
            started = time.perf_counter()
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/metrics", timeout=5) as answer:
                self.note("scrape_bytes", len(answer.read()))
            self.note("scrape", time.perf_counter() - started)

    def _note_memory(self, when: str) -> None:
        held: Memory = memory(self.pid)
        self.note(f"rss_{when}", held.rss)
        self.note(f"pss_{when}", held.pss)
        self.note(f"private_{when}", held.private)


def when_it_answers(ask: Callable[[], object]) -> None:
    """Ask until somebody listens."""
    deadline = time.monotonic() + 15
    while True:
        try:
            ask()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                sys.exit("a sidecar does not serve")
            time.sleep(0.002)
        else:
            return


def cost_of_kinds(sidecar: Variant) -> dict[str, Cost]:
    """Ask each kind in batches, all in turn so that they share whatever else the machine does."""
    keys = [OWN_HEALTH, "/httpGet", "/unixSocket", "/tcpSocket", "/https", "/grpc", "/allOf", "/anyOf"]
    times: dict[str, list[float]] = {key: [] for key in keys}
    cpu: dict[str, list[float]] = {key: [] for key in keys}
    for batch in range(BATCHES + 1):
        for key in keys:
            before = cpu_seconds(sidecar.pid)
            took = [probe(sidecar.port, key) for _ in range(BATCH)]
            if batch:  # the first one warms up
                times[key] += took
                cpu[key].append((cpu_seconds(sidecar.pid) - before) / BATCH)
    return {key: Cost(statistics.median(times[key]) * 1e6, statistics.median(cpu[key]) * 1e6) for key in keys}


def report(app: str, starts: int, sidecars: Mapping[str, Variant]) -> None:
    """Print the figures of the three sidecars and their ratios to the first."""
    print(
        f"Python {platform.python_version()}, aiohttp {aiohttp.__version__}, {app}, {os.cpu_count()} CPUs, {starts} starts each"
    )
    print(f"{'':34}" + "".join([f"{name:>12}" for name in sidecars]) + f"{'ratio':>9}{'ratio':>7}")
    rows = [
        *((f"{name} MB after start", f"{kind}_after_start", 1.0, 50) for name, kind in MEMORY.items()),
        *((f"{name} MB, each asked {ASKED} times", f"{kind}_asked", 1.0, 50) for name, kind in MEMORY.items()),
        ("start to first answer, ms", "start", 1e3, 50),
        ("CPU of that, ms", "start_cpu", 1e3, 50),
        ("one httpGet, median µs", "quiet", 1e6, 50),
        ("one httpGet, p99 µs", "quiet", 1e6, 99),
        ("/metrics, KB", "scrape_bytes", 1e-3, 50),
        ("/metrics, ms", "scrape", 1e3, 50),
    ]
    for text, name, unit, percentile in rows:
        values = [percentile_of(variant.figures[name], percentile) * unit for variant in sidecars.values()]
        ratios = f"{values[1] / values[0]:9.2f}{values[2] / values[0]:7.2f}"
        print(f"{text:34}" + "".join([f"{value:12.1f}" for value in values]) + ratios)


MEMORY = {"private": "private", "PSS": "pss", "RSS": "rss"}


def percentile_of(values: list[float], percentile: int) -> float:
    """Return a percentile; the median of a single value is the value."""
    return statistics.median(values) if percentile == 50 else statistics.quantiles(values, n=100)[percentile - 1]


def report_kinds(costs: Mapping[str, Cost]) -> None:
    """Print what a probe of each kind costs, and its ratio to `httpGet`."""
    nothing, plain = costs[OWN_HEALTH], costs["/httpGet"]
    print(f"\n{'one probe':34}{'median µs':>12}{'added µs':>12}{'CPU µs':>12}{'added':>9}{'CPU':>7}")
    names = {OWN_HEALTH: "none (/-/ready)", "/unixSocket": "httpGet by unixSocket", "/allOf": "allOf of 3 httpGet"}
    names |= {"/anyOf": "anyOf of 3 httpGet", "/https": "httpGet, scheme HTTPS", "/grpc": "grpc (h2c)"}
    for key, cost in costs.items():
        added = cost.median - nothing.median
        ratios = f"{added / (plain.median - nothing.median):9.2f}{cost.cpu / plain.cpu:7.2f}"
        print(f"{names.get(key, key[1:]):34}{cost.median:12.0f}{added:12.0f}{cost.cpu:12.0f}{ratios}")


if __name__ == "__main__":
    main()
