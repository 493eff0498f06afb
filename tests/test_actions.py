"""What a probe does: each kind as a stanza and as a short form, and each refusal with its exact text."""

import re
from typing import Any

import pytest
import trustme

from healthproxy.actions import KINDS, SHORT_FORMS, dump_action, parse_target
from healthproxy.probe import GRPC, TLS, Action, AllOf, AnyOf, HTTPGet, TCPSocket
from healthproxy.stanza import dump_stanza
from tests.test_config import parse_probes, refusals

SOCKET = "/run/app.sock"
BEHIND_A_SOCKET: Any = {"host": "localhost", "named_host": "localhost", "unix_socket": SOCKET}
NAMED_PORT = "is a name, and names resolve only in the probed container; give the number"
NO_PORT = "has no port; add the port that the app listens on"
NO_MAPPING = "is no mapping; write its fields below it, as in a Pod spec"
NO_HEADERS = ".httpGet.httpHeaders: is no list of headers; write [{name: X-Probe, value: kubelet}]"
NO_MEMBERS = "is no list of keys; write [/healthy, /db]"


@pytest.mark.parametrize(
    ("stanza", "action"),
    [
        ({"httpGet": {"port": 80}}, HTTPGet(80)),
        ({"httpGet": {"port": "80", "path": "healthz"}}, HTTPGet(80, "healthz")),
        ({"httpGet": {"port": 80, "scheme": "HTTPS"}}, HTTPGet(80, scheme="https")),
        ({"httpGet": {"port": 80, "scheme": "HTTPS"}, "tls": {}}, HTTPGet(80, scheme="https")),
        ({"httpGet": {"port": 80, "host": "localhost"}}, HTTPGet(80, host="localhost")),
        ({"httpGet": {"port": 80, "host": "shop.example"}}, HTTPGet(80, host="shop.example", named_host="shop.example")),
        ({"httpGet": {"unixSocket": SOCKET, "path": "/x"}}, HTTPGet(path="/x", **BEHIND_A_SOCKET)),
        (
            {"httpGet": {"unixSocket": SOCKET, "scheme": "HTTPS"}, "tls": {"serverName": "a"}},
            HTTPGet(scheme="https", tls=TLS(server_name="a"), **BEHIND_A_SOCKET),
        ),
        ({"tcpSocket": {"port": 5432}}, TCPSocket(5432)),
        ({"tcpSocket": {"port": "5432", "host": "db"}}, TCPSocket(5432, "db")),
        ({"grpc": {"port": 50051}}, GRPC(50051)),
        ({"grpc": {"port": 50051, "service": None}}, GRPC(50051)),
        ({"grpc": {"port": 50051, "service": "shop.Api", "host": "api"}}, GRPC(50051, "shop.Api", "api", "api")),
        ({"grpc": {"port": 50051}, "tls": {}}, GRPC(50051, tls=TLS())),
        ({"grpc": {"port": 50051}, "tls": {"serverName": "api.example"}}, GRPC(50051, tls=TLS(server_name="api.example"))),
        ({"grpc": {"unixSocket": SOCKET, "service": "s"}}, GRPC(service="s", **BEHIND_A_SOCKET)),
        ({"allOf": ["/a", "/b"]}, AllOf(("/a", "/b"))),
        ({"anyOf": ["/b"]}, AnyOf(("/b",))),
    ],
)
def test_each_kind_is_read_from_a_stanza(stanza, action):
    probe = parse_probes(a={"tcpSocket": {"port": 1}}, b={"tcpSocket": {"port": 2}}, x=stanza)[-1]
    assert probe.action == action
    again = parse_probes(a={"tcpSocket": {"port": 1}}, b={"tcpSocket": {"port": 2}}, x=dump_stanza(probe))[-1]
    assert again == probe


def test_the_kinds_are_those_of_a_pod_spec_and_two_of_ours():
    assert list(KINDS) == ["httpGet", "tcpSocket", "grpc", "allOf", "anyOf"]


@pytest.mark.parametrize("kind", ["httpGet", "tcpSocket", "grpc"])
def test_targets_that_name_no_host_live_on_the_app_host_and_are_named_by_ours(kind):
    (probe,) = parse_probes({"app_host": "10.0.0.7"}, x={kind: {"port": 80}})
    assert str(probe.endpoint) == "10.0.0.7:80"
    assert probe.endpoint is not None
    assert probe.endpoint.named_host is None


