"""The admin port: what it serves, to whom it listens for how long, and that probes do not suffer from it."""

import asyncio
import contextlib
import gzip
import logging

import pytest

from healthproxy.admin import MAX_CONNECTIONS
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


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
async def test_only_get_and_head_are_served(method):
    async with lone_sidecar() as caller:
        request = f"{method} /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
        answer = take_apart(await caller.send(request.encode(), caller.admin_port))
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD"
    assert b"healthproxy_" not in answer.body


@pytest.mark.parametrize(("target", "status"), [("/metrics/", 404), ("/healthy", 404), ("//metrics", 404), ("/metrics?a=1", 200)])
async def test_paths_are_exact_and_a_query_is_the_pages_own(target, status):
    async with lone_sidecar() as caller:
        assert take_apart(await caller.send(get(target), caller.admin_port)).status == status


async def test_a_scrape_may_be_for_some_metrics_compressed_in_either_format_or_only_asked_for_its_length():
    async with lone_sidecar() as caller:
        whole = take_apart(await caller.send(get("/metrics"), caller.admin_port))
        head = take_apart(await caller.send(get("/metrics").replace(b"GET", b"HEAD"), caller.admin_port))
        zipped = take_apart(await caller.send(get("/metrics", "Accept-Encoding: gzip"), caller.admin_port))
        some = take_apart(await caller.send(get("/metrics?name[]=healthproxy_build_info"), caller.admin_port))
        accept = "Accept: application/openmetrics-text; version=1.0.0"
        other = take_apart(await caller.send(get("/metrics", accept), caller.admin_port))
    assert whole.headers["content-type"].startswith("text/plain; version=")
    assert head.body == b""
    assert abs(int(head.headers["content-length"]) - len(whole.body)) < 100
    assert zipped.headers["content-encoding"] == "gzip"
    assert b"healthproxy_build_info" in gzip.decompress(zipped.body)
    assert {line.split("{")[0] for line in some.body.decode().splitlines() if line[0] != "#"} == {"healthproxy_build_info"}
    assert other.headers["content-type"].startswith("application/openmetrics-text")
    assert other.body.endswith(b"# EOF\n")


async def test_a_caller_who_sends_nothing_or_half_a_request_is_closed_after_the_header_timeout():
    async with lone_sidecar(header_timeout="0.05") as caller:
        silent, half = await connect(caller), await connect(caller)
        half[1].write(b"GET /metrics HT")
        assert await ended(silent)
        assert await ended(half)


async def test_silent_callers_cannot_keep_a_scrape_out():
    async with lone_sidecar(header_timeout="60") as caller:
        silent = [await connect(caller) for _ in range(3 * MAX_CONNECTIONS)]
        assert (await caller.metrics())["healthproxy_open_connections"] == 0
        results = await asyncio.gather(*[ended(connection, 0.2) for connection in silent])
        assert results.count(False) < MAX_CONNECTIONS
        for _, writer in silent:
            writer.close()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [(b"garbage\r\n\r\n", 400), (b"\x16\x03\x01\x02\x00", 400), (get("/", "X: " + "a" * 20_000), 431)],
)
async def test_what_callers_write_is_refused_and_not_logged(caplog, request_bytes, status):
    caplog.set_level(logging.DEBUG)
    async with lone_sidecar() as caller:
        assert take_apart(await caller.send(request_bytes, caller.admin_port)).status == status
    assert [record.message for record in caplog.records if record.name != "healthproxy.history"] == []
