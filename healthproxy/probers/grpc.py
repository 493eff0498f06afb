"""The gRPC prober: one health check over h2c or TLS. Imported only where a gRPC probe is configured, for the memory of h2.

Knows no deadline, no clock and no metric, and lets every error out: they belong to `run_probe`.
"""

from __future__ import annotations

import contextlib

from healthproxy.grpc_health import HealthCheck
from healthproxy.probe import GRPC, Caller, Outcome
from healthproxy.probers.stream import open_stream


async def probe_grpc(action: GRPC, caller: Caller) -> Outcome:
    """Ask the app's health service as the kubelet would and judge what it answers."""
    call = HealthCheck(action, caller)
    stream = await open_stream(action.endpoint, call.to_send())
    try:
        outcome = None
        while outcome is None:
            outcome = call.receive(await stream.receive())
            with contextlib.suppress(ConnectionError):  # what the app said before it left is still to be read
                await stream.send(call.to_send())
        return outcome
    finally:
        stream.close()
