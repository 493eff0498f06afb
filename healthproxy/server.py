"""Composition root: builds everything once; start, run, drain, stop.

The only place that knows all the parts. Decides nothing about a single probe.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass

from healthproxy import __version__
from healthproxy.admin import admin_connections, make_pages
from healthproxy.config import Config
from healthproxy.connections import Bounds
from healthproxy.gate import Gate
from healthproxy.history import History
from healthproxy.metrics import Metrics
from healthproxy.open_port import OpenPort
from healthproxy.probe import Caller, Outcome, Probe
from healthproxy.probers import prepare, refuses, run_probe
from healthproxy.process import process_start, raise_file_limit
from healthproxy.sockets import address_of, listening
from healthproxy.values import Address

log = logging.getLogger(__name__)

DRAIN_POLL_SECONDS = 0.2
"""How often the app's ports are tried while draining."""
LAST_ANSWERS_POLL_SECONDS = 0.01
LAST_ANSWERS_SECONDS = 1.0
"""How long a request to the app that is under way when we stop may still take."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A sidecar that serves: the addresses really bound."""

    open_port: tuple[Address, ...]
    admin_port: tuple[Address, ...]


def serve(config: Config) -> None:
    """Run the sidecar until it is told to stop. Raises StartError."""
    raise_file_limit(config.max_connections)
    asyncio.run(_serve(config))


async def _serve(config: Config) -> None:
    first, second = _stop_signals()
    async with running(config, process_start()) as sidecar:
        _log_start(config, sidecar)
        await first.wait()
        _log("draining", f"draining: answering until the app has gone, at most {config.drain_seconds:g} s")
        draining = asyncio.create_task(_app_gone(config.probes))
        stopped = asyncio.create_task(second.wait())
        await asyncio.wait((draining, stopped), timeout=config.drain_seconds, return_when=asyncio.FIRST_COMPLETED)
        why = "the app has gone" if draining.done() else "a second signal" if stopped.done() else "the app stayed"
        draining.cancel()
        stopped.cancel()
    _log("stopped", f"stopped: {why}")


def _stop_signals() -> tuple[asyncio.Event, asyncio.Event]:
    """Return what the first and the second SIGTERM or SIGINT will set; later ones mean nothing, up to the very end.

    Not the loop's own handlers: with the loop they would go, and a third signal would kill what is about to exit with 0. Handlers
    and pipe are never taken back.
    """
    first, second = asyncio.Event(), asyncio.Event()
    following = iter((first, second))
    arrivals, wakeup = os.pipe()
    for end in (arrivals, wakeup):
        os.set_blocking(end, False)

    def arrived() -> None:
        for _ in os.read(arrivals, 64):
            event = next(following, None)
            if event is not None:
                event.set()

    asyncio.get_running_loop().add_reader(arrivals, arrived)
    signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return first, second


@contextlib.asynccontextmanager
async def running(config: Config, started: float | None = None) -> AsyncIterator[Sidecar]:
    """Serve both ports while the context lasts. Raises StartError.

    `started`: since when a first success is counted, by `time.monotonic`; default: now.
    """
    started = time.monotonic() if started is None else started
    metrics = Metrics(config.probes, lambda: len(port.connections), started)
    history = History(started)

    def observe(probe: Probe, outcome: Outcome) -> None:
        metrics.observe(probe, outcome)
        history.observe(probe, outcome)

    def refused(reason: str, source: str) -> None:
        metrics.refused(reason)
        history.refused(reason, source)

    def ask_member(key: str, caller: Caller) -> asyncio.Future[Outcome]:
        return gates[key].outcome(caller)

    ask_app = functools.partial(run_probe, ask_member=ask_member)
    gates = {probe.key: Gate(probe, config.min_interval, ask_app, observe, metrics.shared) for probe in config.probes}
    bounds = Bounds(config.max_connections, config.header_timeout)
    port = OpenPort(gates, bounds, config.allow_from, refused)
    for probe in config.probes:
        prepare(probe)
    admin = admin_connections(make_pages(metrics.registry, history, config.probes), config.header_timeout)
    with contextlib.ExitStack() as stack:
        sockets = stack.enter_context(listening("--listen", config.listen))
        admin_sockets: list[socket.socket] = []
        if config.admin_listen is not None:
            admin_sockets = stack.enter_context(listening("--admin-listen", config.admin_listen))
        stack.enter_context(admin.serving(admin_sockets))
        stack.enter_context(port.connections.serving(sockets))
        try:
            yield Sidecar(tuple(map(address_of, sockets)), tuple(map(address_of, admin_sockets)))
        finally:
            port.connections.stop_listening()
            await _last_answers(gates.values())


async def _app_gone(probes: Iterable[Probe]) -> None:
    """Return when every port of the app refuses connections, and never where that cannot be told."""
    places = {probe.endpoint for probe in probes if probe.endpoint is not None}
    try:
        while True:
            places = {place for place in places if not await refuses(place, DRAIN_POLL_SECONDS)}
            if not places:
                return
            await asyncio.sleep(DRAIN_POLL_SECONDS)
    except Exception:
        log.exception("cannot tell whether the app has gone; staying as long as may be")
        await asyncio.Event().wait()


async def _last_answers(gates: Collection[Gate]) -> None:
    """Let those who wait have their answer, if it comes soon."""
    clock = asyncio.get_running_loop().time
    until = clock() + LAST_ANSWERS_SECONDS
    while (busy := [gate for gate in gates if gate.busy]) and clock() < until:  # noqa: ASYNC110 - flights follow each other
        await asyncio.sleep(LAST_ANSWERS_POLL_SECONDS)
    for gate in busy:
        if gate.flight is not None:
            gate.flight.cancel()


def _log_start(config: Config, sidecar: Sidecar) -> None:
    open_port, admin_port = (", ".join(map(str, addresses)) for addresses in (sidecar.open_port, sidecar.admin_port))
    targets = {probe.key: str(probe.action) for probe in config.probes}
    probes = ", ".join([f"{key} -> {url}" for key, url in targets.items()])
    text = f"healthproxy {__version__}: open port {open_port}; admin port {admin_port or 'off'}; {probes}"
    _log("started", text, open_port=[*map(str, sidecar.open_port)], admin_port=[*map(str, sidecar.admin_port)], probes=targets)


def _log(event: str, text: str, **fields: object) -> None:
    log.info("%s", text, extra={"fields": {"event": event, **fields}})
