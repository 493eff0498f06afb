"""Headers: none reaches the app but a kubelet's version, in a form that is no more than that; number and size are bounded."""

import asyncio

import pytest
import pytest_asyncio

from tests.hostile.attack_row import ANSWERED, Attack, Promise, carry_out, exchange, get, probe, undated, under_attack, verdict

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOT_HANDED_ON = {
    "Authorization": b"Authorization: Basic YWRtaW46YWRtaW4=",
    "Proxy-Authorization": b"Proxy-Authorization: Basic eA==",
    "Cookie": b"Cookie: session=secret",
    "X-Forwarded-For": b"X-Forwarded-For: 127.0.0.1",
    "X-Forwarded-Host": b"X-Forwarded-Host: evil",
    "X-Forwarded-Proto": b"X-Forwarded-Proto: https",
    "X-Forwarded-Prefix": b"X-Forwarded-Prefix: /admin",
    "Forwarded": b"Forwarded: for=127.0.0.1;host=evil",
    "X-Real-IP": b"X-Real-IP: 127.0.0.1",
    "Via": b"Via: 1.1 evil",
    "X-Original-URL": b"X-Original-URL: /admin",
    "X-Rewrite-URL": b"X-Rewrite-URL: /admin",
    "X-Envoy-Original-Path": b"X-Envoy-Original-Path: /admin",
    "X-Forwarded-Client-Cert": b"X-Forwarded-Client-Cert: By=spiffe://x",
    "X-HTTP-Method": b"X-HTTP-Method: DELETE",
    "Origin": b"Origin: https://evil.example",
    "Referer": b"Referer: https://evil.example/",
    "Range": b"Range: bytes=0-0",
    "many ranges": b"Range: bytes=" + b"0-," * 1000 + b"0-",
    "If-None-Match": b"If-None-Match: *",
    "If-Modified-Since": b"If-Modified-Since: Thu, 01 Jan 2099 00:00:00 GMT",
    "If-Match": b'If-Match: "x"',
    "Accept": b"Accept: application/json;q=1",
    "Accept-Encoding": b"Accept-Encoding: gzip, br",
    "Accept-Language": b"Accept-Language: ../../etc/passwd",
    "Content-Type": b"Content-Type: text/evil",
    "Content-Encoding": b"Content-Encoding: gzip",
    "Cache-Control": b"Cache-Control: no-cache",
    "Max-Forwards": b"Max-Forwards: 0",
    "TE": b"TE: chunked",
    "Date": b"Date: yesterday",
    "From": b"From: root@localhost",
    "Proxy-Connection": b"Proxy-Connection: keep-alive",
    "Early-Data": b"Early-Data: 1",
    "traceparent": b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "Shellshock": b"X: () { :;}; /bin/id",
    "Proxy": b"Proxy: http://evil.example:3128/",
    "a lookup": b"X-Api-Version: ${jndi:ldap://evil.example/x}",
    "raw UTF-8": b"X: \xc3\xa9",
    "bytes of no text": b"X: \xff\xfe",
    "no value": b"X:",
    "a name of signs": b"!#$%&'*+-.^_`|~: x",
    "an HTTP/2 name with a colon": b"X-:path: /admin",
}
IN_CONNECTION = [
    b"User-Agent",
    b"close, Host",
    b"close, Accept, User-Agent",
    b"Transfer-Encoding",
    b"Content-Length",
    b"X",
    b",",
    b"",
    b"\xff",
]
HOSTS = {
    "of another": b"Host: evil.example",
    "of another port": b"Host: evil.example:1",
    "of the cloud's metadata": b"Host: 169.254.169.254",
    "empty": b"Host:",
    "with a user": b"Host: user:secret@evil.example",
    "with a path": b"Host: evil.example/../healthy",
    "a list": b"Host: a, b",
    "with a query": b"Host: x?y#z",
    "a URL": b"Host: http://evil.example/",
    "of 10 KB": b"Host: " + b"a" * 10_000,
    "with a bad port": b"Host: x:99999",
    "raw UTF-8": b"Host: \xc3\xa9",
    "half an IPv6 address": b"Host: [::1",
    "quoted": b'Host: "x"',
    "with a template": b"Host: {{7*7}}",
}
BAD_HOSTS = {
    "none": b"",
    "two": b"Host: x\r\nHost: y\r\n",
    "two alike": b"Host: x\r\nHost: x\r\n",
    "two in two cases": b"Host: x\r\nhost: y\r\n",
    "with a NUL": b"Host: x\x00y\r\n",
    "with a line feed": b"Host: x\nHost: y\r\n",
    "folded": b"Host: x\r\n y\r\n",
    "with a blank before the colon": b"Host : x\r\n",
}
USER_AGENTS = {
    "a browser": b"Mozilla/5.0",
    "empty": b"",
    "10 KB": b"a" * 10_000,
    "raw UTF-8": b"kube-probe/1.3\xc2\xb2",
    "bytes of no text": b"\xff\xfe",
    "a version and more": b"kube-probe/1.36 evil",
    "a long version": b"kube-probe/12345.1",
    "a third number": b"kube-probe/1.36.1",
    "no version": b"kube-probe/",
    "a letter": b"kube-probe/1.3a",
    "two pluses": b"kube-probe/1.36++",
    "another case": b"Kube-Probe/1.36",
    "a minus": b"kube-probe/-1.36",
    "Arabic digits": b"kube-probe/\xd9\xa1.\xd9\xa3",
    "a prefix": b"x kube-probe/1.36",
    "markup": b"<script>",
    "a lookup": b"${jndi:ldap://evil.example/x}",
    "a tab inside": b"kube-probe/1.36\tevil",
    "an encoded line end": b"kube-probe/1.36%0d%0aX: y",
    "Google's": b"GoogleHC/1.0",
    "an 8-bit escape": b"\x9b31m",
}
CONTROLS = {
    "a line end": b"\r\n evil",
    "a carriage return": b"\revil",
    "a line feed": b"\nevil",
    "NUL": b"\x00",
    "an ANSI escape": b"\x1b[31m",
    "a bell": b"\x07",
    "a backspace": b"\x08",
    "DEL": b"\x7f",
    "a vertical tab": b"\x0b",
    "an escape that sets a title": b"\x1b]0;evil\x07",
}
PAIR = b"X: a"

