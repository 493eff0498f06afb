"""The manifests in k8s/, held against the program and the rules of Kubernetes: neither may drift from the other.

What needs kubectl is in tests/e2e/test_manifests_k8s.py.
"""

import copy
from pathlib import Path
from typing import Any

import pytest

from healthproxy import __version__
from healthproxy.config import dump_config, parse_config
from healthproxy.open_port import OWN_HEALTH
from tests.manifests import (
    EXEMPTIONS,
    K8S,
    OVERLAYS,
    Value,
    annotations_in,
    apps_of,
    kustomization,
    probes_of,
    read,
    restricted_violations,
    run_check_config,
    sidecar_of,
    spec_of,
)

DEFAULTS = dump_config(parse_config({}, {}))
OPEN_PORT, ADMIN_PORT = (int(DEFAULTS[key].removeprefix(":")) for key in ("listen", "adminListen"))
MESH_USERS = {1337, 2102, 5678, 5995, 5996}
"""Istio, Linkerd, Kuma, Consul."""
GRACE_SECONDS = 30
"""What Kubernetes gives a pod that says nothing of its end."""

OTHER_ANNOTATIONS = {("config.kubernetes.io/local-config", "true")}

ANY: Any = ...
"""Whatever value; below a key `*`, whatever key."""
SELECTOR = {"matchLabels": {"*": ANY}, "matchExpressions": [{"key": ANY, "operator": ANY, "values": ANY}]}
MONITOR_ENDPOINT = dict.fromkeys(
    ("port", "path", "interval", "scrapeTimeout", "scheme", "honorLabels", "relabelings", "metricRelabelings", "filterRunning"),
    ANY,
)
ALERT = {**dict.fromkeys(("alert", "record", "expr", "for", "keep_firing_for"), ANY), "labels": ANY, "annotations": ANY}
METADATA = {"name": ANY, "namespace": ANY, "labels": {"*": ANY}, "annotations": {"*": ANY}}
CUSTOM: dict[str, Value] = {
    "security.istio.io/v1 PeerAuthentication": {
        "selector": {"matchLabels": {"*": ANY}},
        "mtls": {"mode": ANY},
        "portLevelMtls": {"*": {"mode": ANY}},
    },
    "monitoring.coreos.com/v1 PodMonitor": {
        "selector": SELECTOR,
        "namespaceSelector": {"any": ANY, "matchNames": ANY},
        "podMetricsEndpoints": [MONITOR_ENDPOINT],
        "jobLabel": ANY,
        "podTargetLabels": ANY,
    },
    "monitoring.coreos.com/v1 PrometheusRule": {"groups": [{"name": ANY, "interval": ANY, "rules": [ALERT]}]},
}
"""The fields that we know of the kinds that Kubernetes itself does not: a schema of theirs is not at hand."""

NATIVE = K8S / "pod.yaml"
PLAIN = K8S / "pod-before-1.29.yaml"
SIDECAR = K8S / "components" / "sidecar" / "sidecar.yaml"
BASE = K8S / "base"
FILES = sorted(K8S.rglob("*.yaml"))


def without(value: Value, *keys: str) -> Value:
    return {key: below for key, below in value.items() if key not in keys}


@pytest.mark.parametrize("path", [NATIVE, PLAIN, SIDECAR], ids=lambda path: path.stem)
def test_a_manifest_configures_the_programs_own_defaults(path):
    sidecar = sidecar_of(spec_of(path))
    assert run_check_config(sidecar) == DEFAULTS
    assert sidecar["image"] == f"healthproxy:{__version__}"
    assert sidecar["ports"] == [
        {"name": "hp-probes", "containerPort": OPEN_PORT},
        {"name": "hp-metrics", "containerPort": ADMIN_PORT},
    ]


@pytest.mark.parametrize("path", [NATIVE, PLAIN, SIDECAR], ids=lambda path: path.stem)
def test_healthproxys_own_probe_asks_for_its_own_health_and_gives_it_time(path):
    ((what, probe),) = probes_of(sidecar_of(spec_of(path))).items()
    assert what == "startup"
    assert probe["httpGet"] == {"path": "/-/ready", "port": OPEN_PORT}
    assert probe["httpGet"]["path"] in OWN_HEALTH
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 60, "a busy node takes its time"


