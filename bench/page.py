"""docs/BENCHMARKS.md: the figures beside what was wanted of them, with the machine, the versions and the commands.

The prose is in page.md.
"""

from __future__ import annotations

import functools
import math
import os
import platform
import textwrap
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from axes import CURL, LIMITS, Bench, Figures
from contestants import DIRECT, OURS, version_of
from load import wrk_command

Column = tuple[str, Callable[[str], float], int]
"""Its head, its figure by contestant, the digits after the point."""


def page(bench: Bench, kinds: str, image: str) -> str:
    """Return the whole page; `kinds` is what bench/kinds.py printed, `image` the section of bench/image.py."""
    figures, plan = bench.figures, bench.plan
    forwarders = list(bench.field.contestants)
    limited = not math.isnan(figures.median(OURS, "start_0.1_took"))
    return Path(__file__).with_name("page.md").read_text().format(
        missing=", ".join(bench.field.missing) or "nothing",
        wanted=_wanted(figures),
        busy=(plan.blocks - 1) * plan.block,
        rare=plan.seconds * plan.slices,
        latency=_table([DIRECT, *forwarders, CURL], _latency(figures)),
        cpu=_table([*forwarders, CURL], _cpu(figures)),
        many=plan.many,
        silent=plan.silent,
        beside=10 * len(figures.all(OURS, "silent_failed")),
        memory=_table(forwarders, _memory(figures)),
        limits="" if limited else "\nCPU limits are left out: they take root, a `cpu` control group and the full run.",
        starts=_table(forwarders, _starts(figures, LIMITS if limited else LIMITS[:1])),
        storms=plan.storms,
        storm=plan.storm,
        storm_table=_table([DIRECT, *forwarders], _storm(figures)),
        python=figures.median("Python", "size"),
        sizes=_table([*forwarders, CURL], [("size", functools.partial(_figure, figures.median, "size", 1), 1)]),
        image=image,
        kinds=textwrap.indent(kinds.strip(), "    "),
        run="\n".join(_run(bench)),
    )  # fmt: skip


def _wanted(figures: Figures) -> str:
    lines = ["| wanted | seen | |", "|---|---|---|"]
    for text, seen, holds in _promises(figures):
        verdict = "not measured" if any(map(math.isnan, seen)) else "yes" if holds else "**no**"
        lines.append(f"| {text} | {' / '.join(map(_short, seen))} | {verdict} |")
    return "\n".join(lines)


def _promises(figures: Figures) -> Iterable[tuple[str, Sequence[float], bool]]:
    """Give what was wanted, what was seen, and whether that is it."""
    median = figures.median

    def added(who: str) -> float:
        return median(who, "busy_took") - median(DIRECT, "busy_took")

    to_go, to_envoy = added(OURS) / added("Go"), added(OURS) / added("Envoy")
    yield "added median of a probe, back to back, to Go's: ≤ 0.6", [to_go], to_go <= 0.6
    yield "the same to Envoy's: ≤ 1.3", [to_envoy], to_envoy <= 1.3
    cpu = median(OURS, "rare_cpu") / median("Go", "rare_cpu")
    yield "CPU of a probe at one a second, to Go's: ≤ 1", [cpu], cpu <= 1
    curl = [median(CURL, f"{how}_cpu") / median(OURS, f"{how}_cpu") for how in ("busy", "rare")]
    yield "CPU of `exec curl` to ours, back to back / at one a second: ≥ 20", curl, min(curl) >= 20
    storm = [median(OURS, "storm_rate") / median(who, "storm_rate") for who in ("Go", "Envoy")]
    yield "storm: answers a second, to Go's / to Envoy's: > 1", storm, min(storm) > 1
    asked = figures.p99(OURS, "storm_asked")
    yield "storm: requests a second that reach the app: ≤ 10, and 0.5 for the edges of the window", [asked], asked <= 10.5
    rss = median(OURS, "rss_start")
    yield f"RSS: ≤ 36 MB on CPython 3.13 (this is {platform.python_version()})", [rss], rss <= 36
    grown = median(OURS, "rss_many") - rss
    yield "growth of RSS after many probes: none (less than 0.5 MB)", [grown], grown < 0.5
    first = median(OURS, "start_None_cpu") * 1e3
    yield "CPU from the start to the first forwarded probe: ≤ 200 ms", [first], first <= 200
    woken = median(OURS, "idle_wake_ups")
    yield "wake-ups in ten seconds without traffic: 0", [woken], woken == 0


