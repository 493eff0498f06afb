"""The demo's app: /healthy over HTTP on a port and on a socket file, and a gRPC health service. It plays one act after the other.

Knows nothing of probes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import web
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import StreamEnded

_HEALTH = {200: b"\x08\x01", 503: b"\x08\x02"}
"""HealthCheckResponse by status of the act: SERVING, NOT_SERVING."""


@dataclass(frozen=True, slots=True)
class Act:
    """What the app does for a number of probes."""

    name: str
    probes: int
    status: int = 200
    delay: float = 0.0
    """Seconds before an HTTP answer."""
    listens: bool = True


class SampleApp:
    """An app that lives on two ports of localhost and a socket file."""

    def __init__(self, http_port: int, grpc_port: int, socket_file: str, first: Act) -> None:
        """Take the places."""
        self.http_port = http_port
        self.grpc_port = grpc_port
        self.socket_file = socket_file
        self._act = first
        self._stop: contextlib.AsyncExitStack | None = None
        """Ends what listens; None while nothing does."""

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Be there while the context lasts."""
        try:
            await self.play(self._act)
            yield
        finally:
            await self._close()

    async def play(self, act: Act) -> None:
        """Behave like this from now on."""
        self._act = act
        if not act.listens:
            await self._close()
        elif self._stop is None:
            self._stop = contextlib.AsyncExitStack()
            await self._open(self._stop)

    async def _open(self, stack: contextlib.AsyncExitStack) -> None:
        app = web.Application()
        app.router.add_get("/healthy", self._answer)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", self.http_port, reuse_address=True).start()
        await web.UnixSite(runner, self.socket_file).start()
        server = await asyncio.start_server(self._answer_grpc, "127.0.0.1", self.grpc_port, reuse_address=True)
        stack.callback(server.close)

    async def _close(self) -> None:
        if self._stop is not None:
            stop, self._stop = self._stop, None
            await stop.aclose()

    async def _answer(self, _: web.Request) -> web.Response:
        await asyncio.sleep(self._act.delay)
        return web.Response(status=self._act.status, text=f"{self._act.name}\n")

    async def _answer_grpc(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer every call on a connection as a health service does."""
        connection = H2Connection(H2Configuration(client_side=False))
        connection.initiate_connection()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(4096):
                for event in connection.receive_data(data):
                    if isinstance(event, StreamEnded) and event.stream_id is not None:
                        health = _HEALTH[self._act.status]
                        message = b"\0" + len(health).to_bytes(4, "big") + health
                        connection.send_headers(event.stream_id, [(":status", "200"), ("content-type", "application/grpc")])
                        connection.send_data(event.stream_id, message)
                        connection.send_headers(event.stream_id, [("grpc-status", "0")], end_stream=True)
                writer.write(connection.data_to_send())
            writer.close()
