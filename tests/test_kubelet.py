"""The kubelet's rules without I/O. The expected bytes were captured from Go's net/http under the kubelet's settings."""

import pytest

from healthproxy import kubelet
from healthproxy.kubelet import encode_target, first_request, judge, next_request
from healthproxy.probe import Caller, HTTPGet, ProbeError, Reason

KUBELET = Caller("10.1.0.87", "kube-probe/1.36", "*/*")
USUAL = b"User-Agent: kube-probe/1.36\r\nAccept: */*\r\n"


def request_for(path: str = "/h", host: str = "10.1.0.87", caller: Caller = KUBELET, **headers: str) -> bytes:
    named = tuple([(name.replace("_", "-"), value) for name, value in headers.items()])
    return first_request(HTTPGet(8080, path, headers=named), Caller(host, caller.user_agent, caller.accept)).encode()


def test_the_request_is_the_one_captured_from_a_kubelet():
    assert request_for("/healthz") == (
        b"GET /healthz HTTP/1.1\r\nHost: 10.1.0.87:8080\r\n"
        b"User-Agent: kube-probe/1.36\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )


def test_an_ipv6_pod_is_named_in_brackets():
    assert b"Host: [fd00::2]:8080\r\n" in request_for(host="fd00::2")


def test_a_host_that_the_pod_spec_names_is_the_one_in_the_request():
    request = first_request(HTTPGet(8080, host="shop.example", named_host="shop.example"), KUBELET)
    assert request.host_header == "shop.example:8080"


@pytest.mark.parametrize(
    ("headers", "lines"),
    [
        (
            {"x_foo": "1", "Accept": "", "aaa": "b", "zzz": "  y "},
            b"User-Agent: kube-probe/1.36\r\nAaa: b\r\nX-Foo: 1\r\nZzz: y\r\n",
        ),
        (
            {"accept_language": "de", "a_b": "c", "User_Agent": "me"},
            b"User-Agent: me\r\nA-B: c\r\nAccept: */*\r\nAccept-Language: de\r\n",
        ),
        ({"User_Agent": ""}, b"Accept: */*\r\n"),
        ({"Connection": "keep-alive", "Content_Length": "5"}, USUAL + b"Connection: keep-alive\r\n"),
        ({"Connection": "close", "Transfer_Encoding": "chunked", "Trailer": "x"}, USUAL),
        ({"X_U": "ü"}, USUAL + "X-U: ü\r\n".encode()),
    ],
)
def test_configured_headers_go_out_as_go_writes_them(headers, lines):
    assert request_for(**headers) == b"GET /h HTTP/1.1\r\nHost: 10.1.0.87:8080\r\n" + lines + b"Connection: close\r\n\r\n"


def test_a_configured_host_header_replaces_host():
    assert request_for(Host="vhost").startswith(b"GET /h HTTP/1.1\r\nHost: vhost\r\nUser-Agent")


def test_what_the_caller_did_not_send_is_not_made_up():
    assert request_for(caller=Caller("x")) == b"GET /h HTTP/1.1\r\nHost: 10.1.0.87:8080\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", "/"),
        ("healthz", "/healthz"),
        ("?x=1", "/?x=1"),
        ("/x?", "/x?"),
        ("/x?q=1#f", "/x?q=1"),
        ("/a b", "/a%20b"),
        ("/ü", "/%C3%BC"),
        ("/a%2fb", "/a%2fb"),
        ("/a%2fb c", "/a/b%20c"),
        ("/a%zz", "/a%25zz"),
        ("/a;b,c=d@e:f&g$+h[i]", "/a;b,c=d@e:f&g$+h[i]"),
        ("/a'b(c)*!", "/a'b(c)*!"),
        ('/a"b<c>^`{|}~\\', "/a%22b%3Cc%3E%5E%60%7B%7C%7D~%5C"),
        ("/a/../b/./c", "/a/../b/./c"),
    ],
)
def test_the_target_is_encoded_as_go_does(path, target):
    assert encode_target(path) == target