@pytest.mark.parametrize("path", [NATIVE, PLAIN], ids=lambda path: path.stem)
def test_the_apps_probes_ask_healthproxy_for_what_it_is_configured_with(path):
    spec = spec_of(path)
    table = run_check_config(sidecar_of(spec))["probes"]
    (app,) = apps_of(spec)
    probes = probes_of(app)
    assert set(probes) == {"readiness", "startup"}, "liveness is for the user to choose"
    for what, probe in probes.items():
        assert probe["httpGet"]["port"] == OPEN_PORT
        known = table[probe["httpGet"]["path"]]
        assert probe["timeoutSeconds"] == known["timeoutSeconds"]
        if what == "readiness":  # of which the metrics tell period and threshold
            assert all(probe[field] == known[field] for field in ("periodSeconds", "failureThreshold"))


def test_the_app_is_untouched_but_for_the_ports_of_its_probes():
    (before,) = apps_of(spec_of(BASE / "deployment.yaml"))
    target = DEFAULTS["probes"]["/healthy"]["httpGet"]
    for path in (NATIVE, PLAIN):
        (after,) = apps_of(spec_of(path))
        restored = copy.deepcopy(after)
        for probe in probes_of(restored).values():
            probe["httpGet"]["port"] = target["port"]
        assert restored == before
    assert {probe["httpGet"]["path"] for probe in probes_of(before).values()} == {target["path"]}


def test_the_sidecar_is_the_same_everywhere_and_native_where_kubernetes_knows_that():
    native, plain, component = (spec_of(path) for path in (NATIVE, PLAIN, SIDECAR))
    assert [container["name"] for container in native["initContainers"]] == ["healthproxy"]
    assert sidecar_of(native) == sidecar_of(component)
    assert sidecar_of(native)["restartPolicy"] == "Always"
    assert "initContainers" not in plain
    assert sidecar_of(plain) == without(sidecar_of(native), "restartPolicy")


def test_draining_fits_into_the_grace_period_of_a_pod_that_ends():
    assert spec_of(PLAIN)["terminationGracePeriodSeconds"] == GRACE_SECONDS
    assert run_check_config(sidecar_of(spec_of(PLAIN)))["drainSeconds"] < GRACE_SECONDS


@pytest.mark.parametrize("path", [NATIVE, PLAIN, BASE / "deployment.yaml"], ids=lambda path: path.stem)
def test_a_pod_meets_pod_security_restricted(path):
    assert restricted_violations(spec_of(path)) == []


def test_the_sidecar_meets_it_in_any_pod_and_runs_as_nobody_else():
    sidecar = sidecar_of(spec_of(SIDECAR))
    assert restricted_violations({"containers": [sidecar]}) == []
    context = sidecar["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["runAsUser"] == context["runAsGroup"] == 65532
    assert context["runAsUser"] not in MESH_USERS


def test_what_scrapes_names_a_port_of_the_sidecar():
    names = {port["name"] for port in sidecar_of(spec_of(SIDECAR))["ports"]}
    monitors = [manifest for _, manifest in CUSTOM_OBJECTS if manifest["kind"] == "PodMonitor"]
    assert monitors
    for monitor in monitors:
        assert {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]} <= names
    assert all(len(name) <= 15 for name in names), "no port may have a longer name"


def test_the_sidecar_asks_for_what_it_needs_and_has_no_cpu_limit():
    resources = sidecar_of(spec_of(SIDECAR))["resources"]
    assert resources == {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "64Mi"}}


