"""The admin port: metrics and own health, on plain `aiohttp.web`. Never needs to be exempt from a mesh; never asks the app.

Knows nothing of its connections; they are bounded in `admin_connections.py`.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Middleware
from prometheus_client import CollectorRegistry
from prometheus_client.aiohttp import make_aiohttp_handler

from healthproxy import __version__

INDEX = f"""healthproxy {__version__}

/metrics  what Prometheus scrapes
/livez    healthproxy's own health
/readyz   the same; the app's health is answered on the open port
"""


def make_admin_app(registry: CollectorRegistry, middleware: Middleware) -> web.Application:
    """Build the application of the admin port; `middleware` hears of each request first."""

    async def index(_: web.Request) -> web.Response:
        return web.Response(text=INDEX)

    async def healthy(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    app = web.Application(middlewares=[middleware])
    app.router.add_get("/", index)
    app.router.add_get("/metrics", make_aiohttp_handler(registry))
    app.router.add_get("/livez", healthy)
    app.router.add_get("/readyz", healthy)
    return app
