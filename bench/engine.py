"""What a probe costs through healthproxy, beside the plain aiohttp forwarder and beside no forwarder at all, in one run.

A fresh connection for each probe, the three asked in turn so that they share whatever else the machine does. Prints medians in µs
and the ratio that counts: added by healthproxy to added by the plain forwarder. The app is nginx where there is one, else a bare
asyncio server. Nothing here is a test: figures are for reading.
"""

import argparse
import contextlib
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp

REQUEST = b"GET /healthy HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: kube-probe/1.36\r\nAccept: */*\r\n"
REQUEST += b"Connection: close\r\n\r\n"
WARM_UP = 300
NGINX = """
daemon off; pid {dir}/pid; error_log {dir}/error.log; events {{}}
http {{
    access_log off;
    client_body_temp_path {dir}/1; proxy_temp_path {dir}/2; fastcgi_temp_path {dir}/3;
    uwsgi_temp_path {dir}/4; scgi_temp_path {dir}/5;
    server {{ listen 127.0.0.1:{port}; location /healthy {{ default_type text/plain; return 200 'ok'; }} }}
}}
"""
BARE_APP = """
import asyncio, sys
class App(asyncio.Protocol):
    def connection_made(self, transport): self.transport = transport
    def data_received(self, data):
        self.transport.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok")
        self.transport.close()
async def main():
    server = await asyncio.get_running_loop().create_server(App, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()
asyncio.run(main())
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What a probe costs through healthproxy.")
    parser.add_argument("--probes", type=int, default=3000, help="probes for each of the three (default: 3000)")
    probes = parser.parse_args().probes
    app, plain, own, admin = (free_port() for _ in range(4))
    with contextlib.ExitStack() as stack:
        app_name = stack.enter_context(serving_app(app))
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
        memory = {name: rss_megabytes(pid) for name, pid in processes.items()}
    report(app_name, probes, times, cpu, memory)


def report(app: str, probes: int, times: dict[str, list[float]], cpu: dict[str, float], memory: dict[str, float]) -> None:
    """Print the figures; "added" is the median less the median of asking the app directly."""
    median = {name: statistics.median(values) * 1e6 for name, values in times.items()}
    print(
        f"Python {platform.python_version()}, aiohttp {aiohttp.__version__}, {app}, {os.cpu_count()} CPUs, {probes} probes each"
    )
    print(f"{'':16}{'median µs':>10}{'added µs':>10}{'p99 µs':>10}{'CPU µs':>10}{'RSS MB':>10}")
    for name, values in times.items():
        p99 = statistics.quantiles(values, n=100)[98] * 1e6
        rest = f"{cpu[name]:10.0f}{memory[name]:10.1f}" if name in cpu else ""
        print(f"{name:16}{median[name]:10.0f}{median[name] - median['direct']:10.0f}{p99:10.0f}{rest}")
    ratio = (median["healthproxy"] - median["direct"]) / (median["plain aiohttp"] - median["direct"])
    print(f"\nadded median, healthproxy to plain aiohttp: {ratio:.2f}; CPU: {cpu['healthproxy'] / cpu['plain aiohttp']:.2f}")


def probe(port: int) -> float:
    """Ask once on a fresh connection, as the kubelet does, and return the seconds it took."""
    started = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(REQUEST)
        answer = b""
        while chunk := connection.recv(4096):
            answer += chunk
    took = time.perf_counter() - started
    if not answer.startswith(b"HTTP/1.1 200 "):
        sys.exit(f"port {port} answered {answer!r}")
    return took


@contextlib.contextmanager
def serving_app(port: int) -> Iterator[str]:
    """Serve /healthy while the context lasts and say by what."""
    nginx = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    with tempfile.TemporaryDirectory() as directory:
        if nginx is None:
            command, name = [sys.executable, "-c", BARE_APP, str(port)], "a bare asyncio server as the app"
        else:
            Path(directory, "nginx.conf").write_text(NGINX.format(dir=directory, port=port))
            command = [nginx, "-p", directory, "-e", f"{directory}/error.log", "-c", f"{directory}/nginx.conf"]
            version = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=True).stderr
            name = f"nginx {re.sub(r'.*/', '', version).strip()} as the app"
        with process(command, port):
            yield name


@contextlib.contextmanager
def process(command: list[str], port: int) -> Iterator[int]:
    """Run a server while the context lasts; yields its process id once the port accepts."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as running:
        try:
            deadline = time.monotonic() + 15
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    if running.poll() is not None or time.monotonic() > deadline:
                        sys.exit(f"{command[0]} does not serve")
                    time.sleep(0.02)
            yield running.pid
        finally:
            running.terminate()


def cpu_seconds(pid: int) -> float:
    """Return the CPU time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_megabytes(pid: int) -> float:
    """Return the memory a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


if __name__ == "__main__":
    main()
