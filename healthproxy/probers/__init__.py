"""`run_probe()`: the one place with deadline, clock and exception → outcome; one file per protocol beside it.

Knows nothing of callers' connections, of sharing or of metrics.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from dataclasses import replace

from aiohttp.http_exceptions import HttpProcessingError

from healthproxy.probe import Caller, Outcome, Probe, ProbeError, Reason
from healthproxy.probers.http import probe_http
from healthproxy.probers.stream import refuses, tls_context

__all__ = ["prepare", "refuses", "run_probe"]

log = logging.getLogger(__name__)

_UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN})


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
            outcome = await probe_http(probe.action, caller)
    except Exception as error:  # noqa: BLE001 - the one boundary
        outcome = _explain(probe, error)
    return replace(outcome, duration=clock() - started)


def _explain(probe: Probe, error: Exception) -> Outcome:
    """Map what a prober raised to an outcome; whatever is not listed is a fault of our own."""
    match error:
        case ProbeError():
            return Outcome(error.reason, error.detail)
        case TimeoutError():
            return Outcome(Reason.TIMEOUT, f"no answer within {probe.deadline:g} s")
        case ssl.SSLError():
            return Outcome(Reason.TLS, f"TLS failed: {getattr(error, 'verify_message', '') or error.reason or 'handshake'}")
        case ConnectionRefusedError():
            return Outcome(Reason.REFUSED, "connection refused")
        case socket.gaierror():
            return Outcome(Reason.REFUSED, f"cannot resolve the app's host: {error.strerror}")
        case OSError(errno=number) if number in _UNREACHABLE:
            return Outcome(Reason.REFUSED, "app's host unreachable")
        case ConnectionError():
            return Outcome(Reason.RESET, "connection reset by the app")
        case HttpProcessingError():
            return Outcome(Reason.PROTOCOL, "app did not answer in HTTP/1")
    log.error("probe %s: cannot ask the app: %r", probe.key, error, exc_info=error)
    return Outcome(Reason.INTERNAL, "healthproxy could not ask the app; its log says why")
