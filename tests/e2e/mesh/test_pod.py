"""The real image in a real pod, from the manifests in k8s/, behind a real Envoy: started, shaken and stopped as by a kubelet.

Owns what a user sees who has applied them. What each exemption lets through in detail belongs to `test_mesh.py`.
"""

from __future__ import annotations

import functools
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.sidecar import eventually

from .callers import ADMIN_PORT, APP_PORT, OPEN_PORT, PASSES, Verdict, ask, fails, member_of, ports_that_answer
from .containers import APP, SIDECAR, Containers, read_manifest, running
from .network import POD
from .pod import Parts

pytestmark = pytest.mark.e2e

NATIVE, PLAIN = "pod.yaml", "pod-before-1.29.yaml"
every_manifest = pytest.mark.parametrize("pod", [NATIVE, PLAIN, "overlays/istio", "overlays/istio-policy"], indirect=True)


@pytest.fixture
def pod(request: pytest.FixtureRequest, parts: Parts, tmp_path: Path) -> Iterator[Containers]:
    """A pod of k8s/ that is ready."""
    with running(read_manifest(request.param), parts, tmp_path) as containers:
        hears(containers, PASSES)
        yield containers


@pytest.fixture
def leaving_pod(request: pytest.FixtureRequest, parts: Parts, tmp_path: Path) -> Iterator[Containers]:
    """A pod of k8s/ that is ready, and about to be deleted."""
    with running(read_manifest(request.param), parts, tmp_path, restarts=False) as containers:
        hears(containers, PASSES)
        yield containers


def hears(pod: Containers, verdict: Verdict) -> None:
    """Probe over IPv4 and IPv6, as the kubelet goes on doing, until the verdict is this one."""
    for address in POD:
        eventually(functools.partial(pod.probe, address), lambda heard: heard == verdict)


@every_manifest
def test_in_a_pod_from_the_manifests_the_kubelet_gets_the_apps_verdict_whatever_becomes_of_it(pod: Containers) -> None:
    pod.send(APP, signal.SIGUSR1)
    hears(pod, fails("503 Service Unavailable"))
    pod.send(APP, signal.SIGUSR1)
    hears(pod, PASSES)
    pod.send(APP, signal.SIGSTOP)
    hears(pod, fails("504 Gateway Timeout"))
    pod.send(APP, signal.SIGCONT)
    hears(pod, PASSES)
    # It is killed, and restarted as the pod's restartPolicy says.
    died = pod.pid(APP)
    pod.send(APP, signal.SIGKILL)
    eventually(lambda: pod.probe(POD[0]), lambda heard: heard == fails("502 Bad Gateway"))
    hears(pod, PASSES)
    assert pod.pid(APP) not in (0, died)
    # So is healthproxy: the kubelet meets nobody, or Envoy with a 503 of its own, and then the app's verdict as before.
    pod.send(SIDECAR, signal.SIGKILL)
    eventually(lambda: pod.probe(POD[0]), lambda heard: heard.verdict == "failure")
    hears(pod, PASSES)


@every_manifest
def test_in_a_pod_from_the_manifests_nothing_but_the_open_port_answers_in_plain_text(pod: Containers, parts: Parts) -> None:
    ports = pod.network.listening_ports()
    assert ports >= {APP_PORT, OPEN_PORT, ADMIN_PORT}
    for address in POD:
        assert pod.node.call(ports_that_answer, address, ports) == {OPEN_PORT}
        assert pod.node.call(ask, address, ADMIN_PORT, "/metrics", tls=member_of(parts.authority))[0] == 200
        assert pod.node.call(ask, address, OPEN_PORT, "/secret")[0] == 404
        assert pod.node.call(ask, address, APP_PORT, "/secret", tls=member_of(parts.authority))[0] == 200


@pytest.mark.parametrize("leaving_pod", [PLAIN], indirect=True)
def test_told_to_stop_with_its_app_it_answers_truthfully_until_the_app_has_drained(leaving_pod: Containers) -> None:
    leaving_pod.stop(APP, SIDECAR)
    eventually(lambda: leaving_pod.log(SIDECAR), lambda text: "draining" in text)
    hears(leaving_pod, fails("503 Service Unavailable"))  # the app takes no more customers, and still serves those it has
    leaving_pod.send(APP, signal.SIGUSR2)
    assert (leaving_pod.exit_status(APP), leaving_pod.exit_status(SIDECAR)) == (0, 0)
    assert leaving_pod.log(SIDECAR).endswith("stopped: the app has gone\n")


@pytest.mark.parametrize("leaving_pod", [NATIVE], indirect=True)
def test_a_native_sidecar_answers_until_the_app_has_gone_and_then_stops_at_once(leaving_pod: Containers) -> None:
    leaving_pod.stop(APP)
    hears(leaving_pod, fails("503 Service Unavailable"))
    leaving_pod.send(APP, signal.SIGUSR2)
    assert leaving_pod.exit_status(APP) == 0
    hears(leaving_pod, fails("502 Bad Gateway"))
    assert "draining" not in leaving_pod.log(SIDECAR)
    leaving_pod.stop(SIDECAR)
    assert leaving_pod.exit_status(SIDECAR) == 0
    assert leaving_pod.log(SIDECAR).endswith("stopped: the app has gone\n")
