"""A real Chromium without a window, driven by its DevTools protocol: opens a page and tells what happened there.

Owns the process and the connection to it. Knows nothing of the page.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp

from .sidecar import BOUND_SECONDS, POLL_SECONDS, Lines

_EVENTS_OF_THE_CONSOLE = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")


class Chromium:
    """A browser without a tab; make it with `chromium`."""

    def __init__(self, runner: asyncio.Runner, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._runner = runner
        self._socket = socket

    @contextlib.contextmanager
    def tab(self) -> Iterator[Tab]:
        """Open a tab that nobody has used."""
        opened = Tab(self._runner, self._socket)
        try:
            yield opened
        finally:
            opened.call("Page.close")


class Tab:
    """One tab, and what happened in it."""

    def __init__(self, runner: asyncio.Runner, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.console: list[dict[str, Any]] = []
        """What was written to the console, violations of a policy and exceptions."""
        self._sent: dict[str, str] = {}
        self._runner = runner
        self._socket = socket
        self._numbers = itertools.count(1)
        self._session: dict[str, str] = {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    @property
    def requests(self) -> list[str]:
        """The URL of each request that was sent, without those that a policy stopped."""
        return list(self._sent.values())

    def open(self, url: str, *, dark: bool = False, width: int = 1000, height: int = 800, javascript: bool = True) -> None:
        """Open a page as somebody would who prefers dark pages, or has a narrow screen, or runs no JavaScript."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setScriptExecutionDisabled", value=not javascript)
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def until(self, expression: str, seconds: float = BOUND_SECONDS) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while self.evaluate(expression) is not True:
            assert time.monotonic() < end, f"after {seconds:g} s not yet: {expression}; the page says {self.text()!r}"
            self._runner.run(asyncio.sleep(POLL_SECONDS))

    def text(self) -> str:
        """Return what a person reads."""
        return str(self.evaluate("document.body.innerText"))

    def shoot(self, file: Path) -> None:
        """Write a picture of the screen."""
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and take in what happened up to its answer."""
        return self._runner.run(self._call(method, parameters))

    async def _call(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters, **self._session})
        async with asyncio.timeout(BOUND_SECONDS):
            while (message := await self._socket.receive_json()).get("id") != number:
                self._take(message)
        assert "error" not in message, f"{method}: {message['error']}"
        result: dict[str, Any] = message["result"]
        return result

    def _take(self, event: dict[str, Any]) -> None:
        if event.get("sessionId") != self._session.get("sessionId"):
            return  # of another tab, which has gone
        if event.get("method") in _EVENTS_OF_THE_CONSOLE:
            self.console.append(event["params"])
        elif event.get("method") == "Network.requestWillBeSent":
            self._sent[event["params"]["requestId"]] = event["params"]["request"]["url"]
        elif event.get("method") == "Network.loadingFailed" and event["params"].get("blockedReason"):
            self._sent.pop(event["params"]["requestId"], None)


@contextlib.contextmanager
def chromium(binary: str, profile: Path) -> Iterator[Chromium]:
    """Run a Chromium with a profile of its own; it ends with the context, and all its processes with it."""
    flags = ["--headless", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-background-networking"]
    flags += ["--no-sandbox"] if os.geteuid() == 0 else []
    command = [binary, *flags, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    log = Lines(process.stderr)
    try:
        url = log.next_with("DevTools listening on ", 3 * BOUND_SECONDS).text.split()[-1]
        with asyncio.Runner() as runner, contextlib.ExitStack() as stack:
            session = runner.run(_session())
            stack.callback(lambda: runner.run(session.close()))
            yield Chromium(runner, runner.run(_connect(session, url)))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        log.join()


async def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession()


async def _connect(session: aiohttp.ClientSession, url: str) -> aiohttp.ClientWebSocketResponse:
    return await session.ws_connect(url, max_msg_size=0)
