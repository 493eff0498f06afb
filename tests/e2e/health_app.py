"""A gRPC app of its own process: the health service of grpcio-health-checking on one address.

Prints the name of the service whenever it is asked for one; reads from standard input what it shall answer from then on.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVICE = "shop.Api"


class Health(health.HealthServicer):  # type: ignore[misc]
    """Says who asks."""

    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        """Print the service and answer as the original does."""
        print(request.service, flush=True)
        return super().Check(request, context)


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address", help="HOST:PORT or unix:PATH")
    parser.add_argument("--pem", type=Path, help="private key and certificate chain, for TLS")
    arguments = parser.parse_args()
    server = grpc.server(ThreadPoolExecutor(max_workers=8), options=(("grpc.so_reuseport", 0),))
    servicer = Health()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    if arguments.pem:
        pem = arguments.pem.read_bytes()
        server.add_secure_port(arguments.address, grpc.ssl_server_credentials([(pem, pem)]))
    else:
        server.add_insecure_port(arguments.address)
    servicer.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    server.start()
    for line in sys.stdin:
        servicer.set(SERVICE, health_pb2.HealthCheckResponse.ServingStatus.Value(line.strip()))
        print(f"says {line.strip()}", flush=True)


if __name__ == "__main__":
    main()
