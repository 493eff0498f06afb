"""What a probe costs through healthproxy, beside the plain aiohttp forwarder and beside no forwarder at all, in one run.

A fresh connection for each probe, the three asked in turn so that they share whatever else the machine does. Prints medians in µs
and the ratio that counts: added by healthproxy to added by the plain forwarder. The app is nginx where there is one, else a bare
asyncio server. Nothing here is a test: figures are for reading.
"""

import argparse
import contextlib
import os
import platform
import statistics
import sys
from pathlib import Path

import aiohttp
from servers import cpu_seconds, free_port, memory, probe, process, serving_web

WARM_UP = 300


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What a probe costs through healthproxy.")
    parser.add_argument("--probes", type=int, default=3000, help="probes for each of the three (default: 3000)")
    probes = parser.parse_args().probes
    plain, own, admin = (free_port() for _ in range(3))
    with contextlib.ExitStack() as stack:
        web = stack.enter_context(serving_web())
        app = web.http
        here = Path(__file__).parent
        forwarder = [sys.executable, str(here / "plain_aiohttp.py"), str(plain), str(app)]
        sidecar = [sys.executable, "-m", "healthproxy", "--probe", f"http://127.0.0.1:{app}/healthy", "--min-interval", "0"]
        sidecar += ["--listen", f"127.0.0.1:{own}", "--admin-listen", f"127.0.0.1:{admin}", "--log-level", "error"]
        processes = {
            "plain aiohttp": stack.enter_context(process(forwarder, plain)),
            "healthproxy": stack.enter_context(process(sidecar, own)),
        }
        ports = {"direct": app, "plain aiohttp": plain, "healthproxy": own}
        for port in list(ports.values()) * WARM_UP:
            probe(port)
        before = {name: cpu_seconds(pid) for name, pid in processes.items()}
        times: dict[str, list[float]] = {name: [] for name in ports}
        for _ in range(probes):
            for name, port in ports.items():
                times[name].append(probe(port))
        cpu = {name: (cpu_seconds(pid) - before[name]) / probes * 1e6 for name, pid in processes.items()}
        held = {name: memory(pid).rss for name, pid in processes.items()}
    report(web.name, probes, times, cpu, held)


def report(app: str, probes: int, times: dict[str, list[float]], cpu: dict[str, float], held: dict[str, float]) -> None:
    """Print the figures; "added" is the median less the median of asking the app directly."""
    median = {name: statistics.median(values) * 1e6 for name, values in times.items()}
    print(
        f"Python {platform.python_version()}, aiohttp {aiohttp.__version__}, {app}, {os.cpu_count()} CPUs, {probes} probes each"
    )
    print(f"{'':16}{'median µs':>10}{'added µs':>10}{'p99 µs':>10}{'CPU µs':>10}{'RSS MB':>10}")
    for name, values in times.items():
        p99 = statistics.quantiles(values, n=100)[98] * 1e6
        rest = f"{cpu[name]:10.0f}{held[name]:10.1f}" if name in cpu else ""
        print(f"{name:16}{median[name]:10.0f}{median[name] - median['direct']:10.0f}{p99:10.0f}{rest}")
    ratio = (median["healthproxy"] - median["direct"]) / (median["plain aiohttp"] - median["direct"])
    print(f"\nadded median, healthproxy to plain aiohttp: {ratio:.2f}; CPU: {cpu['healthproxy'] / cpu['plain aiohttp']:.2f}")


if __name__ == "__main__":
    main()
