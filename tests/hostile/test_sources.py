"""Sources: whom `--allow-from` leaves out is told so, at no cost to the app; healthproxy's own health is for the pod itself."""

import ipaddress
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from healthproxy.connections import Bounds
from healthproxy.open_port import OpenPort
from healthproxy.values import networks
from tests import app
from tests.hostile.attack_row import Promise, get, probe, refusals, refused, undated, verdict
from tests.sidecar import Caller, http_get, sidecar

STRANGERS = ["10.0.0.0/8"]
V4, V6 = "127.0.0.1", "::1"


def own_address() -> str:
    """Return an address of this machine that is not its loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no address but its loopback")
        return str(sock.getsockname()[0])


def link_local() -> str:
    """Return a link-local address of this machine with its zone."""
    lines = Path("/proc/net/if_inet6").read_text().splitlines() if Path("/proc/net/if_inet6").exists() else []
    for number, _, _, _, _, name in map(str.split, lines):
        if number.startswith("fe80") and name != "lo":
            return f"{ipaddress.IPv6Address(int(number, 16))}%{name}"
    pytest.skip("this machine has no link-local address")


async def sent(
    allowed: Sequence[str],
    host: str,
    request: bytes,
    source: str | None = None,
) -> tuple[bytes, int, dict[str, float]]:
    """Send a request to a healthproxy that allows these; returns the answer, how often the app was asked, and the counts."""
    async with app.serving() as server:
        async with sidecar(
            {"/healthy": http_get(server.port, timeoutSeconds=4)}, host, listen=":0", allow_from=list(allowed)
        ) as caller:
            scraper = Caller(V4, caller.open_port, caller.admin_port)
            before = await scraper.metrics()
            answer = undated(await Caller(host, caller.open_port, 0, source).send(request))
            return answer, server.connections, refused(before, await scraper.metrics())


TURNED_AWAY = refusals("source")


@pytest.mark.parametrize(
    ("promise", "allowed", "host", "source", "let_in"),
    [
        (Promise.BOUNDS, ["127.0.0.0/8"], V4, None, True),
        (Promise.BOUNDS, ["127.0.0.7"], V4, "127.0.0.7", True),
        (Promise.BOUNDS, ["127.0.0.7"], V4, "127.0.0.8", False),
        (Promise.BOUNDS, ["127.0.0.4/30"], V4, "127.0.0.7", True),
        (Promise.BOUNDS, ["127.0.0.4/30"], V4, "127.0.0.8", False),
        (Promise.BOUNDS, ["0.0.0.0/0"], V4, None, True),
        (Promise.BOUNDS, ["0.0.0.0/0"], V6, None, False),
        (Promise.BOUNDS, ["::/0"], V6, None, True),
        (Promise.BOUNDS, ["::/0"], V4, None, False),
        (Promise.BOUNDS, ["::1"], V6, None, True),
        (Promise.BOUNDS, ["::2/128", "fd00::/8"], V6, None, False),
        (Promise.BOUNDS, ["10.0.0.0/8", "::1/128"], V6, None, True),
    ],
)
async def test_a_source_is_allowed_or_it_costs_the_app_nothing(promise, allowed, host, source, let_in):
    answer, asked, counted = await sent(allowed, host, probe(), source)
    if let_in:
        assert (answer, asked, counted) == (verdict(), 1, {})
    else:
        assert answer in TURNED_AWAY
        assert (asked, counted) == (0, {"source": 1})


@pytest.mark.parametrize(
    ("allowed", "address", "let_in"),
    [
        (["10.0.0.0/8"], "::ffff:10.1.2.3", True),
        (["10.0.0.0/8"], "::ffff:11.1.2.3", False),
        (["10.0.0.0/8"], "::10.1.2.3", False),
        (["10.0.0.0/8"], "64:ff9b::10.1.2.3", False),
        (["10.0.0.0/8"], "2002:a01:203::", False),
        (["::/0"], "::ffff:10.1.2.3", False),
        (["169.254.7.127"], "169.254.7.127", True),
        (["fe80::/10"], "fe80::1%eth0", True),
        (["fd00::/8"], "fe80::1%eth0", False),
        ([], "::ffff:203.0.113.1", True),
    ],
)
async def test_an_ipv4_address_in_ipv6_is_that_address_and_a_zone_is_none(allowed, address, let_in):
    port = OpenPort({}, Bounds(8, 1.0), networks(allowed) if allowed else (), lambda *_: None)
    assert port.allows(address) is let_in


async def test_a_source_with_a_zone_is_held_to_its_address():
    host = link_local()
    answer, asked, _ = await sent(["fe80::/10"], host, probe())
    assert (answer, asked) == (verdict(), 1)
    answer, asked, counted = await sent(["fd00::/8"], host, probe())
    assert answer in TURNED_AWAY
    assert (asked, counted) == (0, {"source": 1})


@pytest.mark.parametrize(
    "lines",
    [
        [b"X-Forwarded-For: 10.0.0.1"],
        [b"Forwarded: for=10.0.0.1"],
        [b"X-Real-IP: 10.0.0.1"],
        [b"True-Client-IP: 10.0.0.1"],
        [b"X-Envoy-External-Address: 10.0.0.1"],
        [b"Via: 1.1 10.0.0.1"],
        [b"Authorization: Basic eA=="],
    ],
    ids=lambda lines: lines[0].partition(b":")[0].decode(),
)
async def test_nobody_becomes_another_source_by_saying_so(lines):
    answer, asked, counted = await sent(STRANGERS, V4, probe(*lines))
    assert answer in TURNED_AWAY
    assert (asked, counted) == (0, {"source": 1})


async def test_the_proxy_protocol_makes_nobody_another_source():
    for start in (
        b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n",
        b"\r\n\r\n\x00\r\nQUIT\n!\x11\x00\x0c\x0a\x00\x00\x01\x0a\x00\x00\x02\x00\x01\x00\x02",
    ):
        answer, asked, _ = await sent(STRANGERS, V4, start + probe())
        assert answer in refusals("malformed")
        assert asked == 0


@pytest.mark.parametrize(
    "request_bytes", [get(b"/nothing"), b"POST" + probe()[3:], probe(b"Content-Length: 5"), get(b"/-/metrics")]
)
async def test_a_stranger_learns_nothing_of_what_is_a_key_and_what_is_not(request_bytes):
    answer, asked, counted = await sent(STRANGERS, V4, request_bytes)
    assert answer in TURNED_AWAY
    assert (asked, counted) == (0, {"source": 1})


@pytest.mark.parametrize("host", [V4, V6, "127.8.9.10"])
async def test_own_health_is_answered_to_the_pod_itself_whoever_is_allowed(host):
    for key in (b"/-/ready", b"/-/healthy"):
        assert await sent(STRANGERS, host, get(key)) == (verdict(), 0, {})


async def test_own_health_is_not_for_strangers():
    answer, asked, counted = await sent(STRANGERS, own_address(), get(b"/-/ready"))
    assert answer in TURNED_AWAY
    assert (asked, counted) == (0, {"source": 1})


async def test_a_stranger_who_sends_no_whole_request_is_bounded_like_everybody():
    async with app.serving() as server:
        async with sidecar(
            {"/healthy": http_get(server.port, timeoutSeconds=4)}, allow_from=STRANGERS, header_timeout="0.1"
        ) as caller:
            assert await caller.send(b"GET /healthy HTTP/1.1\r\n") == b""
            metrics = await caller.metrics()
    assert metrics['healthproxy_refused_requests_total{reason="header_timeout"}'] == 1
    assert server.connections == 0
