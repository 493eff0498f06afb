"""Methods: everything but GET and HEAD is 405 with `Allow`, and 400 where it is no method; either asks the app with GET alone."""

import http

import pytest
import pytest_asyncio

from tests.hostile.attack_row import ANSWERED, HOST, Attack, Promise, carry_out, under_attack

pytestmark = pytest.mark.asyncio(loop_scope="module")

REGISTERED = (
    "ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE LABEL LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL "
    "MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST PROPFIND PROPPATCH PUT QUERY REBIND REPORT SEARCH TRACE UNBIND "
    "UNCHECKOUT UNLINK UNLOCK UPDATE UPDATEREDIRECTREF VERSION-CONTROL"
).split()
"""https://www.iana.org/assignments/http-methods, without GET, HEAD and the pseudo-methods."""
MADE_UP = [
    "get",
    "Get",
    "head",
    "GE",
    "GETT",
    "HEADX",
    "XGET",
    "BREW",
    "PURGE",
    "M-SEARCH",
    "SOURCE",
    "NOTIFY",
    "SUBSCRIBE",
    "!",
    "1",
]
OTHER_PROTOCOLS = ["DESCRIBE", "ANNOUNCE", "SETUP", "PLAY", "PAUSE", "TEARDOWN", "RECORD", "REDIRECT", "FLUSH"]
"""Methods of RTSP, which the parser knows and which HTTP has not."""
NO_METHOD = {
    "none": b"",
    "a space": b" ",
    "a pseudo-method": b"*",
    "the HTTP/2 pseudo-method": b"PRI",
    "a space inside": b"G ET",
    "a space before": b" GET",
    "a tab behind": b"GET\t",
    "a NUL behind": b"GET\x00",
    "a NUL before": b"\x00GET",
    "a carriage return": b"GET\r",
    "a line feed": b"GET\n",
    "DEL": b"\x7fGET",
    "a comma": b"GET,",
    "a colon": b"GET:",
    "quotes": b'"GET"',
    "brackets": b"(GET)",
    "markup": b"<GET>",
    "raw UTF-8": b"G\xc3\x89T",
    "a byte order mark": b"\xef\xbb\xbfGET",
    "a high bit": b"\xc7\xc5\xd4",
    "1 KiB": b"A" * 1024,
    "100 KB": b"A" * 100_000,
}


def asking(method: bytes, target: bytes = b"/healthy", *lines: bytes) -> bytes:
    """Write a request of any method."""
    return method + b" " + target + b" HTTP/1.1\r\n" + HOST + b"".join([line + b"\r\n" for line in lines]) + b"\r\n"


ATTACKS = [
    *[Attack(Promise.METHOD, method, asking(method.encode()), "method") for method in REGISTERED + MADE_UP],
    *[
        Attack(Promise.METHOD, f"{method} at our own health", asking(method.encode(), b"/-/ready"), "method")
        for method in REGISTERED
    ],
    *[Attack(Promise.METHOD, f"RTSP's {method}", asking(method.encode()), "malformed") for method in OTHER_PROTOCOLS],
    *[
        Attack(Promise.METHOD, name, asking(method), "malformed", cut_off=True)
        for name, method in NO_METHOD.items()
        if method != b"*"
    ],
    Attack(Promise.METHOD, "a tunnel", asking(b"CONNECT", b"evil.example:443"), "method"),
    Attack(Promise.METHOD, "a tunnel to the app", asking(b"CONNECT", b"127.0.0.1:8080"), "method"),
    Attack(Promise.METHOD, "a tunnel to anywhere", asking(b"CONNECT", b"*"), "method"),
    Attack(Promise.METHOD, "a tunnel and TLS at once", asking(b"CONNECT", b"x:443") + b"\x16\x03\x01\x00\x05hello", "method"),
    Attack(Promise.METHOD, "OPTIONS of the server", asking(b"OPTIONS", b"*"), "method"),
    Attack(Promise.METHOD, "CORS preflight", asking(b"OPTIONS", b"/healthy", b"Access-Control-Request-Method: PUT"), "method"),
    Attack(Promise.METHOD, "TRACE that would show a cookie", asking(b"TRACE", b"/healthy", b"Cookie: secret=1"), "method"),
    Attack(Promise.METHOD, "overridden by a header", asking(b"POST", b"/healthy", b"X-HTTP-Method-Override: GET"), "method"),
    Attack(Promise.METHOD, "GET that would be a PUT", asking(b"GET", b"/healthy", b"X-HTTP-Method-Override: PUT"), ANSWERED),
    Attack(Promise.METHOD, "HEAD", asking(b"HEAD"), ANSWERED),
    Attack(Promise.METHOD, "HEAD of what is no key", asking(b"HEAD", b"/nothing"), "unknown_path"),
    Attack(Promise.METHOD, "upgrade by POST", asking(b"POST", b"/healthy", b"Upgrade: h2c", b"Connection: Upgrade"), "method"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place():
    async with under_attack() as place:
        yield place


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
async def test_a_method_is_get_or_head_or_it_is_turned_away(place, attack):
    await carry_out(place, attack)


async def test_no_method_that_python_knows_is_left_out():
    assert {method.value for method in http.HTTPMethod} <= {*REGISTERED, "GET", "HEAD"}
