"""What kubectl makes of the overlays and components in k8s/, and whether every Kubernetes from 1.29 on takes it.

Owns the two tools. What the files themselves say is held in tests/test_k8s.py.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.manifests import (
    EXEMPTIONS,
    K8S,
    OVERLAYS,
    Value,
    annotations_in,
    apps_of,
    parse,
    pod_spec,
    probes_of,
    read,
    restricted_violations,
    run_check_config,
    sidecar_of,
    spec_of,
)

from .conftest import require

pytestmark = pytest.mark.e2e

Version = tuple[int, ...]
NATIVE_SINCE: Version = (1, 29)
BUILT_IN = {"v1", "apps/v1", "networking.k8s.io/v1"}
MESHED_PORTS = {"istio-ambient": [[15180], [15008]], "linkerd": [[4143]], "consul": [[20000]]}
"""Where the connections of a mesh arrive, if not on the port that they are for; in ambient the kubelet's, too."""


class Schemas:
    """The strict schemas of each Kubernetes, from PyPI's kubernetes-validate."""

    def __init__(self, package: Any, versions: list[str]) -> None:
        self._package = package
        self.versions = {tuple(map(int, version.split(".")[:2])): version for version in versions}

    def refuses(self, manifest: Value, version: Version) -> str:
        """Return what a Kubernetes has against an object; nothing if it takes it."""
        try:
            self._package.validate(manifest, self.versions[version], strict=True)
        except self._package.ValidationError as error:
            return str(error.message)
        return ""

    def since(self, first: Version) -> list[Version]:
        """Return the versions from one on."""
        return [version for version in self.versions if version >= first]


@pytest.fixture(scope="session")
def schemas() -> Schemas:
    """The schemas."""
    try:
        package, utils = map(importlib.import_module, ("kubernetes_validate", "kubernetes_validate.utils"))
    except ImportError:
        require(False, "kubernetes-validate is not installed", "run `make e2e` to have it installed")
        raise
    return Schemas(package, sorted({version.partition("-")[0] for version in utils.all_versions()}))


@pytest.fixture(scope="session")
def kubectl() -> str:
    """The path of kubectl, which here never asks a cluster."""
    path = shutil.which("kubectl", path=os.pathsep.join((str(Path(sys.prefix) / "bin"), os.environ.get("PATH", os.defpath))))
    require(path, "kubectl is not installed", "run `make e2e` to have it installed")
    assert path is not None
    return path


Build = Callable[[Path], list[Value]]


@pytest.fixture
def build(kubectl: str) -> Build:
    """Return what `kubectl kustomize` makes of a directory."""

    def run(directory: Path) -> list[Value]:
        ran = subprocess.run([kubectl, "kustomize", directory], capture_output=True, text=True, check=False, timeout=60)
        if ran.returncode:
            raise RuntimeError(ran.stderr)
        return parse(ran.stdout)

    return run


def own_app(directory: Path, *workloads: Value, components: tuple[str, ...] = ("sidecar",), **more: Any) -> Path:
    """Write a kustomization of a user's own, in which he uses our components; `more` stands in it, too."""
    (directory / "app.json").write_text("\n---\n".join(map(json.dumps, workloads)))
    found = [os.path.relpath(K8S / "components" / name, directory.resolve()) for name in components]
    head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    (directory / "kustomization.yaml").write_text(json.dumps(head | {"resources": ["app.json"], "components": found} | more))
    return directory


def workload(kind: str, *containers: Value, **spec: Any) -> Value:
    """Return a workload as a user has it before healthproxy."""
    labels = {"app": "mine"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": list(containers), **spec}}
    own = {"serviceName": "mine"} if kind == "StatefulSet" else {}
    body = {"selector": {"matchLabels": labels}, "template": template, **own}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "mine"}, "spec": body}


def app(**probes: Value) -> Value:
    """Return a container with probes of its own."""
    return {"name": "mine", "image": "mine:1", **{f"{what}Probe": probe for what, probe in probes.items()}}


def http_get(port: int | str = 8080, path: str = "/healthy") -> Value:
    """Return a probe by httpGet."""
    return {"httpGet": {"path": path, "port": port}}


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_every_kubernetes_since_native_sidecars_takes_an_overlay(overlay: Path, build: Build, schemas: Schemas) -> None:
    manifests = build(overlay)
    custom = {manifest["kind"] for manifest in manifests if manifest["apiVersion"] not in BUILT_IN}
    assert custom == ({"PeerAuthentication"} if overlay.name == "istio-policy" else set())
    versions = schemas.since(NATIVE_SINCE)
    assert versions[0] == NATIVE_SINCE
    assert len(versions) >= 9
    for manifest in manifests:
        if manifest["apiVersion"] in BUILT_IN:
            assert {version: schemas.refuses(manifest, version) for version in versions} == dict.fromkeys(versions, "")


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_an_overlay_is_the_app_with_the_sidecar_and_what_its_mesh_wants(overlay: Path, build: Build) -> None:
    kinds = {manifest["kind"]: manifest for manifest in build(overlay)}
    assert set(kinds) - {"PeerAuthentication"} == {"Deployment", "NetworkPolicy"}
    spec, whole = pod_spec(kinds["Deployment"]), spec_of(K8S / "pod.yaml")
    assert spec == whole
    assert restricted_violations(spec) == []
    assert run_check_config(sidecar_of(spec))["probes"].keys() == {"/healthy"}
    annotations = kinds["Deployment"]["spec"]["template"]["metadata"].get("annotations", {})
    assert annotations == dict(annotations_in(kinds["Deployment"])) == EXEMPTIONS[overlay.name][1]
    before, after = (
        [[port["port"] for port in rule["ports"]] for rule in policy["spec"]["ingress"]]
        for policy in (*read(K8S / "base" / "networkpolicy.yaml"), kinds["NetworkPolicy"])
    )
    assert after == before + MESHED_PORTS.get(overlay.name, [])


