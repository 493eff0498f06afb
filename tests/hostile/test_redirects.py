"""Redirects: an app that has been taken over can steer the sidecar to nobody but itself, and tell no caller where.

The promise throughout is that no redirect is followed out of the app's own scheme, host and port.
"""

import re

import pytest

from tests import app
from tests.hostile.attack_row import undated, verdict, watching
from tests.sidecar import http_get, sidecar

GO = verdict(b"app answered 302\n", b"302 Found")
"""The answer to a redirect that is not followed: a warning for the kubelet, and no Location."""
NO_URL = verdict(b"redirect to something that is no URL\n", b"502 Bad Gateway")
FOLLOWED = verdict(b"app answered 503\n", b"503 Service Unavailable")
"""The answer where the app has been asked again, for the app of these tests then answers 503."""
NOT_HTTP = verdict(b"app did not answer in HTTP/1\n", b"502 Bad Gateway")

OUT = {
    "the cloud's metadata": "http://169.254.169.254/latest/meta-data/",
    "metadata over IPv6": "http://[fd00:ec2::254]/latest/meta-data/",
    "metadata in hex": "http://0xa9fea9fe/",
    "metadata as a number": "http://2852039166/",
    "metadata as IPv4 in IPv6": "http://[::ffff:a9fe:a9fe]/",
    "Google's metadata": "http://metadata.google.internal/",
    "the API server": "https://kubernetes.default.svc/api",
    "the kubelet": "https://127.0.0.1:10250/pods",
    "another port": "http://127.0.0.1:{evil}/",
    "another port by name": "http://localhost:{evil}/",
    "another port, scheme-relative": "//127.0.0.1:{evil}/",
    "another port in IPv6": "http://[::1]:{evil}/",
    "the open port": "http://127.0.0.1:{open}/healthy",
    "the admin port": "http://127.0.0.1:{admin}/metrics",
    "the app by another name": "http://localhost:{app}/",
    "the app by another address": "http://127.0.0.2:{app}/",
    "the app by a short address": "http://127.1:{app}/",
    "the app as a number": "http://2130706433:{app}/",
    "the app with a dot": "http://127.0.0.1.:{app}/",
    "the app as IPv4 in IPv6": "http://[::ffff:127.0.0.1]:{app}/",
    "any address": "http://0.0.0.0:{evil}/",
    "a zone": "http://[fe80::1%25eth0]:{evil}/",
    "another scheme": "https://127.0.0.1:{app}/",
    "a host": "http://evil.example/",
    "scheme-relative": "//evil.example/",
    "a user": "http://user@127.0.0.1:{app}/",
    "a user and a password": "http://user:secret@127.0.0.1:{app}/",
    "an empty user": "http://@127.0.0.1:{app}/",
    "the app as user": "http://127.0.0.1:{app}@evil.example/",
    "the app as user and password": "http://127.0.0.1:{app}@127.0.0.1:{evil}/",
    "a file": "file:///etc/passwd",
    "a file of a host": "file://127.0.0.1/etc/passwd",
    "gopher": "gopher://127.0.0.1:{evil}/_x",
    "ftp": "ftp://127.0.0.1:{evil}/",
    "a socket file": "unix:/run/app.sock",
    "a socket file by URL": "http+unix://%2Frun%2Fapp.sock/",
    "javascript": "javascript:alert(1)",
    "data": "data:text/plain,x",
    "mail": "mailto:x@evil.example",
    "LDAP": "ldap://127.0.0.1:{evil}/",
    "dict": "dict://127.0.0.1:{evil}/",
    "one slash": "http:/127.0.0.1:{evil}/",
    "no slash": "http:127.0.0.1:{evil}/",
    "no host": "http:///evil",
    "a scheme in capitals": "HTTP://EVIL.EXAMPLE/",
    "a huge host": "http://" + "a" * 100_000 + "/",
    "a host of no ASCII": "http://\xe9vil.example/",
    "a fullwidth dot": "http://evil\uff0eexample/",
    "an empty port": "http://evil.example:/",
}
WITHIN = {
    "a backslash": "/\\evil.example/",
    "two backslashes": "\\\\evil.example\\x",
    "a backslash in place of a slash": "\\/evil.example/",
    "an at sign": "/@evil.example/",
    "a path that looks like a URL": "/http://evil.example/",
    "a parent segment": "/../../../etc/passwd",
    "an encoded slash": "/%2f%2fevil.example/",
    "an encoded line end": "/x%0d%0aX-Evil:%201",
    "a query that is a URL": "?url=http://169.254.169.254/",
    "a dot before slashes": ".//evil.example/",
    "a path of no ASCII": "/\xe9vil",
    "a huge path": "/" + "a" * 60_000,
    "a fragment alone": "#evil",
    "the app by its own URL": "http://127.0.0.1:{app}/evil",
    "three slashes": "///evil.example/",
    "a blank": "/x y HTTP/1.1",
    "a semicolon": ";evil.example",
    "no slash": "evil.example",
}
NOT_A_URL = {
    "a port that is none": "http://127.0.0.1:{app}x/",
    "a port out of range": "http://127.0.0.1:99999/",
    "half an IPv6 address": "http://[::1/",
    "a blank in the host": "http://evil example/",
    "a broken escape": "/x%zz",
    "a colon first": ":evil",
    "a tab": "/x\ty",
    "a tab in the scheme": "ht\ttp://evil.example/",
    "a tab before the slashes": "/\t/evil.example/",
}
BAD_HEADS = {
    "a carriage return": b"/x\rSet-Cookie: evil=1",
    "NUL": b"/x\x00",
    "a fold": b"/x\r\n //evil.example/",
    "an escape": b"/\x1b[31m",
    "a line feed": b"/x\nSet-Cookie: evil=1",
}


