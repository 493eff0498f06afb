"""The story of the README behind a real Envoy: strict mTLS rejects the kubelet's probes, healthproxy gets it the app's verdict,
each way to exempt its port works, and nothing else is opened by it.

Owns what is seen from the node. Every step is made over IPv4 and over IPv6.
"""

from __future__ import annotations

import signal
import socket

import pytest
import trustme

from healthproxy.probe import join_host_port
from tests.app import stranger
from tests.e2e.apps import SICK, WELL
from tests.e2e.sidecar import eventually

from .callers import ADMIN_PORT, APP_PORT, OPEN_PORT, PASSES, REJECTED, Verdict, ask, fails, member_of, ports_that_answer, say
from .conftest import MakePod
from .envoy import ADMIN_PORT as ENVOY_PORT
from .envoy import MESH_HTTP
from .network import INBOUND_PORT, NODE, POD, STRANGER
from .pod import EXCLUDED, OTHER_PORT, PERMISSIVE, PORT_LEVEL, STRICT, Mesh, Parts, Pod

pytestmark = pytest.mark.e2e

over_ipv4_and_ipv6 = pytest.mark.parametrize("address", POD, ids=["IPv4", "IPv6"])
however_exempt = pytest.mark.parametrize("mesh", [EXCLUDED, PORT_LEVEL, PERMISSIVE], ids=str)
exempt_under_strict = pytest.mark.parametrize("mesh", [EXCLUDED, PORT_LEVEL], ids=str)


def hears(pod: Pod, address: str, verdict: Verdict, path: str = "/healthy") -> None:
    """Probe, as the kubelet goes on doing, until the verdict is this one."""
    eventually(lambda: pod.kubelet.probe(address, path=path), lambda heard: heard == verdict)


def is_rejected(pod: Pod, address: str, port: int) -> None:
    """Probe until the mesh rejects it, which it does at once where the machine is not busy."""
    eventually(lambda: pod.kubelet.probe(address, port), lambda heard: heard.rejected)


def has_seen(pod: Pod, requests: int) -> None:
    """Check how many requests the app has had; it writes them down a moment after its answers."""
    assert len(eventually(pod.app.seen, lambda seen: len(seen) >= requests)) == requests


# The problem


@over_ipv4_and_ipv6
def test_strict_mtls_rejects_the_kubelets_probe_of_an_app_that_is_well(address: str, make_pod: MakePod, parts: Parts) -> None:
    pod = make_pod(STRICT)
    is_rejected(pod, address, APP_PORT)
    # It is the certificate that counts: the same request with one of the mesh passes, and is the first that the app sees.
    assert pod.node.call(ask, address, APP_PORT, "/healthy", tls=member_of(parts.authority)) == (200, "ok")
    has_seen(pod, 1)


@over_ipv4_and_ipv6
@pytest.mark.parametrize("offers", [MESH_HTTP, ("http/1.1",)], ids=["as a proxy", "as anybody"])
@pytest.mark.parametrize("authority", [None, stranger()], ids=["none", "a stranger's"])
def test_no_certificate_but_one_of_the_mesh_will_do(
    address: str, offers: tuple[str, ...], authority: trustme.CA | None, make_pod: MakePod, parts: Parts
) -> None:
    pod = make_pod(STRICT)
    with pytest.raises(REJECTED):
        pod.node.call(ask, address, APP_PORT, "/healthy", tls=member_of(authority, offers))
    assert pod.node.call(ask, address, APP_PORT, "/healthy", tls=member_of(parts.authority, offers)) == (200, "ok")
    has_seen(pod, 1)


@over_ipv4_and_ipv6
def test_healthproxy_alone_is_no_cure_its_port_must_be_exempt(address: str, make_pod: MakePod) -> None:
    is_rejected(make_pod(STRICT), address, OPEN_PORT)


# The cure


def tell_the_story(pod: Pod, address: str) -> None:
    """Let the app turn sick, hang, die and come back; the kubelet must conclude the same each time."""
    hears(pod, address, PASSES)
    pod.app.reload(SICK)
    hears(pod, address, fails("503 Service Unavailable"))
    pod.app.reload(WELL)
    hears(pod, address, PASSES)
    pod.app.send(signal.SIGSTOP)
    hears(pod, address, fails("504 Gateway Timeout"))
    pod.app.send(signal.SIGCONT)
    hears(pod, address, PASSES)
    pod.app.end(signal.SIGKILL)
    hears(pod, address, fails("502 Bad Gateway"))
    pod.network.call(pod.app.start)
    hears(pod, address, PASSES)
    # It came to the app over loopback, past Envoy, as the kubelet would have sent it.
    request = f"GET /healthy HTTP/1.1|{join_host_port(address, APP_PORT)}|kube-probe/1.36|*/*|close|-"
    assert {seen.partition("|")[2] for seen in pod.app.seen()} == {request}


@over_ipv4_and_ipv6
@however_exempt
def test_through_healthproxy_the_kubelet_gets_the_apps_verdict_whatever_becomes_of_it(
    address: str, mesh: Mesh, make_pod: MakePod
) -> None:
    tell_the_story(make_pod(mesh), address)


@however_exempt
def test_in_a_pod_with_ipv6_alone_it_is_the_same(mesh: Mesh, make_pod: MakePod) -> None:
    pod = make_pod(mesh, families=(6,))
    assert pod.kubelet.probe(POD[0]).verdict == "failure"
    tell_the_story(pod, POD[1])


