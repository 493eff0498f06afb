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
import tempfile
import urllib.request
from typing import Any

from healthproxy.config import Config, parse_config
from healthproxy.kubelet import ACCEPT, USER_AGENT
from healthproxy.logs import set_up_logs
from healthproxy.probe import Caller, HTTPGet, Probe
from healthproxy.probers import run_probe
from healthproxy.sample_app import Act, SampleApp
from healthproxy.server import Sidecar, running
from healthproxy.values import Address

PROBE_SECONDS = 1.0
"""`periodSeconds` of the demo's prober, and its `timeoutSeconds`."""


STORY = (
    Act("well", 5),
    Act("slow: HTTP answers after 3 s", 4, delay=3.0),
    Act("sick: HTTP answers 503, gRPC NOT_SERVING", 4, status=503),
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
    with tempfile.TemporaryDirectory() as directory:
        app = SampleApp(_free_port(8080), _free_port(50051), f"{directory}/app.sock", STORY[0])
        flags = {"listen": f"127.0.0.1:{_free_port(15180)}", "admin_listen": f"127.0.0.1:{_free_port(15190)}"}
        config = parse_config(flags, {"HEALTHPROXY_PROBES": json.dumps(_table(app))})
        async with app.serving(), running(config) as sidecar:
            _introduce(config, sidecar)
            await _tell(app, config, sidecar)


def _table(app: SampleApp) -> dict[str, Any]:
    """Write one probe of each kind, as a user would."""
    kinds: dict[str, Any] = {
        "/healthy": {"httpGet": {"path": "/healthy", "port": app.http_port}},
        "/tcp": {"tcpSocket": {"port": app.http_port}},
        "/grpc": {"grpc": {"port": app.grpc_port}},
        "/socket": {"httpGet": {"path": "/healthy", "unixSocket": app.socket_file}},
    }
    kinds["/all"] = {"allOf": list(kinds)}
    kinds["/any"] = {"anyOf": ["/tcp", "/grpc"]}
    seconds = {"timeoutSeconds": PROBE_SECONDS, "periodSeconds": PROBE_SECONDS}
    return {key: stanza | seconds for key, stanza in kinds.items()}


def _introduce(config: Config, sidecar: Sidecar) -> None:
    open_port, admin_port = sidecar.open_port[0], sidecar.admin_port[0]
    keys = [probe.key for probe in config.probes]
    print("healthproxy demo: one probe of each kind\n")
    for probe in config.probes:
        print(f"  kubelet -> {open_port}{probe.key:9} -> {probe.action}")
    print(
        f"""
Open http://{admin_port}/ to see each probe and why it fails, or try in a second terminal:
  curl -i http://{open_port}/all         what the kubelet gets: the verdict, and which member failed
  curl -i http://{open_port}/secret      anything else: 404, and the app never hears of it
  curl -s http://{admin_port}/           the page above as text
  curl -s http://{admin_port}/metrics | grep ^healthproxy_probe    how long each probe took, and why it failed

  no.   {"   ".join(keys)}   seconds   what /all says""",
        flush=True,
    )


async def _tell(app: SampleApp, config: Config, sidecar: Sidecar) -> None:
    """Play the story over and over."""
    number = 0
    while True:
        for act in STORY:
            await app.play(act)
            print(f"\n      the app is {act.name}")
            for _ in range(act.probes):
                number += 1
                await _probe_once(number, config, sidecar.open_port[0])
            print(await asyncio.to_thread(_scrape, sidecar.admin_port[0]), flush=True)
        print("\n      that was the whole story; it starts again. Ctrl-C ends it.")


async def _probe_once(number: int, config: Config, address: Address) -> None:
    """Ask the open port for each key as the kubelet would, and print one line; takes one period."""
    clock = asyncio.get_running_loop().time
    started = clock()
    caller = Caller(address.host, USER_AGENT, ACCEPT)
    probes = [Probe(probe.key, HTTPGet(address.port, probe.key, address.host), PROBE_SECONDS) for probe in config.probes]
    outcomes = dict(
        zip([probe.key for probe in probes], await asyncio.gather(*[run_probe(p, caller) for p in probes]), strict=True)
    )
    codes = "   ".join([f"{outcome.code or '-':>{len(key)}}" for key, outcome in outcomes.items()])
    told = outcomes["/all"]
    said = told.body.decode().strip() or told.detail
    print(f"  {number:>3}   {codes}   {told.duration:7.3f}   {said}", flush=True)
    await asyncio.sleep(max(0.0, started + PROBE_SECONDS - clock()))


def _scrape(admin_port: Address) -> str:
    """Read what /metrics says by now of how the probes went."""
    with urllib.request.urlopen(f"http://{admin_port}/metrics") as response:
        lines = response.read().decode().splitlines()
    counts = [line for line in lines if line.startswith('healthproxy_probes_total{probe="/all"') and not line.endswith(" 0.0")]
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
