"""A pod behind a mesh, with its node: an app, healthproxy and Envoy in one network, the kubelet in another.

Owns how they are put together, and the three ways to exempt a port. Each part is a real process; none of them knows of a test.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import trustme

from tests.e2e.apps import Nginx
from tests.e2e.sidecar import Sidecar, spawn

from .callers import APP_PORT, OPEN_PORT, Kubelet, kubelet_on
from .envoy import Mode, Policy, proxy
from .network import Network, join, new_network, redirect

OTHER_PORT = 9090
"""A second port of the app, which no probe is about."""
EVERYWHERE = ("", "[::]:")


@dataclass(frozen=True, slots=True)
class Mesh:
    """What the mesh has been told about a pod."""

    name: str
    policy: Policy
    excluded: tuple[int, ...] = ()
    """Ports that iptables leave alone (`excludeInboundPorts`)."""

    def __str__(self) -> str:
        return self.name


STRICT = Mesh("nothing exempt", Policy(Mode.STRICT, {}))
EXCLUDED = Mesh("excluded port", Policy(Mode.STRICT, {}), (OPEN_PORT,))
PORT_LEVEL = Mesh("port-level plaintext", Policy(Mode.STRICT, {OPEN_PORT: Mode.DISABLE}))
PERMISSIVE = Mesh("permissive", Policy(Mode.PERMISSIVE, {}))


class PodApp(Nginx):
    """An nginx that a pod's network reaches: /healthy and all below it, on the app's port and on another."""

    def __init__(self, binary: str, directory: Path, hosts: Sequence[str] = EVERYWHERE) -> None:
        self._hosts = hosts
        super().__init__(binary, directory, OTHER_PORT)

    def configure(self, answer: str) -> None:
        places = [f"{host}{APP_PORT}" for host in self._hosts] + [f"{host}{OTHER_PORT}" for host in EVERYWHERE]
        self._listen = "; listen ".join(places)
        super().configure(answer)


@dataclass(frozen=True, slots=True)
class Parts:
    """What pods are made of."""

    nginx: str
    kubelet: Path
    """The compiled prober."""
    authority: trustme.CA
    """Who signs the certificates of the mesh."""


@dataclass(frozen=True, slots=True)
class Pod:
    """What a test has in its hands."""

    network: Network
    node: Network
    kubelet: Kubelet
    app: PodApp
    sidecar: Sidecar


@contextlib.contextmanager
def behind(mesh: Mesh, pod: Network, parts: Parts, families: Sequence[int] = (4, 6)) -> Iterator[tuple[Network, Kubelet]]:
    """Join a pod's network to a node's, redirect it to an Envoy of its own, and run a kubelet on the node."""
    with new_network() as node:
        join(node, pod, families)
        redirect(pod, mesh.excluded)
        with proxy(pod, mesh.policy, parts.authority), kubelet_on(node, parts.kubelet) as kubelet:
            yield node, kubelet


@contextlib.contextmanager
def running_pod(
    parts: Parts, directory: Path, mesh: Mesh, *flags: str, families: Sequence[int] = (4, 6), hosts: Sequence[str] = EVERYWHERE
) -> Iterator[Pod]:
    """Run a pod and its node; without flags healthproxy is the one of a pod that configures nothing.

    The app's own port listens on `hosts`, written as nginx takes them.
    """
    app = PodApp(parts.nginx, directory, hosts)
    with new_network() as network, behind(mesh, network, parts, families) as (node, kubelet):
        try:
            network.call(app.start)
            with spawn(*flags, prefix=network.prefix) as sidecar:
                yield Pod(network, node, kubelet, app, sidecar.started())
        finally:
            network.call(app.end)
