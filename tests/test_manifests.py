"""Probes as charts and manifests that people know have them, pasted whole below a key: read, or refused with what to do."""

from typing import NamedTuple

import pytest

from healthproxy.config import parse_config
from healthproxy.probe import GRPC, Action, HTTPGet, TCPSocket
from healthproxy.problems import ConfigError

EXEC = (
    ".exec: cannot be used; no command can be run in the app's container from here; "
    "ask a port of the app with httpGet, tcpSocket or grpc, or leave this probe with the app's container"
)
LOOPBACK = "127.0.0.1"


def named(port: str, kind: str = "httpGet") -> str:
    return f".{kind}.port: port '{port}' is a name, and names resolve only in the probed container; give the number"


class Row(NamedTuple):
    """One stanza and what becomes of it: the action with `timeoutSeconds`, or the refusals."""

    name: str
    stanza: str
    action: Action | None = None
    timeout: float = 1
    refused: tuple[str, ...] = ()


READ = [
    Row("nginx, as in the tutorials", "httpGet: {path: /, port: 80}\ninitialDelaySeconds: 5\nperiodSeconds: 5", HTTPGet(80)),
    Row(
        "Kubernetes documentation, liveness with a header",
        "httpGet:\n  path: /healthz\n  port: 8080\n  httpHeaders:\n  - name: Custom-Header\n    value: Awesome\n"
        "initialDelaySeconds: 3\nperiodSeconds: 3",
        HTTPGet(8080, "/healthz", headers=(("Custom-Header", "Awesome"),)),
    ),
    Row(
        "Kubernetes documentation, goproxy",
        "tcpSocket:\n  port: 8080\ninitialDelaySeconds: 15\nperiodSeconds: 10",
        TCPSocket(8080),
    ),
    Row("Kubernetes documentation, etcd by gRPC", "grpc:\n  port: 2379\ninitialDelaySeconds: 10", GRPC(2379)),
    Row(
        "CloudNativePG, readiness",
        "failureThreshold: 3\nhttpGet:\n  path: /readyz\n  port: 8000\n  scheme: HTTPS\n"
        "periodSeconds: 10\nsuccessThreshold: 1\ntimeoutSeconds: 5",
        HTTPGet(8000, "/readyz", scheme="https"),
        5,
    ),
    Row(
        "Zalando postgres-operator, Patroni",
        "failureThreshold: 3\nhttpGet:\n  path: /readiness\n  port: 8008\n  scheme: HTTP\n"
        "initialDelaySeconds: 6\nperiodSeconds: 10\nsuccessThreshold: 1\ntimeoutSeconds: 5",
        HTTPGet(8008, "/readiness"),
        5,
    ),
    Row(
        "Argo CD, argocd-server",
        "httpGet:\n  path: /healthz?full=true\n  port: 8080\ninitialDelaySeconds: 3\nperiodSeconds: 30",
        HTTPGet(8080, "/healthz?full=true"),
    ),
    Row(
        "Argo CD, argocd-repo-server",
        "failureThreshold: 3\nhttpGet:\n  path: /healthz?full=true\n  port: 8084\n"
        "initialDelaySeconds: 30\nperiodSeconds: 30\ntimeoutSeconds: 5",
        HTTPGet(8084, "/healthz?full=true"),
        5,
    ),
    Row(
        "Istio, istio-proxy readiness",
        "failureThreshold: 4\nhttpGet:\n  path: /healthz/ready\n  port: 15021\n  scheme: HTTP\n"
        "periodSeconds: 15\nsuccessThreshold: 1\ntimeoutSeconds: 3",
        HTTPGet(15021, "/healthz/ready"),
        3,
    ),
    Row(
        "Istio, istio-proxy startup",
        "failureThreshold: 600\nhttpGet:\n  path: /healthz/ready\n  port: 15021\nperiodSeconds: 1\ntimeoutSeconds: 3",
        HTTPGet(15021, "/healthz/ready"),
        3,
    ),
    Row(
        "Istio, a probe that the injector rewrote",
        "httpGet:\n  path: /app-health/httpbin/readyz\n  port: 15020\n  scheme: HTTP",
        HTTPGet(15020, "/app-health/httpbin/readyz"),
    ),
    Row("httpbin", "httpGet:\n  path: /status/200\n  port: 8080", HTTPGet(8080, "/status/200")),
    Row(
        "Spring Boot, readiness",
        "httpGet:\n  path: /actuator/health/readiness\n  port: 8080\ninitialDelaySeconds: 10\nperiodSeconds: 5",
        HTTPGet(8080, "/actuator/health/readiness"),
    ),
    Row(
        "kubeadm until 1.33, kube-apiserver",
        "failureThreshold: 8\nhttpGet:\n  host: 192.168.1.10\n  path: /livez\n  port: 6443\n  scheme: HTTPS\n"
        "initialDelaySeconds: 10\nperiodSeconds: 10\ntimeoutSeconds: 15",
        HTTPGet(6443, "/livez", "192.168.1.10", "192.168.1.10", "https"),
        15,
    ),
    Row(
        "kubeadm until 1.33, etcd",
        "failureThreshold: 24\nhttpGet:\n  host: 127.0.0.1\n  path: /readyz\n  port: 2381\n  scheme: HTTP\n"
        "initialDelaySeconds: 10\nperiodSeconds: 10\ntimeoutSeconds: 15",
        HTTPGet(2381, "/readyz", LOOPBACK),
        15,
    ),
    Row(
        "CoreDNS, liveness",
        "httpGet:\n  path: /health\n  port: 8080\n  scheme: HTTP\n"
        "initialDelaySeconds: 60\ntimeoutSeconds: 5\nsuccessThreshold: 1\nfailureThreshold: 5",
        HTTPGet(8080, "/health"),
        5,
    ),
    Row("CoreDNS, readiness", "httpGet:\n  path: /ready\n  port: 8181\n  scheme: HTTP", HTTPGet(8181, "/ready")),
    Row(
        "cert-manager, webhook",
        "failureThreshold: 3\nhttpGet:\n  path: /healthz\n  port: 6080\n  scheme: HTTP\n"
        "initialDelaySeconds: 5\nperiodSeconds: 5\nsuccessThreshold: 1\ntimeoutSeconds: 1",
        HTTPGet(6080, "/healthz"),
    ),
    Row(
        "ingress-nginx, controller",
        "failureThreshold: 3\nhttpGet:\n  path: /healthz\n  port: 10254\n  scheme: HTTP\n"
        "initialDelaySeconds: 10\nperiodSeconds: 10\nsuccessThreshold: 1\ntimeoutSeconds: 1",
        HTTPGet(10254, "/healthz"),
    ),
    Row(
        "Prometheus, community chart",
        "httpGet:\n  path: /-/ready\n  port: 9090\n  scheme: HTTP\ninitialDelaySeconds: 30\nperiodSeconds: 5\n"
        "timeoutSeconds: 4\nfailureThreshold: 3\nsuccessThreshold: 1",
        HTTPGet(9090, "/-/ready"),
        4,
    ),
    Row(
        "Grafana, liveness",
        "failureThreshold: 10\nhttpGet: {path: /api/health, port: 3000}\ninitialDelaySeconds: 60\ntimeoutSeconds: 30",
        HTTPGet(3000, "/api/health"),
        30,
    ),
    Row(
        "gRPC app, online boutique",
        "initialDelaySeconds: 5\nperiodSeconds: 15\ngrpc:\n  port: 50051",
        GRPC(50051),
    ),
    Row(
        "gRPC app, as `kubectl get -o yaml` writes it",
        'failureThreshold: 3\ngrpc:\n  port: 50051\n  service: ""\nperiodSeconds: 10\nsuccessThreshold: 1\ntimeoutSeconds: 1',
        GRPC(50051),
    ),
    Row("gRPC app, one service", "grpc:\n  port: 50051\n  service: liveness", GRPC(50051, "liveness")),
    Row(
        "Contour, Envoy",
        "httpGet:\n  path: /ready\n  port: 8002\ninitialDelaySeconds: 3\nperiodSeconds: 4",
        HTTPGet(8002, "/ready"),
    ),
    Row("Contour, liveness", "httpGet:\n  path: /healthz\n  port: 8000", HTTPGet(8000, "/healthz")),
    Row("Contour, readiness", "tcpSocket:\n  port: 8001\nperiodSeconds: 10", TCPSocket(8001)),
    Row(
        "Keycloak, StatefulSet of the documentation",
        "httpGet:\n  path: /health/ready\n  port: 9000\nperiodSeconds: 10\nfailureThreshold: 3",
        HTTPGet(9000, "/health/ready"),
    ),
    Row(
        "Keycloak, operator with TLS",
        "failureThreshold: 3\nhttpGet:\n  path: /health/ready\n  port: 9000\n  scheme: HTTPS\nperiodSeconds: 10",
        HTTPGet(9000, "/health/ready", scheme="https"),
    ),
    Row(
        "Vault, chart with readinessProbe.path",
        'httpGet:\n  path: "/v1/sys/health?standbyok=true&sealedcode=204&uninitcode=204"\n  port: 8200\n  scheme: HTTPS\n'
        "failureThreshold: 2\ninitialDelaySeconds: 5\nperiodSeconds: 5\nsuccessThreshold: 1\ntimeoutSeconds: 3",
        HTTPGet(8200, "/v1/sys/health?standbyok=true&sealedcode=204&uninitcode=204", scheme="https"),
        3,
    ),
]

