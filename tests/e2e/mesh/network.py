"""Network namespaces that stand for a pod and its node, and the redirection that Istio puts into a pod.

Owns addresses, links and iptables. A namespace has no name, it lives as long as processes in it: two runs cannot meet, and there
is nothing to remove. Knows no Envoy, no app and no sidecar.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from tests.e2e.conftest import find
from tests.e2e.sidecar import BOUND_SECONDS, eventually

P = ParamSpec("P")
T = TypeVar("T")

NODE = ("10.15.0.1", "fd15::1")
STRANGER = ("10.15.0.9", "fd15::9")
"""Another address on the node's side of the link: somebody who is not the kubelet."""
POD = ("10.15.0.2", "fd15::2")
PROXY_UID = 1337
INBOUND_PORT = 15006
CLONE_NEWNET = 0x40000000


@dataclass(frozen=True, slots=True)
class Network:
    """The network namespace of a process."""

    pid: int
    _inside: ThreadPoolExecutor

    @property
    def prefix(self) -> list[str]:
        """The command that runs another one in here, and no longer than this process."""
        network = [find("nsenter", "util-linux"), f"--net=/proc/{self.pid}/ns/net", "--"]
        return [*network, find("setpriv", "util-linux"), "--pdeathsig=KILL", "--"]

    def run(self, *command: str, text: str = "") -> str:
        """Run a command in here to its end, with `text` as its input, and return what it prints."""
        done = subprocess.run([*self.prefix, *command], input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def call(self, function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """Call a function in a thread that lives in here: its sockets and the processes it starts do, too."""
        return self._inside.submit(function, *arguments, **options).result(6 * BOUND_SECONDS)

    def listening_ports(self) -> set[int]:
        """Return the TCP ports on which somebody listens in here, on any address."""
        tables = [Path(f"/proc/{self.pid}/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
        return {int(row.split()[1].rpartition(":")[2], 16) for table in tables for row in table if row.split()[3] == "0A"}


@contextlib.contextmanager
def network_of(pid: int) -> Iterator[Network]:
    """Reach the network namespace of a process."""

    def enter() -> None:
        with Path(f"/proc/{pid}/ns/net").open() as namespace:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(namespace.fileno(), CLONE_NEWNET):  # os.setns() is there from 3.12 on
                raise OSError(ctypes.get_errno(), "setns")

    with ThreadPoolExecutor(max_workers=1, initializer=enter) as inside:
        yield Network(pid, inside)


@contextlib.contextmanager
def new_network() -> Iterator[Network]:
    """Make a network with nothing but loopback; it ends with this context, or with this process if that is killed."""
    hold = [find("unshare", "util-linux"), "--net", "sh", "-c", "echo; exec cat"]
    with subprocess.Popen(hold, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with network_of(process.pid) as network:
            network.run("ip", "link", "set", "lo", "up")
            yield network


def join(node: Network, pod: Network, families: Sequence[int] = (4, 6)) -> None:
    """Lay a link between a node and its pod, with addresses of these IP versions, and wait until it carries them."""
    # Were the two ends alike in their numbers, the kernel would take a second to notice that the link is up.
    node.run("ip", "link", "add", "pod", "index", "15", "type", "veth", "peer", "name", "eth0", "netns", str(pod.pid))
    _name(node, "pod", _of(families, NODE))
    _name(node, "pod", _of(families, STRANGER), "preferred_lft", "0")  # for those who ask for it, never by default
    _name(pod, "eth0", _of(families, POD))
    for address in _of(families, POD):
        eventually(functools.partial(node.call, _try, address), lambda error: error == errno.ECONNREFUSED)


def _name(network: Network, link: str, addresses: Sequence[str], *options: str) -> None:
    """Give addresses to a link and start it."""
    for address in addresses:
        length, *more = ("64", "nodad") if ":" in address else ("24",)
        network.run("ip", "address", "add", f"{address}/{length}", "dev", link, *more, *options)
    network.run("ip", "link", "set", link, "up")


def _of(families: Sequence[int], addresses: Sequence[str]) -> list[str]:
    return [address for address in addresses if (6 if ":" in address else 4) in families]


def _try(address: str) -> int:
    """Connect to a port on which nobody listens and return the error; a new link loses the first packets of IPv6."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as sock:
        sock.settimeout(0.1)
        return sock.connect_ex((address, 9))


def redirect(pod: Network, excluded: Sequence[int] = ()) -> None:
    """Redirect a pod's TCP as Istio does: what comes in to Envoy's 15006 but for `excluded` ports; loopback and Envoy go free.

    Nobody listens on 15001, where the rest is sent: a request that passes has not left the pod.
    """
    pod.run("ip", "address", "add", "::6/128", "dev", "lo", "nodad")
    for restore, loopback, own in (
        ("iptables-restore", "127.0.0.1/32", "127.0.0.6/32"),
        ("ip6tables-restore", "::1/128", "::6/128"),
    ):
        pod.run(find(restore, "iptables"), text=_rules(loopback, own, excluded))


def _rules(loopback: str, own: str, excluded: Sequence[int]) -> str:
    """Write the rules of one IP version; `own` is the address that Envoy's connections to the app come from."""
    envoy = f"-m owner --uid-owner {PROXY_UID}"
    exclusions = [f"-A ISTIO_INBOUND -p tcp --dport {port} -j RETURN" for port in (15008, *excluded)]
    lines = [
        *("*nat", ":ISTIO_INBOUND -", ":ISTIO_IN_REDIRECT -", ":ISTIO_REDIRECT -", ":ISTIO_OUTPUT -"),
        f"-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports {INBOUND_PORT}",
        "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001",
        "-A PREROUTING -p tcp -j ISTIO_INBOUND",
        *exclusions,
        "-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT",
        "-A OUTPUT -p tcp -j ISTIO_OUTPUT",
        f"-A ISTIO_OUTPUT -o lo -s {own} -j RETURN",
        f"-A ISTIO_OUTPUT -o lo ! -d {loopback} -p tcp {envoy} -j ISTIO_IN_REDIRECT",
        f"-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner {PROXY_UID} -j RETURN",
        f"-A ISTIO_OUTPUT {envoy} -j RETURN",
        f"-A ISTIO_OUTPUT -d {loopback} -j RETURN",
        "-A ISTIO_OUTPUT -j ISTIO_REDIRECT",
        "COMMIT",
    ]
    return "\n".join([*lines, ""])