@pytest.mark.parametrize(("host", "address"), [(POD[0], POD[0]), (f"[{POD[1]}]", POD[1])], ids=["IPv4", "IPv6"])
def test_an_app_that_listens_on_the_pods_address_alone_is_reached_past_envoy(host: str, address: str, make_pod: MakePod) -> None:
    pod = make_pod(EXCLUDED, "--app-host", address, hosts=(f"{host}:",))
    hears(pod, address, PASSES)
    hears(make_pod(EXCLUDED, hosts=(f"{host}:",)), address, fails("502 Bad Gateway"))


@over_ipv4_and_ipv6
def test_a_tcp_probe_is_answered_by_envoy_for_a_dead_app_and_through_healthproxy_by_the_app(
    address: str, make_pod: MakePod
) -> None:
    pod = make_pod(EXCLUDED, "--probe", f"/tcp=tcp://127.0.0.1:{APP_PORT}")
    hears(pod, address, PASSES, "/tcp")
    pod.app.end(signal.SIGKILL)
    pod.node.call(socket.create_connection, (address, APP_PORT)).close()
    hears(pod, address, fails("502 Bad Gateway"), "/tcp")


@over_ipv4_and_ipv6
def test_without_healthproxy_the_kubelet_is_refused_or_behind_envoy_gets_a_503(address: str, make_pod: MakePod) -> None:
    excluded, port_level = make_pod(EXCLUDED), make_pod(PORT_LEVEL)
    for pod in (excluded, port_level):
        hears(pod, address, PASSES)
        pod.sidecar.stop(signal.SIGKILL)
    eventually(lambda: excluded.kubelet.probe(address), lambda heard: heard.detail.endswith(": connection refused"))
    hears(port_level, address, fails("503 Service Unavailable"))


# Nothing else is opened


@over_ipv4_and_ipv6
@exempt_under_strict
def test_from_the_node_nothing_but_the_open_port_answers_in_plain_text(address: str, mesh: Mesh, make_pod: MakePod) -> None:
    pod = make_pod(mesh)
    ports = pod.network.listening_ports()
    assert ports == {APP_PORT, OTHER_PORT, OPEN_PORT, ADMIN_PORT, INBOUND_PORT, ENVOY_PORT}
    assert pod.node.call(ports_that_answer, address, ports) == {OPEN_PORT}
    has_seen(pod, 1)


@over_ipv4_and_ipv6
def test_the_same_search_finds_all_of_a_permissive_pod(address: str, make_pod: MakePod) -> None:
    pod = make_pod(PERMISSIVE)
    found = pod.node.call(ports_that_answer, address, pod.network.listening_ports())
    assert found >= {APP_PORT, OTHER_PORT, OPEN_PORT, ADMIN_PORT}


@over_ipv4_and_ipv6
@exempt_under_strict
def test_the_apps_other_paths_and_ports_cannot_be_reached_through_the_open_port(
    address: str, mesh: Mesh, make_pod: MakePod, parts: Parts
) -> None:
    pod = make_pod(mesh)
    for start in (
        "GET /healthy/secret HTTP/1.1",
        "GET /healthy?secret HTTP/1.1",
        f"GET http://127.0.0.1:{OTHER_PORT}/healthy/secret HTTP/1.1",
        f"GET //127.0.0.1:{OTHER_PORT}/healthy HTTP/1.1",
        f"GET /{OTHER_PORT}/healthy HTTP/1.1",
        "POST /healthy HTTP/1.1\r\nContent-Length: 0",
        f"CONNECT 127.0.0.1:{OTHER_PORT} HTTP/1.1",
        "GET /metrics HTTP/1.1",
    ):
        answer = pod.node.call(
            say, address, OPEN_PORT, f"{start}\r\nHost: 127.0.0.1:{OTHER_PORT}\r\nConnection: close\r\n\r\n".encode()
        )
        assert answer.startswith(b"HTTP/1.1 4"), (start, answer)
    # Members of the mesh can reach them, and are the first to do so.
    for port, path in ((APP_PORT, "/healthy/secret"), (OTHER_PORT, "/healthy")):
        assert pod.node.call(ask, address, port, path, tls=member_of(parts.authority)) == (200, "ok")
    has_seen(pod, 2)


@over_ipv4_and_ipv6
@exempt_under_strict
def test_the_admin_port_wants_a_certificate_of_the_mesh(address: str, mesh: Mesh, make_pod: MakePod, parts: Parts) -> None:
    pod = make_pod(mesh)
    is_rejected(pod, address, ADMIN_PORT)
    status, text = pod.node.call(ask, address, ADMIN_PORT, "/metrics", tls=member_of(parts.authority))
    assert (status, 'healthproxy_probe_success{probe="/healthy"}' in text) == (200, True)


# Who may use it

from_the_node = tuple(flag for node in NODE for flag in ("--allow-from", node))


@pytest.mark.parametrize(("address", "somebody"), list(zip(POD, STRANGER, strict=True)), ids=["IPv4", "IPv6"])
def test_behind_an_excluded_port_the_nodes_address_can_be_the_only_one_allowed(
    address: str, somebody: str, make_pod: MakePod
) -> None:
    pod = make_pod(EXCLUDED, *from_the_node)
    hears(pod, address, PASSES)
    assert pod.node.call(ask, address, OPEN_PORT, "/healthy", source=somebody)[0] == 403


@over_ipv4_and_ipv6
@pytest.mark.parametrize("mesh", [PORT_LEVEL, PERMISSIVE], ids=str)
def test_behind_envoy_every_caller_comes_from_envoys_own_address(address: str, mesh: Mesh, make_pod: MakePod) -> None:
    hears(make_pod(mesh, *from_the_node), address, fails("403 Forbidden"))
    hears(make_pod(mesh, "--allow-from", "127.0.0.6", "--allow-from", "::6"), address, PASSES)
