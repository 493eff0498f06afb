"""`run_probe()`: the one place with deadline, clock and exception → outcome; one file per protocol beside it.

Knows nothing of callers' connections, of sharing or of metrics.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import assert_never

from healthproxy.failures import explain
from healthproxy.probe import Action, Caller, HTTPGet, Outcome, Probe, Reason
from healthproxy.probers.http import probe_http
from healthproxy.probers.stream import refuses
from healthproxy.tls import tls_context

__all__ = ["prepare", "refuses", "run_probe"]

log = logging.getLogger(__name__)


def prepare(probe: Probe) -> None:
    """Do at start what the first request to the app would have to wait for."""
    if probe.action.scheme == "https":
        tls_context(probe.action.tls)


async def run_probe(probe: Probe, caller: Caller) -> Outcome:
    """Ask the app once, within the probe's deadline; every failure comes back as a value."""
    clock = asyncio.get_running_loop().time
    started = clock()
    try:
        async with asyncio.timeout(probe.deadline):
            outcome = await _perform(probe.action, caller)
    except Exception as error:  # the one boundary
        known = explain(error, probe.deadline)
        if known is None:
            log.exception("probe %s: cannot ask the app", probe.key)
        outcome = known or Outcome(Reason.INTERNAL, "healthproxy could not ask the app; its log says why")
    return replace(outcome, duration=clock() - started)


async def _perform(action: Action, caller: Caller) -> Outcome:
    match action:
        case HTTPGet():
            return await probe_http(action, caller)
        case _:
            assert_never(action)
