"""Answers of an app that has been taken over: what it may make of ours, with `exposeBody` and without, is a status and no more.

The promise throughout is that the app's body and headers do not come out unless asked for, and that nothing of it hurts the pod.
"""

import gzip
import re
import tracemalloc
from typing import Any

import pytest

from tests import app
from tests.hostile.attack_row import undated, verdict
from tests.sidecar import Answer, http_get, sidecar

SECRET = re.compile(rb"secret|evil", re.IGNORECASE)
NOT_HTTP = verdict(b"app did not answer in HTTP/1\n", b"502 Bad Gateway")
BROKEN_OFF = verdict(b"connection closed before the answer was complete\n", b"502 Bad Gateway")
TOO_MUCH = verdict(b"headers of more than 1048576 bytes\n", b"502 Bad Gateway")
OK = verdict()
LENGTH = b"Content-Length: 6\r\n"


def says(*lines: bytes, status: bytes = b"200 OK", body: bytes = b"secret") -> bytes:
    """Write an answer with these header lines."""
    return b"HTTP/1.1 " + status + b"\r\n" + b"".join([line + b"\r\n" for line in lines]) + LENGTH + b"\r\n" + body


ANSWERS = {
    "headers of every kind": (
        says(b"Set-Cookie: secret", b"Server: evil/1", b"X-Secret: secret", b"WWW-Authenticate: secret"),
        OK,
    ),
    "headers about the connection": (says(b"Connection: keep-alive, X-Secret", b"Keep-Alive: timeout=9", b"Upgrade: secret"), OK),
    "a body of markup": (says(b"Content-Type: text/html", body=b"secret"), OK),
    "a phrase": (says(status=b"200 secret"), OK),
    "a phrase of 10 KB": (says(status=b"200 " + b"secret" * 1700), OK),
    "a phrase of 1 MB": (says(status=b"200 " + b"secret" * 180_000), TOO_MUCH),
    "a phrase with an escape sequence": (says(status=b"200 \x1b[31msecret"), None),
    "a phrase with a carriage return": (says(status=b"200 OK\rX-Secret: secret"), NOT_HTTP),
    "a phrase with a header": (says(status=b"200 OK\nX-Secret: secret"), None),
    "a status of four digits": (says(status=b"2000 OK"), NOT_HTTP),
    "a status of two digits": (says(status=b"20 OK"), NOT_HTTP),
    "a negative status": (says(status=b"-200 OK"), NOT_HTTP),
    "status 0": (says(status=b"000 OK"), NOT_HTTP),
    "status 99": (says(status=b"099 OK"), NOT_HTTP),
    "status 999": (says(status=b"999 secret"), verdict(b"app answered 999\n", b"999 ")),
    "our own 500": (says(status=b"500 secret"), verdict(b"app answered 500\n", b"500 Internal Server Error")),
    "our own 403": (says(status=b"403 secret"), verdict(b"app answered 403\n", b"403 Forbidden")),
    "a method refused": (says(b"Allow: SECRET", status=b"405 secret"), verdict(b"app answered 405\n", b"405 Method Not Allowed")),
    "a password wanted": (
        says(b'WWW-Authenticate: Basic realm="secret"', status=b"401 x"),
        verdict(b"app answered 401\n", b"401 Unauthorized"),
    ),
    "a change of protocol": (says(b"Upgrade: websocket", b"Connection: Upgrade", status=b"101 Switching Protocols"), None),
    "a thousand interim answers": (b"HTTP/1.1 103 Early Hints\r\nLink: </secret>\r\n\r\n" * 1000 + says(), OK),
    "interim answers without an end": (b"HTTP/1.1 100 Continue\r\n\r\n" * 50_000, TOO_MUCH),
    "headers of 900 KB": (says(b"X-Secret: " + b"secret" * 150_000), OK),
    "headers of 2 MB": (says(b"X-Secret: " + b"secret" * 350_000), TOO_MUCH),
    "100,000 headers": (says(*[b"X-Secret: s"] * 100_000), TOO_MUCH),
    "a header with a carriage return": (says(b"X: a\rX-Secret: secret"), NOT_HTTP),
    "a header with NUL": (says(b"X: \x00secret"), NOT_HTTP),
    "a header with an escape sequence": (says(b"X: \x1b]0;secret\x07"), NOT_HTTP),
    "a header of no name": (says(b": secret"), NOT_HTTP),
    "a header without a colon": (says(b"secret"), NOT_HTTP),
    "a second answer": (says() + says(b"X-Secret: secret", status=b"500 secret"), OK),
    "garbage behind the answer": (says() + b"\x00secret", OK),
    "200 GB announced": (b"HTTP/1.1 200 OK\r\nContent-Length: 200000000000\r\n\r\nsecret", BROKEN_OFF),
    "2^64 bytes announced": (b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\nsecret", NOT_HTTP),
    "a negative length": (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nsecret", NOT_HTTP),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nContent-Length: 7\r\n\r\nsecret", NOT_HTTP),
    "a length and chunks": (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", NOT_HTTP),
    "a chunk of 2^64 bytes": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\nsecret", NOT_HTTP),
    "a chunk of 200 GB": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2e90edd000\r\nsecret", BROKEN_OFF),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Secret: secret\r\n\r\n", OK),
    "HTTP/0.9": (b"<html>secret</html>", NOT_HTTP),
    "another protocol": (b"220 secret ESMTP evil\r\n", NOT_HTTP),
    "a request": (b"GET /secret HTTP/1.1\r\nHost: evil\r\n\r\n", NOT_HTTP),
    "nothing but zeros": (bytes(10_000), NOT_HTTP),
}
TYPES = {
    # a Content-Type as the app writes it, and what a caller sees of it where the body may come out
    "its own": (b"text/html", "text/html"),
    "with parameters": (b"text/html; charset=utf-8", "text/html; charset=utf-8"),
    "raw UTF-8": (b"text/\xc3\xa9", "application/octet-stream"),
    "bytes of no text": (b"text/\xff\xfe", "application/octet-stream"),
    "with a tab": (b"text/html;\tcharset=utf-8", "application/octet-stream"),
    "of 10 KB": (b"text/" + b"a" * 10_000, "application/octet-stream"),
    "empty": (b"", "application/octet-stream"),
    "folded": (b"text/html\r\n X-Secret: secret", None),
    "with a carriage return": (b"text/html\rX-Secret: secret", None),
    "with a line feed": (b"text/html\nX-Secret: secret", None),
    "with NUL": (b"text/html\x00", None),
    "with an escape sequence": (b"text/\x1b[31mhtml", None),
}


async def get(answer: bytes | app.Behaviour, **probe: Any) -> Answer:
    behaviour = app.raw(answer) if isinstance(answer, bytes) else answer
    async with app.serving(behaviour) as server:
        async with sidecar({"/healthy": http_get(server.port, **{"timeoutSeconds": 4} | probe)}) as caller:
            before = set(await caller.metrics())
            got = await caller.get()
            after = await caller.metrics()
            assert {series for series in after.keys() - before if "_app_responses_total" not in series} == set()
            assert not any(value for series, value in after.items() if "internal" in series)
            return got


@pytest.mark.parametrize(("said", "expected"), ANSWERS.values(), ids=ANSWERS)
async def test_of_what_an_app_answers_nothing_but_its_status_comes_out(said, expected):
    answer = await get(said)
    assert expected is None or undated(answer.raw) == expected
    assert not SECRET.search(answer.raw)
    assert set(answer.headers) == {"date", "content-type", "content-length", "connection"}
    assert int(answer.headers["content-length"]) == len(answer.body)


@pytest.mark.parametrize(("written", "shown"), TYPES.values(), ids=TYPES)
async def test_an_exposed_bodys_type_is_one_clean_line(written, shown):
    answer = await get(says(b"Content-Type: " + written, b"X-Secret: secret", body=b"public"), exposeBody=True)
    assert set(answer.headers) == {"date", "content-type", "content-length", "connection"}
    assert b"X-Secret" not in answer.raw.partition(b"\r\n\r\n")[0] or answer.headers["content-type"].startswith("text/html ")
    if shown:
        assert (answer.status, answer.headers["content-type"], answer.body) == (200, shown, b"public")


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b"HTTP/1.1 200 OK\r\nSet-Cookie: evil\r\n\r\n", b""),
        (b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", b""),
        (bytes(range(256)), b""),
        (gzip.compress(bytes(10_000_000)), b"Content-Encoding: gzip\r\n"),
    ],
    ids=["an answer", "line ends and an answer", "every byte", "a gzip bomb"],
)
async def test_an_exposed_body_comes_out_byte_for_byte_with_its_length_and_no_more(body, line):
    said = b"HTTP/1.1 503 x\r\n" + line + b"Content-Length: %d\r\n\r\n" % len(body) + body
    answer = await get(said, exposeBody=True)
    assert (answer.status, answer.body) == (503, body[: 10 * 1024])
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert set(answer.headers) == {"date", "content-type", "content-length", "connection"}


@pytest.mark.parametrize(
    "start",
    [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: "],
)
async def test_an_app_that_never_stops_talking_costs_no_more_than_its_time_and_8_mb(start):
    tracemalloc.start()
    answer = await get(app.endless(start, b"5\r\nhello\r\n" * 1000 if b"chunked" in start else b"secret" * 1000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not SECRET.search(answer.raw)
    assert answer.status in (200, 502)
    assert peak < 8_000_000


async def test_no_answer_leaves_a_file_open():
    before = _next_file()
    for said in (b"", says(), b"HTTP/1.1 200 OK\r\nContent-Length: 200000000000\r\n\r\n", bytes(100)):
        await get(said)
    assert _next_file() == before


def _next_file() -> int:
    with open("/dev/null") as file:  # noqa: PTH123 - the lowest free descriptor is what counts
        return file.fileno()
