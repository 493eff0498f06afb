"""`run_probe()`: the one place with deadline, clock and exception → outcome; one file per protocol beside it.

Knows nothing of callers' connections, of sharing or of metrics.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from dataclasses import replace
from typing import assert_never

from healthproxy.failures import explain
from healthproxy.probe import GRPC, AllOf, AnyOf, Caller, HTTPGet, Outcome, Probe, Reason, TCPSocket
from healthproxy.probers.http import probe_http
from healthproxy.probers.members import AskMember, probe_members
from healthproxy.probers.stream import refuses
from healthproxy.probers.tcp import probe_tcp
from healthproxy.tls import tls_context

__all__ = ["prepare", "refuses", "run_probe"]

log = logging.getLogger(__name__)


def prepare(probe: Probe) -> None:
    """Do at start what the first request to the app would have to wait for."""
    if probe.endpoint is not None and probe.endpoint.tls is not None:
        tls_context(probe.endpoint.tls, probe.endpoint.protocol)
    if isinstance(probe.action, GRPC):
        importlib.import_module("healthproxy.probers.grpc")


def _no_members(key: str, _caller: Caller) -> asyncio.Future[Outcome]:
    raise LookupError(f"nobody knows how to ask {key}")


async def run_probe(probe: Probe, caller: Caller, ask_member: AskMember = _no_members) -> Outcome:
    """Ask the app once, within the probe's deadline; every failure comes back as a value. `ask_member` is for aggregates."""
    clock = asyncio.get_running_loop().time
    started = clock()
    try:
        async with asyncio.timeout(probe.deadline):
            outcome = await _perform(probe, caller, ask_member)
    except Exception as error:  # the one boundary
        known = explain(error, probe.deadline)
        if known is None:
            log.exception("probe %s: cannot ask the app", probe.key)
        outcome = known or Outcome(Reason.INTERNAL, "healthproxy could not ask the app; its log says why")
    return replace(outcome, duration=clock() - started)


async def _perform(probe: Probe, caller: Caller, ask_member: AskMember) -> Outcome:
    match probe.action:
        case HTTPGet():
            return await probe_http(probe.action, caller)
        case TCPSocket():
            return await probe_tcp(probe.action)
        case GRPC():
            from healthproxy.probers.grpc import probe_grpc  # 1.3 MB of memory: loaded only by those who probe gRPC

            return await probe_grpc(probe.action, caller)
        case AllOf() | AnyOf():
            return await probe_members(probe.action, caller, probe.deadline, ask_member)
        case _:
            assert_never(probe.action)
