"""A real Prometheus gets healthproxy's metrics with a certificate of the mesh, or by a second excluded port, and not otherwise.

Owns what PodMonitor and annotations must say behind a mesh. What the metrics are is for others to test.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import trustme

from healthproxy.probe import join_host_port
from tests.e2e.prometheus import FIRST_SCRAPE_SECONDS, Prometheus
from tests.e2e.sidecar import Lines, eventually

from .callers import ADMIN_PORT, OPEN_PORT, PASSES
from .conftest import MakePod
from .envoy import Mode, Policy
from .network import POD, Network
from .pod import EXCLUDED, Mesh, Parts

pytestmark = pytest.mark.e2e

BOTH_EXCLUDED = Mesh("both ports excluded", Policy(Mode.STRICT, {}), (OPEN_PORT, ADMIN_PORT))
NOT_OVER_HTTP2 = {"enable_http2": False}
"""Prometheus and Envoy would agree on HTTP/2, and Envoy hand it as it is to a port that speaks HTTP/1.1."""


@contextlib.contextmanager
def prometheus_on(node: Network, program: str, directory: Path, jobs: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Run a Prometheus in a node's network that scrapes the pod each second, in several ways; yields its URL there."""
    targets = [{"targets": [join_host_port(address, ADMIN_PORT) for address in POD]}]
    scrapes = [{"job_name": name, "scrape_interval": "1s", "static_configs": targets, **job} for name, job in jobs.items()]
    (directory / "prometheus.yml").write_text(json.dumps({"scrape_configs": scrapes}))  # YAML takes JSON
    flags = [f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data", "--log.format=json"]
    command = [*node.prefix, program, *flags, "--web.listen-address=127.0.0.1:9090"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        log = Lines(process.stderr)
        try:
            log.next_with("Server is ready")
            yield "http://127.0.0.1:9090"
        finally:
            process.kill()
            process.wait()
            log.join()


def certificate_of(authority: trustme.CA, directory: Path) -> dict[str, Any]:
    """Write a certificate of the mesh where Prometheus finds it, as Istio's agent does; return what a scrape says of it."""
    pem = directory / "prometheus.pem"
    authority.issue_cert("prometheus.monitoring.svc").private_key_and_cert_chain_pem.write_to_path(pem)
    files = {"cert_file": str(pem), "key_file": str(pem)}
    return {"scheme": "https", "tls_config": {**files, "insecure_skip_verify": True}}  # the mesh names nobody by host


def wait_for_up(node: Network, prometheus: str, job: str, wanted: int) -> None:
    """Wait until Prometheus has scraped both addresses of the pod, and concludes this of both."""
    series = f'up{{job="{job}"}}'
    eventually(
        lambda: node.call(Prometheus(prometheus).values, series),
        lambda values: values == [wanted] * len(POD),
        FIRST_SCRAPE_SECONDS,
    )


def test_prometheus_scrapes_the_admin_port_with_a_certificate_of_the_mesh_and_not_without(
    make_pod: MakePod, parts: Parts, prometheus_binary: str, tmp_path: Path
) -> None:
    pod = make_pod(EXCLUDED)
    assert pod.kubelet.probe(POD[0]) == PASSES
    secure = certificate_of(parts.authority, tmp_path)
    jobs = {"member": {**secure, **NOT_OVER_HTTP2}, "member over HTTP/2": secure, "anybody": {}}
    with prometheus_on(pod.node, prometheus_binary, tmp_path, jobs) as prometheus:
        wait_for_up(pod.node, prometheus, "member", 1)
        wait_for_up(pod.node, prometheus, "member over HTTP/2", 0)
        wait_for_up(pod.node, prometheus, "anybody", 0)
        probes = 'healthproxy_probes_total{probe="/healthy",reason="ok",result="success"}'
        assert pod.node.call(Prometheus(prometheus).values, probes) == [1] * len(POD)


def test_with_the_admin_port_excluded_prometheus_scrapes_it_in_plain_text(
    make_pod: MakePod, prometheus_binary: str, tmp_path: Path
) -> None:
    pod = make_pod(BOTH_EXCLUDED)
    with prometheus_on(pod.node, prometheus_binary, tmp_path, {"anybody": {}}) as prometheus:
        wait_for_up(pod.node, prometheus, "anybody", 1)
        assert pod.node.call(Prometheus(prometheus).values, 'healthproxy_probe_success{probe="/healthy"}') == [0] * len(POD)