ATTACKS = [
    *[Attack(Promise.HEADERS, name, probe(line), ANSWERED) for name, line in NOT_HANDED_ON.items() if b"X-:" not in line],
    *[
        Attack(Promise.HEADERS, f"Connection: {said.decode('latin-1')}", probe(b"Connection: " + said), ANSWERED)
        for said in IN_CONNECTION
    ],
    *[Attack(Promise.HEADERS, f"Host {name}", get(b"/healthy", host=line + b"\r\n"), ANSWERED) for name, line in HOSTS.items()],
    *[
        Attack(Promise.SAME_REQUEST, f"Host {name}", get(b"/healthy", host=lines), "malformed")
        for name, lines in BAD_HOSTS.items()
    ],
    *[
        Attack(Promise.HEADERS, f"a User-Agent: {name}", probe(b"User-Agent: " + said), ANSWERED)
        for name, said in USER_AGENTS.items()
    ],
    *[
        Attack(Promise.HEADERS, f"User-Agent: {name}", probe(b"User-Agent: kube-probe/1.36" + end), "malformed")
        for name, end in CONTROLS.items()
    ],
    *[Attack(Promise.HEADERS, f"Accept: {name}", probe(b"Accept: */*" + end), "malformed") for name, end in CONTROLS.items()],
    Attack(Promise.HEADERS, "two User-Agents", probe(b"User-Agent: kube-probe/1.36", b"User-Agent: evil"), "malformed"),
    Attack(Promise.BOUNDS, "15 KB of one header", probe(b"X: " + b"a" * 15_000), ANSWERED),
    Attack(Promise.BOUNDS, "a name of 10 KB", probe(b"A" * 10_000 + b": x"), ANSWERED),
    Attack(Promise.BOUNDS, "2,500 headers", probe(*[PAIR] * 2_500), ANSWERED),
    Attack(Promise.BOUNDS, "10,000 headers", probe(*[PAIR] * 10_000), "too_large", cut_off=True),
    Attack(
        Promise.BOUNDS,
        "10,000 headers of different names",
        probe(*[b"X%d: a" % n for n in range(10_000)]),
        "too_large",
        cut_off=True,
    ),
    Attack(Promise.BOUNDS, "20 KB of one header", probe(b"X: " + b"a" * 20_000), "too_large", cut_off=True),
    Attack(Promise.BOUNDS, "a name of 20 KB", probe(b"A" * 20_000 + b": x"), "too_large", cut_off=True),
    Attack(Promise.BOUNDS, "1 MB of one header", probe(b"X: " + b"a" * 1_000_000), "too_large", cut_off=True),
    Attack(Promise.BOUNDS, "1 MB of headers", probe(*[b"X: " + b"a" * 1000] * 1000), "too_large", cut_off=True),
    Attack(
        Promise.BOUNDS, "1 MB of headers without an end", probe(*[b"X: " + b"a" * 1000] * 1000)[:-2], "too_large", cut_off=True
    ),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place():
    async with under_attack() as place:
        yield place


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
async def test_no_header_of_a_callers_reaches_the_app(place, attack):
    await carry_out(place, attack)


@pytest.mark.parametrize("version", [b"kube-probe/1.20", b"kube-probe/1.36+", b"kube-probe/9999.9999+"])
async def test_a_kubelets_version_is_all_that_passes(place, version):
    place.server.requests.clear()
    assert undated(await exchange(place.caller, probe(b"User-Agent: " + version, b"Cookie: a=b"))) == verdict()
    assert place.server.requests == [place.asked_as(version)]


async def test_whoever_asks_first_the_kubelet_shares_an_answer_to_a_kubelets_request():
    async with under_attack(min_interval="60") as place:
        lines = [*NOT_HANDED_ON.values(), *HOSTS.values()]
        await asyncio.gather(
            *[exchange(place.caller, get(b"/healthy", host=b"Host: x\r\n" + line + b"\r\n")) for line in lines[:30]]
        )
        assert (await place.caller.get()).status == 200
        assert place.server.requests == []