@pytest.mark.parametrize(("kind", "scheme"), [("httpGet", {"scheme": "HTTPS"}), ("grpc", {})])
def test_authorities_that_can_be_read_are_trusted(kind, scheme, tmp_path):
    ca = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(ca))
    (probe,) = parse_probes(x={kind: {"port": 443, **scheme}, "tls": {"ca": str(ca), "serverName": "shop.example"}})
    assert probe.endpoint is not None
    assert probe.endpoint.tls == TLS(str(ca), "shop.example")


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ({"port": "http"}, f".port: port 'http' {NAMED_PORT}"),
        ({"port": "probe-port"}, f".port: port 'probe-port' {NAMED_PORT}"),
        ({"port": ""}, ".port: '' is no port; give a number from 1 to 65535"),
        ({"port": 0}, ".port: 0 is no port; give a number from 1 to 65535"),
        ({"port": 65536}, ".port: 65536 is no port; give a number from 1 to 65535"),
        ({"port": 80.5}, ".port: 80.5 is no port; give a number from 1 to 65535"),
        ({"port": True}, ".port: true is not a number; give one"),
        ({"port": [80]}, ".port: a list is not a number; give one"),
        ({"port": {"number": 80}}, ".port: a mapping is not a number; give one"),
        ({}, f": {NO_PORT}"),
        ({"port": None}, f": {NO_PORT}"),
        ({"port": 80, "host": "a/b"}, ".host: 'a/b' is no host; give a name or an address, without port and brackets"),
        ({"port": 80, "host": "a:80"}, ".host: 'a:80' is no host; give a name or an address, without port and brackets"),
        ({"port": 80, "host": "[::1]"}, ".host: '[::1]' is no host; give a name or an address, without port and brackets"),
        ({"port": 80, "timeoutSeconds": 1}, ".timeoutSeconds: cannot be used; write it one level up, beside {kind}"),
        ({"port": 80, "tls": {}}, ".tls: cannot be used; write it one level up, beside {kind}"),
        ({"port": 80, "url": "x"}, ".url: unknown field; remove it, or check its spelling against a Pod spec"),
    ],
)
@pytest.mark.parametrize("kind", ["httpGet", "tcpSocket", "grpc"])
def test_what_is_no_place_is_refused_alike_for_every_kind(kind, action, said):
    assert refusals({kind: action}) == [f".{kind}{said.replace('{kind}', kind)}"]


@pytest.mark.parametrize("kind", ["httpGet", "grpc"])
@pytest.mark.parametrize("path", ["run/app.sock", "", "/" + "x" * 107, "/" + "ü" * 54, "/a\nb", "@abstract", 7])
def test_a_socket_file_is_an_absolute_path_that_the_kernel_takes(kind, path):
    shown = repr(path)[:99] + "…" if len(repr(path)) > 100 else repr(path)
    assert refusals({kind: {"unixSocket": path}}) == [
        f".{kind}.unixSocket: {shown} is no socket file; give an absolute path of at most 107 bytes"
    ]


@pytest.mark.parametrize("kind", ["httpGet", "grpc"])
def test_a_socket_file_stands_alone(kind):
    assert parse_probes(x={kind: {"unixSocket": "/" + "x" * 106}})
    assert sorted(refusals({kind: {"unixSocket": SOCKET, "port": "http", "host": "a"}})) == [
        f".{kind}.host: stands beside unixSocket; keep one of the two",
        f".{kind}.port: stands beside unixSocket; keep one of the two",
    ]


