"""What the benchmarks share: real servers on loopback, one probe as the kubelet sends it, and what the kernel says
of a process.
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import trustme

WAIT_SECONDS = 15.0
"""How long a server may take to accept its first connection."""
GRPC_SERVICE = "shop.Api"
HEALTH_APP = Path(__file__).parent.parent / "tests" / "e2e" / "health_app.py"
NGINX = """
daemon off; pid {dir}/pid; error_log {dir}/error.log; events {{}}
http {{
    access_log off;
    client_body_temp_path {dir}/1; proxy_temp_path {dir}/2; fastcgi_temp_path {dir}/3;
    uwsgi_temp_path {dir}/4; scgi_temp_path {dir}/5;
    ssl_certificate {dir}/pem; ssl_certificate_key {dir}/pem;
    server {{
        listen 127.0.0.1:{http}; listen 127.0.0.1:{https} ssl; listen unix:{dir}/web.sock;
        location /healthy {{ default_type text/plain; return 200 'ok'; }}
        location /count {{ stub_status; }}
    }}
}}
"""
BARE_APP = """
import asyncio, ssl, sys
class App(asyncio.Protocol):
    count = 0
    def connection_made(self, transport): self.transport = transport
    def data_received(self, data):
        App.count += 1
        body = b" 0 0 %d " % App.count if b"/count" in data else b"ok"
        self.transport.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\nConnection: close\\r\\n\\r\\n%b" % (len(body), body))
        self.transport.close()
async def main(directory, http, https):
    loop, tls = asyncio.get_running_loop(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(f"{directory}/pem")
    await loop.create_unix_server(App, f"{directory}/web.sock")
    await loop.create_server(App, "127.0.0.1", int(https), ssl=tls)
    await (await loop.create_server(App, "127.0.0.1", int(http))).serve_forever()
asyncio.run(main(*sys.argv[1:]))
"""


@dataclass(frozen=True, slots=True)
class Web:
    """A server of /healthy, three ways in."""

    name: str
    http: int
    https: int
    unix: str

    def asked(self) -> int:
        """Return how many requests it has had, this one included."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/count", timeout=5) as answer:
            found = re.search(rb" \d+ \d+ (\d+) ", answer.read())
        assert found is not None
        return int(found[1])


@dataclass(frozen=True, slots=True)
class Memory:
    """What a process holds, in MB: all of it, its share of what others hold too, and what it alone holds."""

    rss: float
    pss: float
    private: float


@contextlib.contextmanager
def serving_web() -> Iterator[Web]:
    """Serve /healthy while the context lasts: by nginx where there is one, else by a bare asyncio server."""
    nginx = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    http, https = free_port(), free_port()
    with tempfile.TemporaryDirectory() as directory:
        trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(f"{directory}/pem")
        if nginx is None:
            command = [sys.executable, "-c", BARE_APP, directory, str(http), str(https)]
            name = "a bare asyncio server as the app"
        else:
            Path(directory, "nginx.conf").write_text(NGINX.format(dir=directory, http=http, https=https))
            command = [nginx, "-p", directory, "-e", f"{directory}/error.log", "-c", f"{directory}/nginx.conf"]
            version = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=True).stderr
            name = f"nginx {re.sub(r'.*/', '', version).strip()} as the app"
        with process(command, http):
            yield Web(name, http, https, f"{directory}/web.sock")


@contextlib.contextmanager
def serving_grpc() -> Iterator[int]:
    """Serve gRPC's health service in clear while the context lasts; yields its port."""
    port = free_port()
    with process([sys.executable, str(HEALTH_APP), f"127.0.0.1:{port}"], port):
        yield port


@contextlib.contextmanager
def process(command: list[str], port: int) -> Iterator[int]:
    """Run a server while the context lasts; yields its process id once the port accepts."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as running:
        try:
            deadline = time.monotonic() + WAIT_SECONDS
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    if running.poll() is not None or time.monotonic() > deadline:
                        sys.exit(f"{command[0]} does not serve")
                    time.sleep(0.002)
            yield running.pid
        finally:
            running.terminate()


def probe(port: int, key: str = "/healthy") -> float:
    """Ask once on a fresh connection, as the kubelet does, and return the seconds it took."""
    request = (
        f"GET {key} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: kube-probe/1.36\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
    started = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(request.encode())
        answer = b""
        while chunk := connection.recv(4096):
            answer += chunk
    took = time.perf_counter() - started
    if not answer.startswith(b"HTTP/1.1 200 "):
        sys.exit(f"port {port} answered {answer!r} for {key}")
    return took


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and its children, to the nanosecond."""
    return sum(int(path.read_text().split()[0]) for path in _threads(pid, "schedstat")) / 1e9


def wake_ups(pid: int) -> int:
    """Return how often a process or its children have been switched to another, by its own will or not."""
    return sum(
        int(number) for path in _threads(pid, "status") for number in re.findall(r"ctxt_switches:\t(\d+)", path.read_text())
    )


def memory(pid: int) -> Memory:
    """Return the memory a process and its children hold; in `rss` what they share is counted for each of them."""
    size: Counter[str] = Counter()
    for member in _family(pid):
        for line in Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()[1:]:
            name, value, _ = line.split()
            size[name] += int(value) * 1024
    return Memory(*(part / 1e6 for part in (size["Rss:"], size["Pss:"], size["Private_Clean:"] + size["Private_Dirty:"])))


def _threads(pid: int, file: str) -> list[Path]:
    return [path for member in _family(pid) for path in Path(f"/proc/{member}/task").glob(f"*/{file}")]


def _family(pid: int) -> list[int]:
    """Return a process and its children."""
    parents = {int(path.parent.name): _parent(path) for path in Path("/proc").glob("[0-9]*/stat")}
    return [pid, *(child for child, parent in parents.items() if parent == pid)]


def _parent(stat: Path) -> int:
    """Return the parent of a process that may have ended a moment ago."""
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
