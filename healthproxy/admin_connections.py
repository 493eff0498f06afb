"""Connections of the admin port: accepted, bounded in number and time, and then aiohttp's. Knows nothing of what is served."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable

from aiohttp import web

log = logging.getLogger(__name__)

SILENT = logging.Logger("callers", logging.CRITICAL + 1)  # noqa: LOG001 - out of reach of --log-level
"""For aiohttp, which logs a traceback for what callers write; bugs of ours are logged here."""
MAX_CONNECTIONS = 16
"""A Prometheus or two, a person, and room."""
REQUEST_SECONDS = 10.0
"""From the start of a request to the end of its connection: its answer must be read by then, and the next request begun."""
_ACCEPT_PAUSE_SECONDS = 0.05


class AdminConnections:
    """All connections of the admin port; the one that has been quiet for longest goes when there are too many."""

    def __init__(self, header_timeout: float) -> None:
        """`header_timeout`: seconds in which the first request must have arrived."""
        self._header_timeout = header_timeout
        self._ends: dict[asyncio.BaseTransport, asyncio.TimerHandle] = {}  # in order of their last request

    @web.middleware
    async def middleware(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Give the connection of a request its time; a bug of ours is answered 500 and logged."""
        if request.transport is not None:
            self._give(request.transport, REQUEST_SECONDS)
        try:
            return await handler(request)
        except web.HTTPException:
            raise
        except Exception:
            log.exception("cannot serve a page of the admin port")
            return web.Response(status=500, text="healthproxy failed; its log says why\n")

    async def serve(self, listener: socket.socket, server: web.Server) -> None:
        """Accept from a bound, non-blocking socket until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listener)
                transport, _ = await loop.connect_accepted_socket(server, sock)
            except OSError:  # the caller has left, or we are out of files, which the listener would tell again at once
                self._drop_quietest()
                await asyncio.sleep(_ACCEPT_PAUSE_SECONDS)
                continue
            if len(self._ends) >= MAX_CONNECTIONS:
                self._drop_quietest()
            self._give(transport, self._header_timeout)

    def _give(self, transport: asyncio.BaseTransport, seconds: float) -> None:
        earlier = self._ends.pop(transport, None)
        if earlier is not None:
            earlier.cancel()
        self._ends[transport] = asyncio.get_running_loop().call_later(seconds, self._end, transport)

    def _drop_quietest(self) -> None:
        """Make room; who has closed his connection himself goes first."""
        left = [transport for transport in self._ends if transport.is_closing()]
        for transport in left or list(self._ends)[:1]:
            self._end(transport)

    def _end(self, transport: asyncio.BaseTransport) -> None:
        self._ends.pop(transport).cancel()
        if isinstance(transport, asyncio.Transport):
            transport.abort()