@pytest.mark.parametrize(
    ("stanza", "said"),
    [
        ({"httpGet": {"port": 80, "scheme": "FTP"}}, ".httpGet.scheme: 'FTP' is not known; give one of HTTP, HTTPS"),
        (
            {"httpGet": {"port": 80, "scheme": "https"}, "tls": {}},
            ".httpGet.scheme: 'https' is not known; give one of HTTP, HTTPS",
        ),
        ({"httpGet": {"port": 80, "path": "//h/x"}}, ".httpGet.path: '//h/x' is no path; write one like /healthy"),
        ({"httpGet": {"port": 80, "path": "http://h/x"}}, ".httpGet.path: 'http://h/x' is no path; write one like /healthy"),
        ({"httpGet": {"port": 80, "path": "/\ud800"}}, ".httpGet.path: '/\\ud800' is no path; write one like /healthy"),
        ({"httpGet": {"port": 80, "path": "/a\r\nb"}}, ".httpGet.path: '/a\\r\\nb' is no path; write one like /healthy"),
        ({"httpGet": {"port": 80, "path": "/x?a b"}}, ".httpGet.path: '/x?a b' has a blank in its query; write %20"),
        (
            {"httpGet": {"port": 80, "httpHeaders": [{"name": "a b", "value": "c"}]}},
            ".httpGet.httpHeaders: 'a b' is no header name; use letters, digits and hyphens",
        ),
        (
            {"httpGet": {"port": 80, "httpHeaders": [{"name": "A", "value": "b\r\nC: d"}]}},
            ".httpGet.httpHeaders: the value of A is no text on one line; quote it",
        ),
        (
            {"httpGet": {"port": 80, "httpHeaders": [{"name": "A", "value": True}]}},
            ".httpGet.httpHeaders: the value of A is no text on one line; quote it",
        ),
        (
            {"httpGet": {"port": 80, "httpHeaders": [{"name": "A", "value": "\ud800"}]}},
            ".httpGet.httpHeaders: the value of A is no text on one line; quote it",
        ),
        ({"httpGet": {"port": 80, "httpHeaders": {"A": "b"}}}, NO_HEADERS),
        ({"httpGet": {"port": 80, "httpHeaders": [{"name": "A"}]}}, NO_HEADERS),
        ({"httpGet": {"port": 80, "httpHeaders": ["A: b"]}}, NO_HEADERS),
        ({"httpGet": {"port": 80}, "tls": {}}, ".httpGet: is plain HTTP but has tls; add scheme: HTTPS, or remove tls"),
        (
            {"tcpSocket": {"port": 80, "path": "/"}},
            ".tcpSocket.path: unknown field; remove it, or check its spelling against a Pod spec",
        ),
        (
            {"tcpSocket": {"port": 80, "unixSocket": SOCKET}},
            ".tcpSocket.unixSocket: cannot be used; probe what listens there with httpGet or grpc",
        ),
        (
            {"grpc": {"port": 1, "service": 7}},
            ".grpc.service: 7 is no service; give its full name, such as shop.Api, or leave it out",
        ),
        (
            {"grpc": {"port": 1, "service": "a\n"}},
            ".grpc.service: 'a\\n' is no service; give its full name, such as shop.Api, or leave it out",
        ),
        (
            {"grpc": {"port": 1, "service": "\udcff"}},
            ".grpc.service: '\\udcff' is no service; give its full name, such as shop.Api, or leave it out",
        ),
        ({"allOf": []}, f".allOf: {NO_MEMBERS}"),
        ({"anyOf": "/a"}, f".anyOf: {NO_MEMBERS}"),
        ({"allOf": {"port": 5432}}, f".allOf: {NO_MEMBERS}"),
        ({"anyOf": ["/a", 7]}, f".anyOf: {NO_MEMBERS}"),
        ({"allOf": ["/a", "/b", "/a"]}, ".allOf: holds /a twice; keep one"),
    ],
)
def test_an_action_that_cannot_be_performed_is_refused_with_what_to_do(stanza, said):
    assert refusals(stanza) == [said]


@pytest.mark.parametrize("kind", ["httpGet", "tcpSocket", "grpc"])
def test_an_action_without_fields_is_refused(kind):
    assert refusals({kind: 7}) == [f".{kind}: {NO_MAPPING}", f".{kind}: {NO_PORT}"]


@pytest.mark.parametrize(
    ("tls", "said"),
    [
        ("on", f": {NO_MAPPING}"),
        ({"ca": ""}, ".ca: '' is no path of a file; give that of a PEM file, or leave it out to verify nothing"),
        ({"ca": 7}, ".ca: 7 is no path of a file; give that of a PEM file, or leave it out to verify nothing"),
        ({"ca": "/\0"}, ".ca: '/\\x00' is no path of a file; give that of a PEM file, or leave it out to verify nothing"),
        ({"ca": "/nowhere"}, ".ca: /nowhere holds no certificates (No such file or directory); mount a PEM file there"),
        ({"ca": __file__}, f".ca: {__file__} holds no certificates (no PEM file); mount a PEM file there"),
        ({"serverName": "a:1"}, ".serverName: 'a:1' is no host; give a name or an address, without port and brackets"),
        ({"insecure": True}, ".insecure: unknown field; remove it, or check its spelling against a Pod spec"),
    ],
)
@pytest.mark.parametrize("stanza", [{"grpc": {"port": 1}}, {"httpGet": {"port": 1, "scheme": "HTTPS"}}])
def test_tls_that_cannot_be_spoken_is_refused(stanza, tls, said):
    assert refusals(stanza | {"tls": tls}) == [f".tls{said}"]