def test_in_ambient_only_the_kubelets_addresses_reach_the_open_port(build: Build) -> None:
    policies = [manifest for manifest in build(K8S / "overlays" / "istio-ambient") if manifest["kind"] == "NetworkPolicy"]
    rules = [rule for policy in policies for rule in policy["spec"]["ingress"] if {"port": 15180} in rule["ports"]]
    sources = [peer["ipBlock"]["cidr"] for rule in rules for peer in rule["from"]]
    assert sources == ["169.254.7.127/32", "fd16:9254:7127:1337:ffff:ffff:ffff:ffff/128"]


@pytest.mark.parametrize("name", ["pod.yaml", "pod-before-1.29.yaml"])
def test_every_kubernetes_that_a_pod_is_for_takes_it(name: str, schemas: Schemas) -> None:
    (pod,) = read(K8S / name)
    versions = schemas.since(NATIVE_SINCE if name == "pod.yaml" else (1, 0))
    assert {version: schemas.refuses(pod, version) for version in versions} == dict.fromkeys(versions, "")


def test_the_schemas_are_strict(schemas: Schemas) -> None:
    (pod,) = read(K8S / "pod.yaml")
    assert "restartPolicy" in schemas.refuses(pod, (1, 27)), "which knew no native sidecars"
    newest = schemas.since(NATIVE_SINCE)[-1]
    sidecar_of(pod["spec"])["readOnlyRootFileSystem"] = True
    assert "readOnlyRootFileSystem" in schemas.refuses(pod, newest)
    assert schemas.refuses(pod | {"spec": {}}, newest)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_the_components_serve_any_workload(kind: str, build: Build, schemas: Schemas, tmp_path: Path) -> None:
    probes = {what: http_get() for what in ("readiness", "startup", "liveness")}
    before = workload(
        kind, app(**probes), {"name": "helper", "image": "helper:1"}, initContainers=[{"name": "first", "image": "first:1"}]
    )
    (after,) = build(own_app(tmp_path, before, components=("sidecar", "startup-probe", "liveness-probe")))
    spec = pod_spec(after)
    assert [container["name"] for container in spec["initContainers"]] == ["healthproxy", "first"]
    assert sidecar_of(spec) == sidecar_of(spec_of(K8S / "pod.yaml"))
    assert spec["containers"][0] == app(**{what: http_get(15180) for what in probes})
    assert spec["containers"][1] == {"name": "helper", "image": "helper:1"}
    assert schemas.refuses(after, schemas.since(NATIVE_SINCE)[-1]) == ""


def test_without_its_component_a_probe_stays_as_it_is(build: Build, tmp_path: Path) -> None:
    before = workload("Deployment", app(readiness=http_get(), startup=http_get(), liveness=http_get()))
    (after,) = build(own_app(tmp_path, before))
    ports = {what: probe["httpGet"]["port"] for what, probe in probes_of(apps_of(pod_spec(after))[0]).items()}
    assert ports == {"readiness": 15180, "startup": 8080, "liveness": 8080}


def test_several_workloads_are_served_at_once(build: Build, tmp_path: Path) -> None:
    one, other = workload("Deployment", app(readiness=http_get())), workload("StatefulSet", app(readiness=http_get()))
    for after in build(own_app(tmp_path, one, other)):
        assert probes_of(apps_of(pod_spec(after))[0])["readiness"] == http_get(15180)


def test_a_workload_without_such_a_probe_is_refused_by_name(build: Build, tmp_path: Path) -> None:
    before = workload("Deployment", app(readiness={"tcpSocket": {"port": 5432}}))
    with pytest.raises(RuntimeError, match=r"unable to find field .*readinessProbe\.httpGet\.port"):
        build(own_app(tmp_path, before))


def test_a_named_port_has_to_be_written_as_a_number_first(build: Build, tmp_path: Path) -> None:
    (after,) = build(own_app(tmp_path, workload("Deployment", app(readiness=http_get("http")))))
    port = apps_of(pod_spec(after))[0]["readinessProbe"]["httpGet"]["port"]
    assert port == "15180", "text is a name for Kubernetes: once kustomize makes a number of it, the component can say so"


def test_the_patch_that_the_component_shows_tells_healthproxy_of_other_probes(build: Build, tmp_path: Path) -> None:
    comment = (K8S / "components" / "sidecar" / "kustomization.yaml").read_text()
    shown = re.search(r"^#   patches:\n(?:^#    .*\n)+", comment, re.MULTILINE)
    assert shown
    (patches,) = parse(re.sub(r"^#   ", "", shown[0], flags=re.MULTILINE))
    before = workload("Deployment", app(readiness=http_get(9000, "/ready")))
    before["metadata"]["name"] = patches["patches"][0]["target"]["name"]
    (after,) = build(own_app(tmp_path, before, **patches))
    (probe,) = run_check_config(sidecar_of(pod_spec(after)))["probes"].items()
    assert (probe[0], probe[1]["httpGet"]["port"], probe[1]["timeoutSeconds"]) == ("/ready", 9000, 2)
