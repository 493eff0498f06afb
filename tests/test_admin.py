"""The admin port: what it serves, to whom it listens for how long, and that probes do not suffer from it."""

import asyncio
import contextlib
import logging

import pytest

from healthproxy import admin_connections
from healthproxy.admin_connections import MAX_CONNECTIONS
from tests.app import serving
from tests.sidecar import Caller, http_get, sidecar, take_apart

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def get(path: str, *lines: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


async def connect(caller: Caller) -> Connection:
    return await asyncio.open_connection(caller.host, caller.admin_port)


async def ended(connection: Connection, seconds: float = 1.0) -> bool:
    """Tell whether the connection ends in that time."""
    try:
        async with asyncio.timeout(seconds):
            while await connection[0].read(65536):
                pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    connection[1].close()
    return True


@contextlib.asynccontextmanager
async def lone_sidecar(**flags: str):
    async with serving() as app, sidecar({"/healthy": http_get(app.port)}, **flags) as caller:
        yield caller


@pytest.mark.parametrize(("path", "said"), [("/", "/metrics "), ("/livez", "ok\n"), ("/readyz", "ok\n"), ("/metrics", "# HELP ")])
async def test_pages_of_the_admin_port(path, said):
    async with lone_sidecar() as caller:
        answer = take_apart(await caller.send(get(path, "Connection: close"), caller.admin_port))
    assert answer.status == 200
    assert said in answer.body.decode()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT"])
async def test_only_get_and_head_are_served(method):
    async with lone_sidecar() as caller:
        request = f"{method} /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        answer = take_apart(await caller.send(request.encode(), caller.admin_port))
    assert answer.status in (400, 404, 405)
    assert b"healthproxy_" not in answer.body


async def test_a_caller_who_sends_nothing_or_half_a_request_is_closed_after_the_header_timeout():
    async with lone_sidecar(header_timeout="0.05") as caller:
        silent, half = await connect(caller), await connect(caller)
        half[1].write(b"GET /metrics HT")
        assert await ended(silent)
        assert await ended(half)


async def test_a_connection_may_be_kept_for_the_next_scrape_but_not_for_ever(monkeypatch):
    monkeypatch.setattr(admin_connections, "REQUEST_SECONDS", 0.2)
    async with lone_sidecar(header_timeout="0.05") as caller:
        reader, writer = kept = await connect(caller)
        for _ in range(3):
            writer.write(get("/livez"))
            assert b" 200 OK" in await reader.readuntil(b"ok\n")
            await asyncio.sleep(0.05)
        assert await ended(kept)


async def test_silent_callers_cannot_keep_a_scrape_out():
    async with lone_sidecar(header_timeout="60") as caller:
        silent = [await connect(caller) for _ in range(3 * MAX_CONNECTIONS)]
        assert (await caller.metrics())["healthproxy_open_connections"] == 0
        results = await asyncio.gather(*[ended(connection, 0.2) for connection in silent])
        assert results.count(False) < MAX_CONNECTIONS
        for _, writer in silent:
            writer.close()


@pytest.mark.parametrize("request_bytes", [b"garbage\r\n\r\n", b"\x16\x03\x01\x02\x00", get("/", "X: " + "a" * 20_000)])
async def test_what_callers_write_is_refused_and_not_logged(caplog, request_bytes):
    caplog.set_level(logging.DEBUG)
    async with lone_sidecar() as caller:
        assert take_apart(await caller.send(request_bytes, caller.admin_port)).status == 400
    assert [record.message for record in caplog.records if record.name != "healthproxy.history"] == []