@pytest.mark.parametrize(
    ("target", "action"),
    [
        ("http://h", HTTPGet(80, "/", "h", "h")),
        ("https://10.0.0.7:8443/x?y#z", HTTPGet(8443, "/x?y", "10.0.0.7", "10.0.0.7", "https")),
        ("http://[::1]:8080/", HTTPGet(8080, "/", "::1")),
        (f"http://unix:{SOCKET}", HTTPGet(**BEHIND_A_SOCKET)),
        (f"https://unix:{SOCKET}:/ready?x=:1", HTTPGet(path="/ready?x=:1", scheme="https", **BEHIND_A_SOCKET)),
        ("http://unix:8080/x", HTTPGet(8080, "/x", "unix", "unix")),
        ("tcp://127.0.0.1:5432", TCPSocket(5432)),
        ("tcp://[fd00::7]:5432/", TCPSocket(5432, "fd00::7")),
        ("grpc://127.0.0.1:50051", GRPC(50051)),
        ("grpc://api:50051/shop.Api", GRPC(50051, "shop.Api", "api", "api")),
        ("grpcs://api:50051/", GRPC(50051, "", "api", "api", TLS())),
        (f"grpc://unix:{SOCKET}", GRPC(**BEHIND_A_SOCKET)),
        (f"grpcs://unix:{SOCKET}:/shop.Api", GRPC(service="shop.Api", tls=TLS(), **BEHIND_A_SOCKET)),
    ],
)
def test_each_target_is_read_from_its_short_form(target, action):
    assert parse_target(target) == action
    assert parse_target(str(action)) == action


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("ftp://h:1", f"is no target; write {SHORT_FORMS}"),
        ("h:8080/x", f"is no target; write {SHORT_FORMS}"),
        ("http:/h/x", f"is no target; write {SHORT_FORMS}"),
        ("http://h/a\nb", f"is no target; write {SHORT_FORMS}"),
        ("http://a..b/", "'a..b' is no host; give a name or an address, without port and brackets"),
        ("http://h:0/", "has no port from 1 to 65535; write http://HOST:PORT"),
        ("http://h:http/", "has no port from 1 to 65535; write http://HOST:PORT"),
        ("tcp://h", "has no port from 1 to 65535; write tcp://HOST:PORT"),
        ("grpcs://h/s", "has no port from 1 to 65535; write grpcs://HOST:PORT"),
        ("http:///x", "names no host; write http://HOST:PORT"),
        ("http://[h]/x", "names no host; write http://HOST:PORT"),
        ("http://[::1/x", "names no host; write http://HOST:PORT"),
        ("tcp://:5432", "names no host; write tcp://HOST:PORT"),
        ("http://u:p@h:1/", "names a user; take it out, and send credentials by httpHeaders"),
        ("tcp://h:1/x", "has more than a host and a port; write tcp://HOST:PORT"),
        ("tcp://h:1?x", "has more than a host and a port; write tcp://HOST:PORT"),
        (f"tcp://unix:{SOCKET}", "has no port from 1 to 65535; write tcp://HOST:PORT"),
        (f"http://unix:/{'x' * 107}", f"'/{'x' * 97}… is no socket file; give an absolute path of at most 107 bytes"),
        ("grpc://h:1/\udcff", "'\\udcff' is no service; give its full name, such as shop.Api, or leave it out"),
        ("http://h//x", "'//x' is no path; write one like /healthy"),
        ("http://h/?a b", "'/?a b' has a blank in its query; write %20"),
    ],
)
def test_a_target_that_cannot_be_asked_is_refused_with_what_to_do(target, said):
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        parse_target(target)


@pytest.mark.parametrize(
    ("action", "fields"),
    [
        (
            HTTPGet(80, "/x", headers=(("A", "b"), ("A", "c"))),
            {
                "httpGet": {
                    "path": "/x",
                    "port": 80,
                    "host": "127.0.0.1",
                    "scheme": "HTTP",
                    "httpHeaders": [{"name": "A", "value": "b"}, {"name": "A", "value": "c"}],
                }
            },
        ),
        (HTTPGet(80, host="10.0.0.7"), {"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}}),
        (GRPC(tls=TLS(), **BEHIND_A_SOCKET), {"grpc": {"unixSocket": SOCKET, "service": ""}, "tls": {}}),
        (AnyOf(("/a",)), {"anyOf": ["/a"]}),
    ],
)
def test_an_action_is_written_as_in_a_pod_spec(action: Action, fields):
    assert dump_action(action) == fields