async def carry_out(location: bytes, code: int = 302) -> tuple[bytes, list[bytes], set[str]]:
    """Have the app redirect from its first path on; returns the answer, what the app saw, and the reasons counted.

    Fails for any connection or look-up but to the app, and for anybody else's connection to be found.
    """

    async def behave(reader, writer, head: bytes) -> None:
        there = b"HTTP/1.1 %d Go\r\nLocation: %s\r\nX-Secret: secret\r\nContent-Length: 6\r\n\r\nsecret" % (code, place(location))
        await (app.raw(there) if head.startswith(b"GET /healthy ") else app.answer(503, b"secret"))(reader, writer, head)

    def place(text: bytes) -> bytes:
        for name, port in (("app", server.port), ("evil", evil.port), ("open", caller.open_port), ("admin", caller.admin_port)):
            text = text.replace(b"{%s}" % name.encode(), str(port).encode())
        return text

    async with app.serving() as evil, app.serving(behave) as server:
        async with sidecar({"/healthy": http_get(server.port, timeoutSeconds=4)}) as caller:
            with watching() as seen:
                answer = (await caller.get()).raw
            metrics = await caller.metrics()
            ours = [("socket.connect", ("127.0.0.1", port)) for port in (caller.open_port, server.port)]
            assert [one for one in seen if one not in ours and one[0] == "socket.connect"] == []
            assert {one[1][0] for one in seen if one[0] == "socket.getaddrinfo"} <= {"127.0.0.1"}
            assert evil.connections == 0
    assert b"secret" not in answer.lower()
    assert b"evil" not in answer.lower()
    reasons = {
        series.split('reason="')[1].split('"')[0] for series, value in metrics.items() if "probes_total" in series and value
    }
    return undated(answer), server.requests, reasons