def _latency(figures: Figures) -> Iterable[Column]:
    for how, text in (("busy", "back to back"), ("rare", "one a second")):
        direct = figures.median(DIRECT, f"{how}_took")
        yield f"{text}: median", functools.partial(_figure, figures.median, f"{how}_took", 1e6), 0
        yield "p99", functools.partial(_figure, figures.p99, f"{how}_took", 1e6), 0
        yield "added", functools.partial(_figure, figures.median, f"{how}_took", 1e6, less=direct), 0


def _cpu(figures: Figures) -> Iterable[Column]:
    for how, text in (("busy", "back to back"), ("rare", "one a second"), ("storm", "storm")):
        yield f"{text}: median", functools.partial(_figure, figures.median, f"{how}_cpu", 1e6), 0
        yield "p99", functools.partial(_figure, figures.p99, f"{how}_cpu", 1e6), 0
    yield "wake-ups", functools.partial(_figure, figures.median, "idle_wake_ups", 1), 0
    yield "at rest", functools.partial(_figure, figures.median, "idle_cpu", 1e6), 0


def _memory(figures: Figures) -> Iterable[Column]:
    for when, text in (("start", "at start"), ("many", "many"), ("silent", "silent")):
        yield f"{text}: RSS", functools.partial(_figure, figures.p99, f"rss_{when}", 1), 1
        yield "private", functools.partial(_figure, figures.p99, f"private_{when}", 1), 1
    yield "failed", lambda who: sum(figures.all(who, "silent_failed")), 0


def _starts(figures: Figures, limits: Iterable[float | None]) -> Iterable[Column]:
    for cpus in limits:
        how = f"start_{cpus}"
        yield f"{cpus or 'every'} CPU: median", functools.partial(_figure, figures.median, f"{how}_took", 1e3), 0
        yield "p99", functools.partial(_figure, figures.p99, f"{how}_took", 1e3), 0
        yield "CPU used", functools.partial(_figure, figures.median, f"{how}_cpu", 1e3), 0


def _storm(figures: Figures) -> Iterable[Column]:
    yield "answers a second", functools.partial(_figure, figures.median, "storm_rate", 1), 0
    yield "not answered", lambda who: sum(figures.all(who, "storm_failed")), 0
    yield "requests to the app a second", functools.partial(_figure, figures.median, "storm_asked", 1), 1
    yield "beside: median ms", functools.partial(_figure, figures.median, "storm_beside", 1e3), 1
    yield "p99 ms", functools.partial(_figure, figures.p99, "storm_beside", 1e3), 1
    yield "failed", lambda who: sum(figures.all(who, "storm_beside_failed")), 0


def _run(bench: Bench) -> Iterable[str]:
    cpus = [line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 1e6
    load, tools = os.getloadavg()[0], bench.field.tools
    yield f"- {time.strftime('%Y-%m-%d')}, {os.cpu_count()} × {cpus[0] if cpus else platform.machine()}, {memory:.0f} GB"
    yield f"- Linux {platform.release()}, load at the end {load:.1f}; app: {bench.web.name}"
    yield from (f"- {one.name} {one.version}: `{_shown(one.command(15180, 8080))}`" for one in bench.field.contestants.values())
    if "curl" in tools:
        yield f"- {CURL} {version_of(tools['curl'], '--version')}: `curl -fsS http://127.0.0.1:8080/healthy`"
    if "wrk" in tools:
        yield f"- storm: `{_shown(wrk_command('wrk', 15180, bench.plan.storm))}`"
    yield "- one probe: `bench/prober.c`, where there is no C compiler `bench/prober.go`"
    yield "- configurations: `bench/contestants.py`; what is measured when: `bench/axes.py`"


def _shown(command: Sequence[str]) -> str:
    """Return a command as one would type it."""
    words = [word.rpartition("/")[2] if word.startswith("/") else word for word in command]
    return " ".join([f"'{word}'" if " " in word else word for word in words])


def _figure(statistic: Callable[[str, str], float], what: str, unit: float, who: str, *, less: float = 0.0) -> float:
    return (statistic(who, what) - less) * unit


def _table(rows: Iterable[str], columns: Iterable[Column]) -> str:
    columns = list(columns)
    head = ["| | " + " | ".join([text for text, _, _ in columns]) + " |", "|---|" + "--:|" * len(columns)]
    lines = []
    for who in rows:
        cells = [_cell(figure(who), digits) for _, figure, digits in columns]
        if set(cells) != {"–"}:
            lines.append(" | ".join([f"| **{who}**" if who == OURS else f"| {who}", *cells]) + " |")
    return "\n".join(head + lines) if lines else "Not measured."


def _cell(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:,.{digits}f}"


def _short(value: float) -> str:
    """Return three digits that count."""
    return (
        "–"
        if math.isnan(value)
        else f"{value:.0f}"
        if abs(value) >= 100
        else f"{value:.1f}"
        if abs(value) >= 10
        else f"{value:.2f}"
    )