@pytest.mark.parametrize(
    ("change", "violation"),
    [
        ({"hostNetwork": True}, "hostNetwork"),
        ({"volumes": [{"name": "x", "hostPath": {"path": "/"}}]}, "volume hostPath"),
        ({"securityContext": {"runAsNonRoot": True}}, "shop: seccompProfile"),
        ({"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}, "shop: runAsNonRoot"),
        ({"securityContext": {"sysctls": []}}, "sysctls"),
        ({"containers": [{"name": "bare"}]}, "bare: allowPrivilegeEscalation"),
        ({"containers": [{"name": "bare"}]}, "bare: capabilities.drop"),
        ({"containers": [{"name": "net", "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}}]}, "net: capabilities.add"),
        ({"containers": [{"name": "root", "securityContext": {"runAsUser": 0}}]}, "root: runAsUser"),
        ({"containers": [{"name": "all", "securityContext": {"privileged": True}}]}, "all: privileged"),
        ({"containers": [{"name": "host", "ports": [{"hostPort": 1}]}]}, "host: hostPort"),
    ],
)
def test_what_breaks_restricted_is_found(change, violation):
    assert violation in restricted_violations(spec_of(NATIVE) | change)


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_an_overlay_sets_the_annotations_of_its_mesh_and_no_others(overlay):
    assert dict(annotations_in(kustomization(overlay))) == EXEMPTIONS[overlay.name][1]


def test_there_is_an_overlay_for_each_mesh():
    assert {overlay.name for overlay in OVERLAYS} == set(EXEMPTIONS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(K8S)))
def test_no_file_has_an_annotation_that_nobody_knows(path):
    known = {pair for _, annotations in EXEMPTIONS.values() for pair in annotations.items()} | OTHER_ANNOTATIONS
    assert {pair for manifest in read(path) for pair in annotations_in(manifest)} <= known


def test_the_network_policy_lets_nobody_but_the_node_to_the_open_port():
    (policy,) = read(BASE / "networkpolicy.yaml")
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    ports = [[port["port"] for port in rule["ports"]] for rule in policy["spec"]["ingress"]]
    assert ports == [[DEFAULTS["probes"]["/healthy"]["httpGet"]["port"]], [ADMIN_PORT]]
    assert all(set(port) == {"port"} for rule in policy["spec"]["ingress"] for port in rule["ports"]), "no endPort"


def test_a_policy_selects_the_pods_of_the_app_and_is_about_the_open_port():
    (policy,) = read(BASE / "networkpolicy.yaml")
    (deployment,) = read(BASE / "deployment.yaml")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    (peers,) = read(K8S / "overlays" / "istio-policy" / "peerauthentication.yaml")
    assert policy["spec"]["podSelector"] == peers["spec"]["selector"] == deployment["spec"]["selector"] == {"matchLabels": labels}
    assert peers["spec"]["portLevelMtls"] == {str(OPEN_PORT): {"mode": "DISABLE"}}


def unknown_fields(value: Any, known: Any, where: str = "") -> list[str]:
    if known is ANY:
        return []
    if isinstance(known, list):
        return [field for number, below in enumerate(value) for field in unknown_fields(below, known[0], f"{where}[{number}]")]
    found = []
    for key, below in value.items():
        allowed = known.get(key, known.get("*"))
        found += [f"{where}.{key}"] if allowed is None else unknown_fields(below, allowed, f"{where}.{key}")
    return found


CUSTOM_OBJECTS = [
    (path, manifest)
    for path in FILES
    for manifest in read(path)
    if "." in manifest.get("apiVersion", "").partition("/")[0]
    and not manifest["apiVersion"].partition("/")[0].endswith((".k8s.io", ".config.k8s.io"))
]


@pytest.mark.parametrize(("path", "manifest"), CUSTOM_OBJECTS, ids=lambda value: value.stem if isinstance(value, Path) else "")
def test_an_object_of_a_custom_kind_has_no_field_that_we_do_not_know(path, manifest):
    known = CUSTOM[f"{manifest['apiVersion']} {manifest['kind']}"]
    assert unknown_fields(manifest, {"apiVersion": ANY, "kind": ANY, "metadata": METADATA, "spec": known}) == []


def test_a_field_that_we_do_not_know_is_found():
    (manifest,) = read(K8S / "overlays" / "istio-policy" / "peerauthentication.yaml")
    typo = manifest | {"spec": {"portLevelMTLS": {"15180": {"mode": "DISABLE"}}, "mtls": {"modus": "STRICT"}}}
    known = CUSTOM["security.istio.io/v1 PeerAuthentication"]
    assert unknown_fields(typo["spec"], known) == [".portLevelMTLS", ".mtls.modus"]