def is_one_request(request: bytes) -> bool:
    """Tell whether the app saw one clean line and our own headers, whatever its Location held."""
    first, *lines = request.split(b"\r\n")
    names = [line.partition(b":")[0] for line in lines if line and not line.startswith(b"Referer: ")]
    clean = re.fullmatch(rb"GET /[!-~]* HTTP/1\.1", first) and re.fullmatch(rb"[\r\n\x20-\x7e]*", request)
    return bool(clean) and names == [b"Host", b"User-Agent", b"Accept", b"Connection"]


@pytest.mark.parametrize("location", OUT.values(), ids=OUT)
async def test_a_redirect_out_of_the_origin_is_a_warning_and_nobody_is_asked(location):
    answer, requests, reasons = await carry_out(location.encode())
    assert (answer, len(requests), reasons) in ((GO, 1, {"redirect"}), (NO_URL, 1, {"protocol"}))


@pytest.mark.parametrize("location", WITHIN.values(), ids=WITHIN)
async def test_a_trick_that_stays_within_the_origin_asks_the_app_itself_with_a_request_of_one_line(location):
    answer, requests, reasons = await carry_out(location.encode())
    if location != "#evil":  # which leads back
        assert (answer, len(requests), reasons) == (FOLLOWED, 2, {"status"})
    assert all(map(is_one_request, requests))


@pytest.mark.parametrize("location", NOT_A_URL.values(), ids=NOT_A_URL)
async def test_a_redirect_to_what_is_no_url_is_a_failure(location):
    answer, requests, reasons = await carry_out(location.encode())
    assert (answer, len(requests), reasons) in ((NO_URL, 1, {"protocol"}), (GO, 1, {"redirect"}))


@pytest.mark.parametrize("location", BAD_HEADS.values(), ids=BAD_HEADS)
async def test_a_location_that_would_break_its_line_breaks_none_of_ours(location):
    answer, requests, reasons = await carry_out(location)
    # A fold and a bare line feed are what Go's client puts up with, so that the kubelet's verdict is ours.
    assert (answer, len(requests), reasons) in ((NOT_HTTP, 1, {"protocol"}), (FOLLOWED, 2, {"status"}))
    assert all(map(is_one_request, requests))


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308, 300, 304, 305, 306, 310, 399, 201, 200, 503])
async def test_no_status_makes_a_redirect_out_of_the_origin_followed(code):
    answer, requests, _ = await carry_out(b"http://127.0.0.1:{evil}/", code)
    assert answer.startswith(b"HTTP/1.1 %d " % code)
    assert b"Location" not in answer
    assert len(requests) == 1


async def test_exposing_the_body_does_not_expose_where_it_leads():
    async with app.serving(app.redirect("http://evil.example/", body=b"see evil")) as server:
        async with sidecar({"/healthy": http_get(server.port, exposeBody=True, timeoutSeconds=4)}) as caller:
            answer = await caller.get()
    assert (answer.status, answer.body) == (302, b"see evil")
    assert "location" not in answer.headers


@pytest.mark.parametrize("location", ["/healthy", "http://{origin}/healthy", "/hop/{next}", "?{next}", "//{origin}/"])
async def test_a_loop_ends_after_ten_requests(location):
    async with (
        app.serving(app.chain(10**6, location)) as server,
        sidecar({"/healthy": http_get(server.port, timeoutSeconds=4)}) as caller,
    ):
        answer = await caller.get()
    assert (answer.status, answer.body) == (502, b"stopped after 10 redirects\n")
    assert server.connections == 10


async def test_a_redirect_of_a_redirect_is_held_to_the_origin_of_the_probe():
    async with app.serving() as evil:
        hops = app.by_path(
            {
                "/healthy": app.redirect("/a"),
                "/a": app.redirect("//{origin}/b"),
                "/b": app.redirect(f"http://127.0.0.1:{evil.port}/"),
            }
        )
        async with app.serving(hops) as server, sidecar({"/healthy": http_get(server.port, timeoutSeconds=4)}) as caller:
            assert undated((await caller.get()).raw) == GO
    assert (server.connections, evil.connections) == (3, 0)
