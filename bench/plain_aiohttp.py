"""The peer that people write in an afternoon: `web.Application` in front, `ClientSession` behind, metrics by labels."""

import asyncio
import sys
import time

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web
from prometheus_client import CollectorRegistry, Counter, Histogram

REGISTRY = CollectorRegistry()
DURATION = Histogram("probe_duration_seconds", "Seconds.", ["probe", "result"], registry=REGISTRY)
PROBES = Counter("probes", "Probes.", ["probe", "result"], registry=REGISTRY)


async def main(listen_port: int, app_port: int) -> None:
    """Forward /healthy from one port of localhost to another."""
    url = f"http://127.0.0.1:{app_port}/healthy"
    session = ClientSession(connector=TCPConnector(force_close=True), timeout=ClientTimeout(total=0.9))

    async def healthy(_: web.Request) -> web.Response:
        started = time.perf_counter()
        try:
            async with session.get(url) as response:
                await response.read()
                status = response.status
        except TimeoutError:
            status = 504
        result = "success" if status < 400 else "failure"
        DURATION.labels("/healthy", result).observe(time.perf_counter() - started)
        PROBES.labels("/healthy", result).inc()
        return web.Response(status=status)

    app = web.Application()
    app.router.add_get("/healthy", healthy)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", listen_port).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
