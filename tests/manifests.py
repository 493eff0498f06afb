"""The manifests in k8s/ as values, and the rules of Kubernetes that no schema holds.

Owns how they are read, walked and judged; what a manifest should say is for the tests.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.test_cli import clean

ROOT = Path(__file__).parents[1]
K8S = ROOT / "k8s"
OVERLAYS = sorted(path.parent for path in (K8S / "overlays").glob("*/kustomization.yaml"))
Value = dict[str, Any]

EXEMPTIONS: dict[str, tuple[str, dict[str, str]]] = {
    "istio": (
        "Istio",
        {"traffic.sidecar.istio.io/excludeInboundPorts": "15180", "sidecar.istio.io/rewriteAppHTTPProbers": "false"},
    ),
    "istio-policy": ("Istio, by policy", {"sidecar.istio.io/rewriteAppHTTPProbers": "false"}),
    "istio-ambient": ("Istio ambient", {}),
    "linkerd": ("Linkerd", {"config.linkerd.io/skip-inbound-ports": "15180"}),
    "kuma": ("Kuma", {"traffic.kuma.io/exclude-inbound-ports": "15180", "kuma.io/application-probe-proxy-port": "0"}),
    "consul": (
        "Consul",
        {
            "consul.hashicorp.com/transparent-proxy-exclude-inbound-ports": "15180",
            "consul.hashicorp.com/transparent-proxy-overwrite-probes": "false",
        },
    ),
}
"""By overlay: what the documents call the mesh, and the annotations that it knows."""

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
"""What Pod Security `restricted` lets a pod mount."""


def parse(text: str) -> list[Any]:
    """Return the documents of a YAML text."""
    return [document for document in YAML(typ="safe", pure=True).load_all(text) if document is not None]


def read(path: Path) -> list[Value]:
    """Return the objects of a file."""
    return parse(path.read_text())


def pod_spec(manifest: Value) -> Value:
    """Return the spec of a Pod, or of the pods that a workload makes."""
    spec: Value = manifest["spec"]
    return spec["template"]["spec"] if "template" in spec else spec


def spec_of(path: Path) -> Value:
    """Return the spec of the pods of the one object in a file."""
    (manifest,) = read(path)
    return pod_spec(manifest)


def kustomization(directory: Path) -> Value:
    """Return what is in a directory's kustomization.yaml."""
    (found,) = read(directory / "kustomization.yaml")
    return found


def containers(spec: Value) -> list[Value]:
    """Return all containers of a pod, native sidecars first."""
    return [*spec.get("initContainers", []), *spec.get("containers", [])]


def sidecar_of(spec: Value) -> Value:
    """Return the one container that is healthproxy."""
    (sidecar,) = [container for container in containers(spec) if container["name"] == "healthproxy"]
    return sidecar


def apps_of(spec: Value) -> list[Value]:
    """Return the containers that are not healthproxy."""
    return [container for container in containers(spec) if container["name"] != "healthproxy"]


def probes_of(container: Value) -> dict[str, Value]:
    """Return the probes of a container, by what they are for."""
    return {key.removesuffix("Probe"): value for key, value in container.items() if key.endswith("Probe")}


def run_check_config(sidecar: Value) -> Value:
    """Return what healthproxy itself makes of the arguments and the environment of its container."""
    environment = {variable["name"]: variable["value"] for variable in sidecar.get("env", [])}
    command = [sys.executable, "-m", "healthproxy", *sidecar.get("args", []), "--check-config"]
    ran = subprocess.run(command, env=clean(environment), capture_output=True, text=True, timeout=30, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    resolved: Value = json.loads(ran.stdout)
    return resolved


def annotations_in(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every annotation of an object or below it, patches that are written as text included."""
    match value:
        case dict():
            metadata = value.get("metadata")
            if isinstance(metadata, dict):
                yield from (metadata.get("annotations") or {}).items()
            options = value.get("options")
            if isinstance(options, dict):  # of a generator in a kustomization
                yield from (options.get("annotations") or {}).items()
            for key, below in value.items():
                yield from annotations_in(parse(below) if key == "patch" else below)
        case list():
            for below in value:
                yield from annotations_in(below)


def restricted_violations(spec: Value) -> list[str]:
    """Say what in a pod breaks Pod Security `restricted`; https://kubernetes.io/docs/concepts/security/pod-security-standards/."""
    pod = spec.get("securityContext", {})
    found = [key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    found += [key for key in ("sysctls", "seLinuxOptions", "windowsOptions", "appArmorProfile") if key in pod]
    found += [f"volume {kind}" for volume in spec.get("volumes", []) for kind in volume if kind not in {"name", *VOLUMES}]
    for container in containers(spec):
        found += [f"{container['name']}: {violation}" for violation in _container_violations(container, pod)]
    return found


def _container_violations(container: Value, pod: Value) -> list[str]:
    own = container.get("securityContext", {})
    either = {**pod, **own}
    capabilities = own.get("capabilities", {})
    rules = {
        "hostPort": not any("hostPort" in port for port in container.get("ports", [])),
        "privileged": not own.get("privileged", False),
        "procMount": "procMount" not in own,
        "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
        "capabilities.drop": "ALL" in capabilities.get("drop", []),
        "capabilities.add": set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
        "runAsNonRoot": either.get("runAsNonRoot") is True,
        "runAsUser": either.get("runAsUser") != 0,
        "seccompProfile": either.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
    }
    return [rule for rule, kept in rules.items() if not kept]