REFUSED = [
    Row("nginx, Bitnami", "tcpSocket:\n  port: http\ntimeoutSeconds: 5", refused=(named("http", "tcpSocket"),)),
    Row("nginx, Bitnami readiness", "httpGet:\n  path: /\n  port: http\ninitialDelaySeconds: 5", refused=(named("http"),)),
    Row("helm create", "httpGet:\n  path: /\n  port: http", refused=(named("http"),)),
    Row(
        "PostgreSQL, Bitnami",
        "failureThreshold: 6\ninitialDelaySeconds: 30\nperiodSeconds: 10\nsuccessThreshold: 1\ntimeoutSeconds: 5\n"
        'exec:\n  command:\n    - /bin/sh\n    - -c\n    - exec pg_isready -U "postgres" -h 127.0.0.1 -p 5432',
        refused=(EXEC,),
    ),
    Row(
        "Redis, Bitnami",
        "timeoutSeconds: 6\nexec:\n  command:\n    - sh\n    - -c\n    - /health/ping_readiness_local.sh 1",
        refused=(EXEC,),
    ),
    Row("Kafka, Bitnami", "failureThreshold: 6\ntcpSocket:\n  port: controller", refused=(named("controller", "tcpSocket"),)),
    Row(
        "Kafka, Strimzi",
        "exec:\n  command:\n  - /opt/kafka/kafka_readiness.sh\ninitialDelaySeconds: 15\ntimeoutSeconds: 5",
        refused=(EXEC,),
    ),
    Row("Argo CD, chart", "httpGet:\n  path: /healthz?full=true\n  port: metrics", refused=(named("metrics"),)),
    Row(
        "kubeadm from 1.34, kube-apiserver",
        "failureThreshold: 3\nhttpGet:\n  host: 172.16.0.2\n  path: /readyz\n  port: probe-port\n  scheme: HTTPS\n"
        "periodSeconds: 1\ntimeoutSeconds: 15",
        refused=(named("probe-port"),),
    ),
    Row(
        "kubeadm from 1.34, etcd",
        "failureThreshold: 8\nhttpGet:\n  host: 127.0.0.1\n  path: /livez\n  port: probe-port\n  scheme: HTTP",
        refused=(named("probe-port"),),
    ),
    Row(
        "metrics-server",
        "failureThreshold: 3\nhttpGet:\n  path: /readyz\n  port: https\n  scheme: HTTPS\nperiodSeconds: 10",
        refused=(named("https"),),
    ),
    Row("cert-manager, webhook by name", "httpGet:\n  path: /livez\n  port: healthcheck", refused=(named("healthcheck"),)),
    Row(
        "Prometheus, operator",
        "failureThreshold: 3\nhttpGet:\n  path: /-/ready\n  port: web\n  scheme: HTTP\nperiodSeconds: 5\ntimeoutSeconds: 3",
        refused=(named("web"),),
    ),
    Row("Grafana, by name", "httpGet:\n  path: /api/health\n  port: grafana", refused=(named("grafana"),)),
    Row(
        "CockroachDB",
        "httpGet:\n  path: /health?ready=1\n  port: http\n  scheme: HTTPS\ninitialDelaySeconds: 10\nperiodSeconds: 5\n"
        "failureThreshold: 2",
        refused=(named("http"),),
    ),
    Row("RabbitMQ, cluster operator", "tcpSocket:\n  port: amqp\ninitialDelaySeconds: 10", refused=(named("amqp", "tcpSocket"),)),
    Row(
        "RabbitMQ, Bitnami",
        "exec:\n  command:\n    - sh\n    - -ec\n    - rabbitmq-diagnostics -q check_running\ntimeoutSeconds: 20",
        refused=(EXEC,),
    ),
    Row(
        "MySQL, Kubernetes documentation",
        'exec:\n  command: ["mysql", "-h", "127.0.0.1", "-e", "SELECT 1"]\ninitialDelaySeconds: 5\nperiodSeconds: 2',
        refused=(EXEC,),
    ),
    Row("MongoDB, Bitnami", "exec:\n  command:\n    - /bitnami/scripts/readiness-probe.sh\ntimeoutSeconds: 5", refused=(EXEC,)),
    Row(
        "Elasticsearch, ECK",
        "exec:\n  command:\n  - bash\n  - -c\n  - /mnt/elastic-internal/scripts/readiness-probe-script.sh\ntimeoutSeconds: 5",
        refused=(EXEC,),
    ),
    Row(
        "Vault, chart",
        'exec:\n  command: ["/bin/sh", "-ec", "vault status -tls-skip-verify"]\nfailureThreshold: 2\nperiodSeconds: 5',
        refused=(EXEC,),
    ),
    Row(
        "pasted with the line above it",
        "readinessProbe:\n  httpGet:\n    path: /ready\n    port: 8181",
        refused=(".readinessProbe: cannot be used; write here what stands below it",),
    ),
    Row(
        "pasted with the wrong indentation",
        "httpGet:\npath: /ready\nport: 8181",
        refused=(
            ".path: cannot be used; write it one level down, below httpGet, tcpSocket or grpc",
            ".port: cannot be used; write it one level down, below httpGet, tcpSocket or grpc",
            ": has nothing below httpGet; write its fields there, two blanks further in",
        ),
    ),
    Row(
        "pasted with Helm's default of a missing value",
        'httpGet:\n  path: /\n  port: ""\ntimeoutSeconds: 0',
        refused=(
            ".timeoutSeconds: 0 is not positive; give seconds above 0",
            ".httpGet.port: '' is no port; give a number from 1 to 65535",
        ),
    ),
]


def paste(row: Row) -> str:
    """Return a config file with the stanza below the key /ready."""
    lines = "".join([f"    {line}\n" for line in row.stanza.splitlines()])
    return f"probes:\n  /ready:\n{lines}"


@pytest.mark.parametrize("row", READ, ids=lambda row: row.name)
def test_a_known_probe_is_read_as_it_is_written(row, tmp_path):
    file = tmp_path / "healthproxy.yaml"
    file.write_text(paste(row))
    (probe,) = parse_config({"config": str(file)}, {}).probes
    assert (probe.key, probe.action, probe.timeout) == ("/ready", row.action, row.timeout)


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.name)
def test_a_known_probe_that_cannot_be_served_is_refused_with_what_to_do(row, tmp_path):
    file = tmp_path / "healthproxy.yaml"
    file.write_text(paste(row))
    with pytest.raises(ConfigError) as caught:
        parse_config({"config": str(file)}, {})
    assert caught.value.problems == [f"{file}: probes./ready{line}" for line in row.refused]
