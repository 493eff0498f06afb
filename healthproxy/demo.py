"""`healthproxy demo`: a sample app, the sidecar in front of it and a kubelet-like prober in one process.

What a new user runs first. The sidecar is the one that `serve` runs, and the prober asks as the kubelet does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import json
import signal
import socket
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import web

from healthproxy.config import parse_config
from healthproxy.kubelet import ACCEPT, USER_AGENT
from healthproxy.logs import set_up_logs
from healthproxy.probe import Caller, HTTPGet, Outcome, Probe, Reason
from healthproxy.probers import run_probe
from healthproxy.server import Sidecar, running
from healthproxy.values import Address

PROBE_SECONDS = 1.0
"""`periodSeconds` of the demo's prober, and its `timeoutSeconds`."""
SLOW_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Act:
    """What the sample app does for a number of probes."""

    name: str
    probes: int
    status: int = 200
    delay: float = 0.0
    listens: bool = True


STORY = (
    Act("well", 5),
    Act("slow: answers after 3 s", 4, delay=SLOW_SECONDS),
    Act("sick: answers 503", 4, status=503),
    Act("dead: nobody listens", 4, listens=False),
    Act("well again", 5),
)


def run_demo(arguments: list[str]) -> int:
    """Run until Ctrl-C and return the exit status."""
    parser = argparse.ArgumentParser(prog="healthproxy demo", description="A sample app, the sidecar and a kubelet-like prober.")
    parser.parse_args(arguments)
    set_up_logs("text", "info")
    asyncio.run(_run_until_interrupted())
    return 0


async def _run_until_interrupted() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    show = asyncio.create_task(_show())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait((show, stopped), return_when=asyncio.FIRST_COMPLETED)
    show.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await show
    print('\nThe demo has ended. Next: README.md, "Add it to your pod".')


async def _show() -> None:
    app = SampleApp(_free_port(8080))
    stanza = {"httpGet": {"path": "/healthy", "port": app.port}, "timeoutSeconds": PROBE_SECONDS, "periodSeconds": PROBE_SECONDS}
    flags = {"listen": f"127.0.0.1:{_free_port(15180)}", "admin_listen": f"127.0.0.1:{_free_port(15190)}"}
    config = parse_config(flags, {"HEALTHPROXY_PROBES": json.dumps({"/healthy": stanza})})
    async with app.serving(), running(config) as sidecar:
        _introduce(app.port, sidecar)
        number = 0
        while True:
            for act in STORY:
                await app.play(act)
                print(f"\n      the app is {act.name}")
                for _ in range(act.probes):
                    number += 1
                    await _probe_once(number, sidecar)
                print(await asyncio.to_thread(_scrape, sidecar.admin_port[0]), flush=True)
            print("\n      that was the whole story; it starts again. Ctrl-C ends it.")


def _introduce(app_port: int, sidecar: Sidecar) -> None:
    open_port, admin_port = sidecar.open_port[0], sidecar.admin_port[0]
    print(
        f"""healthproxy demo: kubelet -> open port {open_port} -> sample app 127.0.0.1:{app_port}

Open http://{open_port}/healthy and http://{admin_port}/metrics, or try in a second terminal:
  curl -i http://{open_port}/healthy      what the kubelet gets: the app's verdict
  curl -i http://{open_port}/secret       anything else: 404, and the app never hears of it
  curl -s http://{admin_port}/metrics | grep ^healthproxy_probe    how long each probe took, and why it failed

  no.   status   seconds   verdict and reason""",
        flush=True,
    )


async def _probe_once(number: int, sidecar: Sidecar) -> None:
    """Ask the open port as the kubelet would, and print one line; takes one period."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    address = sidecar.open_port[0]
    probe = Probe("/healthy", HTTPGet(address.port, "/healthy", address.host), deadline=PROBE_SECONDS, expose_body=True)
    outcome = await run_probe(probe, Caller(address.host, USER_AGENT, ACCEPT))
    print(f"  {number:>3}   {outcome.code or '-':>6}   {outcome.duration:7.3f}   {_verdict(outcome)}", flush=True)
    await asyncio.sleep(max(0.0, started + PROBE_SECONDS - loop.time()))


def _verdict(outcome: Outcome) -> str:
    said = outcome.body.decode(errors="replace").strip() or outcome.detail
    return f"success   {said}" if outcome.reason is Reason.OK else f"FAILURE   {said}"


class SampleApp:
    """An app with /healthy that plays one act after the other."""

    def __init__(self, port: int) -> None:
        """Take a port of localhost."""
        self.port = port
        self._act = STORY[0]
        self._site: web.TCPSite | None = None
        self._runner: web.AppRunner

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Be there while the context lasts."""
        app = web.Application()
        app.router.add_get("/healthy", self._answer)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        try:
            await self.play(STORY[0])
            yield
        finally:
            await self._runner.cleanup()

    async def play(self, act: Act) -> None:
        """Behave like this from now on."""
        self._act = act
        if act.listens and self._site is None:
            self._site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
            await self._site.start()
        elif not act.listens and self._site is not None:
            await self._site.stop()
            self._site = None

    async def _answer(self, _: web.Request) -> web.Response:
        await asyncio.sleep(self._act.delay)
        return web.Response(status=self._act.status, text=f"{self._act.name}\n")


def _scrape(admin_port: Address) -> str:
    """Read what /metrics says by now of how the probes went."""
    with urllib.request.urlopen(f"http://{admin_port}/metrics") as response:
        lines = response.read().decode().splitlines()
    counts = [line for line in lines if line.startswith("healthproxy_probes_total") and not line.endswith(" 0.0")]
    return "      /metrics: " + "\n                ".join(counts)


def _free_port(wanted: int) -> int:
    """Return the port, or any free one if somebody has it."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            return int(probe.getsockname()[1])
    raise OSError(errno.EADDRINUSE, "no free port")