START = first_request(HTTPGet(9998, "/dir/start?s=1"), Caller("127.0.0.1", "kube-probe/1.36", "*/*"))
REFERER = b"Referer: http://127.0.0.1:9998/dir/start?s=1\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/x", b"/x"),
        ("x", b"/dir/x"),
        ("../x", b"/x"),
        ("?q=1", b"/dir/start?q=1"),
        ("#f", b"/dir/start?s=1"),
        ("/a b", b"/a%20b"),
        ("/x?%zz", b"/x?%zz"),
        ("/ü", b"/%C3%BC"),
        ("\\x", b"/dir/%5Cx"),
        ("/a/./b/../c", b"/a/c"),
        ("http://127.0.0.1:9998/abs", b"/abs"),
        ("HTTP://127.0.0.1:9998/abs", b"/abs"),
        ("//127.0.0.1:9998//x//y", b"//x//y"),
        ("http://127.0.0.1:9998", b"/"),
        ("http://127.0.0.1:9998?q", b"/?q"),
    ],
)
def test_a_redirect_within_the_origin_is_followed_with_gos_referer(location, target):
    following = next_request(START, 302, location)
    assert following is not None
    assert following.encode() == b"GET " + target + b" HTTP/1.1\r\nHost: 127.0.0.1:9998\r\n" + USUAL + REFERER


@pytest.mark.parametrize(
    "location",
    [
        "http://localhost:9998/x",
        "http://127.0.0.1/x",
        "http://127.0.0.1:9999/x",
        "https://127.0.0.1:9998/x",
        "ftp://127.0.0.1:9998/x",
        "http://169.254.169.254/latest",
        "http://127.0.0.1:9998@169.254.169.254/",
        "http://user:secret@127.0.0.1:9998/x",
        "//evil.example/x",
        "mailto:x",
        "file:///etc/passwd",
        "http:x",
        "http:///x",
        "a:b",
        "",
    ],
)
def test_a_redirect_out_of_the_origin_ends_the_probe(location):
    assert next_request(START, 302, location) is None


@pytest.mark.parametrize(
    "location",
    ["/%zz", "http://[::1/x", "http://127.0.0.1:99999/x", "http://127.0.0.1:port/x", "1a:b", "/x\ty", "/x\x01", "http://a b/"],
)
def test_a_location_that_is_no_url_is_a_failure_as_in_go(location):
    with pytest.raises(ProbeError) as caught:
        next_request(START, 302, location)
    assert caught.value.reason is Reason.PROTOCOL


def test_a_relative_redirect_keeps_the_configured_host_and_an_absolute_one_does_not():
    start = first_request(HTTPGet(9998, "/", headers=(("Host", "vhost"), ("Referer", "mine"))), Caller("127.0.0.1"))
    relative = next_request(start, 301, "/x")
    absolute = next_request(start, 301, "http://127.0.0.1:9998/x")
    assert relative is not None
    assert absolute is not None
    assert relative.encode() == b"GET /x HTTP/1.1\r\nHost: vhost\r\nReferer: mine\r\nConnection: close\r\n\r\n"
    assert absolute.host_header == "127.0.0.1:9998"


def test_each_redirect_names_the_one_before_it():
    second = next_request(START, 302, "/second")
    assert second is not None
    third = next_request(second, 302, "/third")
    assert third is not None
    assert b"Referer: http://127.0.0.1:9998/second\r\n" in third.encode()
    assert third.encode().count(b"Referer") == 1


@pytest.mark.parametrize("code", [300, 304, 305, 200, 404])
def test_only_the_five_redirects_lead_anywhere(code):
    assert next_request(START, code, "/x") is None


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (200, Reason.OK),
        (299, Reason.OK),
        (300, Reason.REDIRECT),
        (399, Reason.REDIRECT),
        (400, Reason.STATUS),
        (599, Reason.STATUS),
    ],
)
def test_success_is_from_200_to_399(code, reason):
    assert judge(code) is reason


def test_bytes_that_are_no_utf8_go_out_as_they_came():
    assert encode_target(b"/\xff".decode(errors="surrogateescape")) == "/%FF"


def test_the_bounds_are_the_kubelets():
    assert (kubelet.MAX_BODY, kubelet.MAX_REQUESTS) == (10240, 10)
