"""What the image costs: its size, and its start and memory as a container restricted as in a pod.

Built and run by what the tests use (tests/e2e/image.py, tests/e2e/container.py); where this machine cannot, one sentence says so.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from axes import Figures
from load import Prober
from servers import cpu_seconds, free_port, memory

from tests.e2e.container import RESTRICTED, Container, created
from tests.e2e.image import build_image, environment, missing, podman

USUAL, UNCOMPILED = "as it is", "without bytecode"
WITHOUT_BYTECODE = (
    "--entrypoint",
    json.dumps(["/usr/bin/python3", "-I", "-X", "pycache_prefix=/none", "/usr/local/bin/healthproxy"]),
)
MANY = 2000
"""Probes between the first look at memory and the second."""


def image_costs(prober: Prober, app: int, starts: int) -> str:
    """Return the section of the page; `app` is the port of an app that answers /healthy."""
    if missing():
        return f"Not measured: {missing()}."
    image, figures = build_image(), Figures()
    for number in range(starts):
        _start(prober, app, figures, USUAL, many=MANY if number == 0 else 0)
        _start(prober, app, figures, UNCOMPILED, options=WITHOUT_BYTECODE)
    return "\n\n".join(["\n".join(_sizes(image)), "\n".join(_starts(figures)), _memory(figures)])


def _start(prober: Prober, app: int, figures: Figures, how: str, *, many: int = 0, options: Sequence[str] = ()) -> None:
    """Note time and CPU up to the first probe that the app has answered, and memory then and after many more."""
    port = free_port()
    flags = ["--listen", f"127.0.0.1:{port}", "--admin-listen", "127.0.0.1:0", "--drain-seconds", "0", "--log-level", "error"]
    probe = ["--probe", f"http://127.0.0.1:{app}/healthy", "--min-interval", "0"]
    with created(*probe, *flags, options=("--network", "host", *options)) as container:
        first = prober.start([port], 0, 0.001)
        asked, began, spent = _begin(container)
        *_, answer = prober.result(first)
        ended = answer.began + answer.took
        figures.note(how, "cpu", cpu_seconds(container.pid) - spent)
        figures.note(how, "since_asked", ended - asked)
        figures.note(how, "since_begun", ended - began)
        _note_memory(figures, how, "start", container)
        if many:
            assert all(answer.status == 200 for answer in prober.ask([port], many))
            _note_memory(figures, how, "many", container)


def _begin(container: Container) -> tuple[float, float, float]:
    """Start a container; return when that was asked for, when its program began, and what CPU the runtime had used by then."""
    runtime = container.program()
    asked = time.monotonic()
    with subprocess.Popen(["podman", "start", container.name], env=environment(), stdout=subprocess.DEVNULL):
        while container.program() == runtime:
            pass
        return asked, time.monotonic(), cpu_seconds(container.pid)


def _note_memory(figures: Figures, how: str, when: str, container: Container) -> None:
    group = container.memory()
    figures.note(how, f"group_{when}", group.now * 2**20 / 1e6)
    figures.note(how, f"peak_{when}", group.peak * 2**20 / 1e6)
    figures.note(how, f"rss_{when}", memory(container.pid).rss)


def _sizes(image: str) -> Iterable[str]:
    with tempfile.TemporaryDirectory() as directory:
        podman("save", "--quiet", "--format", "docker-dir", "--compress", "--output", directory, image)
        layers = json.loads(Path(directory, "manifest.json").read_text())["layers"]
        files = [Path(directory, layer["digest"].removeprefix("sha256:")) for layer in layers]
        sizes = [(_unpacked(file) / 1e6, file.stat().st_size / 1e6) for file in files]
    *base, ours = sizes
    rows = {
        "the base": [sum(column) for column in zip(*base, strict=True)],
        "what healthproxy adds": ours,
        "the image": [sum(column) for column in zip(*sizes, strict=True)],
    }
    yield from ("| size, MB | unpacked | as gzip |", "|---|--:|--:|")
    yield from (f"| {name} | {unpacked:.1f} | {packed:.1f} |" for name, (unpacked, packed) in rows.items())


def _unpacked(file: Path) -> int:
    with gzip.open(file) as layer:
        return sum(map(len, iter(lambda: layer.read(2**20), b"")))


def _starts(figures: Figures) -> Iterable[str]:
    yield "| start to the first forwarded probe, ms | from `podman start` | worst | from its program's start | worst | CPU used |"
    yield "|---|--:|--:|--:|--:|--:|"
    for how in (USUAL, UNCOMPILED):
        times = [statistic(how, what) for what in ("since_asked", "since_begun") for statistic in (figures.median, figures.p99)]
        yield f"| {how} | {' | '.join([f'{seconds * 1e3:,.0f}' for seconds in (*times, figures.median(how, 'cpu'))])} |"


def _memory(figures: Figures) -> str:
    limits = " ".join([word for word in RESTRICTED if word.startswith(("--memory=", "--pids"))])
    start, many = [
        {what: figures.p99(USUAL, f"{what}_{when}") for what in ("rss", "group", "peak")} for when in ("start", "many")
    ]
    return (
        f"Memory in MB, run with `{limits}`: RSS {start['rss']:.1f} after the first probe and {many['rss']:.1f} after\n"
        f"{MANY:,} more; its control group {start['group']:.1f} and {many['group']:.1f}, at most {many['peak']:.1f}, "
        "without those files that others have read before."
    )
