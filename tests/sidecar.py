"""A real healthproxy on ports of the system's choice, and a caller with a bare socket.

Owns how tests start it and talk to it; judges nothing.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from healthproxy.config import parse_config
from healthproxy.server import running

KUBELET_HEADERS = b"User-Agent: kube-probe/1.36\r\nAccept: */*\r\nConnection: close\r\n\r\n"
PATIENCE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, taken apart."""

    status: int
    headers: dict[str, str]
    body: bytes
    raw: bytes


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who can reach the pod."""

    host: str
    open_port: int
    admin_port: int
    source: str | None = None
    """The address to come from, if it matters."""

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection to the open port."""
        return await asyncio.open_connection(self.host, self.open_port)

    async def send(self, request: bytes, port: int = 0) -> bytes:
        """Send bytes to the open port, or to `port`, and return all that comes back until the end of the connection."""
        local = (self.source, 0) if self.source else None
        reader, writer = await asyncio.open_connection(self.host, port or self.open_port, local_addr=local)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                writer.write(request)
                return await reader.read()
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def ask(self, request: bytes) -> Answer:
        """Send a request of any shape and return the answer."""
        return take_apart(await self.send(request))

    async def get(self, target: str = "/healthy") -> Answer:
        """Send the request that a kubelet sends."""
        return await self.ask(f"GET {target} HTTP/1.1\r\nHost: {self.host}:{self.open_port}\r\n".encode() + KUBELET_HEADERS)

    async def metrics(self) -> dict[str, float]:
        """Scrape the admin port: series to value."""
        request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        text = take_apart(await self.send(request, self.admin_port)).body.decode()
        return {name: float(value) for name, value in re.findall(r"^(\w+(?:\{.*\})?) (\S+)$", text, re.MULTILINE)}


def take_apart(raw: bytes) -> Answer:
    """Split an answer; header names in lower case."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Answer(int(first.split()[1]), headers, body, raw)


@contextlib.asynccontextmanager
async def sidecar(table: Mapping[str, Any], host: str = "127.0.0.1", **flags: object) -> AsyncIterator[Caller]:
    """Run healthproxy with a probe table while the context lasts."""
    places = {"listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0"}
    config = parse_config(places | flags, {"HEALTHPROXY_PROBES": json.dumps(table)})
    async with running(config) as serving:
        yield Caller(host, serving.open_port[0].port, serving.admin_port[0].port if serving.admin_port else 0)


def http_get(port: int, path: str = "/healthy", **more: object) -> dict[str, Any]:
    """Return the stanza of an httpGet probe with a short timeout; `more` stands beside httpGet."""
    return {"httpGet": {"path": path, "port": port}, "timeoutSeconds": 0.4, **more}
