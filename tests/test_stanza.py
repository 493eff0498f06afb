"""One probe's configuration: what a stanza and a short form say beside the action, and each refusal with its exact text."""

import pytest

from healthproxy.actions import SHORT_FORMS
from healthproxy.config import parse_config
from healthproxy.probe import GRPC, HTTPGet, Probe, TCPSocket
from tests.test_config import KEY, parse_probes, problems, refusals

GET = {"httpGet": {"port": 80}}
SECONDS = "give seconds above 0"
RESERVED = "keys under /-/ are healthproxy's own; choose another, the path asked of the app may stay"
NEVER_PASSES = "belongs to the caller's own connection and never passes; take it out"


def test_the_stanza_of_a_pod_spec_can_be_pasted_whole():
    (probe,) = parse_probes(
        healthy={
            "httpGet": {
                "path": "/healthz?full=1",
                "port": "8443",
                "host": "shop.example",
                "scheme": "HTTPS",
                "httpHeaders": [{"name": "X-Probe", "value": "kubelet"}],
            },
            "initialDelaySeconds": 5,
            "timeoutSeconds": 3,
            "periodSeconds": 7,
            "successThreshold": 1,
            "failureThreshold": 2,
            "terminationGracePeriodSeconds": 9,
        }
    )
    action = HTTPGet(8443, "/healthz?full=1", "shop.example", "shop.example", "https", (("X-Probe", "kubelet"),))
    assert probe == Probe("/healthy", action, deadline=2.9, timeout=3, period=7, failure_threshold=2)


def test_a_field_that_is_null_is_a_field_that_is_missing_as_in_a_pod_spec():
    (probe,) = parse_probes(x={"httpGet": {"port": 80, "host": None}, "exec": None, "timeoutSeconds": None, "tls": None})
    assert probe == Probe("/x", HTTPGet(80))
    said = ".tls: is empty; write tls: {} for TLS without verification, or remove it"
    assert refusals({"grpc": {"port": 80}, "tls": None}) == [said]


@pytest.mark.parametrize(("timeout", "offset", "deadline"), [(1, 0.1, 0.9), (10, 0.1, 9.9), (1, 0.7, 0.5), (0.1, 0.1, 0.05)])
def test_the_deadline_is_the_timeout_less_the_offset_but_never_less_than_half(timeout, offset, deadline):
    (probe,) = parse_probes({"timeout_offset": offset}, x=GET | {"timeoutSeconds": timeout})
    assert probe.deadline == pytest.approx(deadline)


def test_the_body_is_exposed_by_the_stanza_or_by_default_and_of_http_only():
    table = {"a": GET, "b": GET | {"exposeBody": False}, "c": GET | {"exposeBody": "yes"}, "d": {"tcpSocket": {"port": 1}}}
    assert [probe.expose_body for probe in parse_probes(**table)] == [False, False, True, False]
    assert [probe.expose_body for probe in parse_probes({"expose_body": "true"}, **table)] == [True, False, True, False]


def test_forwarded_headers_are_named_once_in_lower_case():
    (probe,) = parse_probes(x=GET | {"forwardHeaders": ["X-Tenant", "x-tenant", "Accept-Language", "X-TENANT"]})
    assert probe.forward_headers == ("x-tenant", "accept-language")


@pytest.mark.parametrize(
    ("stanza", "said"),
    [
        (
            {"exec": {"command": ["pg_isready"]}},
            ".exec: cannot be used; no command can be run in the app's container from here; "
            "ask a port of the app with httpGet, tcpSocket or grpc, or leave this probe with the app's container",
        ),
        ({"readinessProbe": GET}, ".readinessProbe: cannot be used; write here what stands below it"),
        ({"livenessProbe": GET}, ".livenessProbe: cannot be used; write here what stands below it"),
        ({"startupProbe": None, "readinessProbe": GET}, ".readinessProbe: cannot be used; write here what stands below it"),
        (GET | {"timeoutSeconds": 0}, f".timeoutSeconds: 0 is not positive; {SECONDS}"),
        (GET | {"timeoutSeconds": -1}, f".timeoutSeconds: -1 is not positive; {SECONDS}"),
        (GET | {"timeoutSeconds": "1s"}, ".timeoutSeconds: '1s' is not a number; give one"),
        (GET | {"periodSeconds": float("inf")}, f".periodSeconds: inf is not positive; {SECONDS}"),
        (GET | {"failureThreshold": 0}, ".failureThreshold: 0 is no count; give a whole number, 1 or more"),
        (GET | {"periodSecond": 1}, ".periodSecond: unknown field; remove it, or check its spelling against a Pod spec"),
        (GET | {"a\nb: c": 1}, r".a\nb: c: unknown field; remove it, or check its spelling against a Pod spec"),
        (GET | {"path": "/x"}, ".path: cannot be used; write it one level down, below httpGet, tcpSocket or grpc"),
        (GET | {"exposeBody": "perhaps"}, ".exposeBody: 'perhaps' is neither; give true or false"),
        (
            {"tcpSocket": {"port": 1}, "exposeBody": False},
            ".exposeBody: cannot be used; take it out: only the answer to httpGet has a body",
        ),
        (
            {"grpc": {"port": 1}, "exposeBody": True},
            ".exposeBody: cannot be used; take it out: only the answer to httpGet has a body",
        ),
        (
            {"grpc": {"port": 1}, "forwardHeaders": []},
            ".forwardHeaders: cannot be used; take it out: only httpGet has headers, "
            "and allOf and anyOf pass on what their members do",
        ),
        (
            {"tcpSocket": {"port": 1}, "tls": {}},
            ".tls: cannot be used; take it out: only httpGet with scheme HTTPS and grpc speak TLS",
        ),
        (GET | {"forwardHeaders": "X-A"}, ".forwardHeaders: is no list of header names; write [X-Tenant]"),
        (GET | {"forwardHeaders": ["X A"]}, ".forwardHeaders: is no list of header names; write [X-Tenant]"),
        (GET | {"forwardHeaders": [["X-A"]]}, ".forwardHeaders: is no list of header names; write [X-Tenant]"),
        (
            {"httpGet": {"port": 80, "httpHeaders": [{"name": "X-Tenant", "value": "a"}]}, "forwardHeaders": ["x-tenant"]},
            ": has X-Tenant in httpHeaders and in forwardHeaders; keep one of the two",
        ),
        (
            GET | {"tcpSocket": {"port": 1}},
            ": has httpGet and tcpSocket; keep one, and give the others keys of their own",
        ),
        (
            GET | {"allOf": ["/x"], "exposeBody": True},
            ": has httpGet and allOf; keep one, and give the others keys of their own",
        ),
        ({}, ": does not say what to ask; add httpGet: {path: /healthy, port: 8080}"),
        ({"periodSeconds": 1, "httpGet": None}, ": has nothing below httpGet; write its fields there, two blanks further in"),
        (7, ": is no mapping; write its fields below it, as in a Pod spec"),
        ([GET], ": is no mapping; write its fields below it, as in a Pod spec"),
        (None, ": is no mapping; write its fields below it, as in a Pod spec"),
    ],
)
def test_a_stanza_that_cannot_be_served_is_refused_with_what_to_do(stanza, said):
    assert refusals(stanza) == [said]


@pytest.mark.parametrize(
    "name",
    (
        "Connection Content-Length Expect Host Keep-Alive Proxy-Authenticate Proxy-Authorization Proxy-Connection TE Trailer "
        "Transfer-Encoding Upgrade"
    ).split(),
)
def test_headers_of_one_connection_never_pass(name):
    assert refusals(GET | {"forwardHeaders": ["X-A", name]}) == [f".forwardHeaders: {name.lower()} {NEVER_PASSES}"]


def test_every_problem_of_a_stanza_is_told_that_of_its_key_included():
    assert refusals({"httpGet": {"port": "http", "path": 7}, "timeoutSeconds": 0, "tls": 7}, key="x") == [
        f": {KEY}",
        ".timeoutSeconds: 0 is not positive; give seconds above 0",
        ".tls: is no mapping; write its fields below it, as in a Pod spec",
        ".httpGet.port: port 'http' is a name, and names resolve only in the probed container; give the number",
        ".httpGet.path: 7 is no path; write one like /healthy",
        ".httpGet: is plain HTTP but has tls; add scheme: HTTPS, or remove tls",
    ]


def test_fields_that_slipped_out_of_their_kind_are_sent_back():
    assert refusals({"httpGet": None, "path": "/x", "port": 80}) == [
        ".path: cannot be used; write it one level down, below httpGet, tcpSocket or grpc",
        ".port: cannot be used; write it one level down, below httpGet, tcpSocket or grpc",
        ": has nothing below httpGet; write its fields there, two blanks further in",
    ]


@pytest.mark.parametrize("key", ["healthy", "", "http://h/x", "/a b", "/ü", "/a#b"])
def test_a_key_that_is_not_an_absolute_path_is_refused(key):
    assert refusals(GET, key) == [f": {KEY}"]


def test_a_key_that_would_break_the_line_is_escaped():
    assert problems(HEALTHPROXY_PROBES='{"/a\\n\\u2028\\ud800": {"httpGet": {"port": 80}}}') == [
        rf"HEALTHPROXY_PROBES./a\n\u2028\ud800: {KEY}"
    ]


@pytest.mark.parametrize("key", ["/-", "/-/", "/-/ready"])
def test_a_key_of_our_own_is_refused(key):
    assert refusals(GET, key) == [f": {RESERVED}"]


@pytest.mark.parametrize(
    ("short", "key", "action"),
    [
        ("http://127.0.0.1:8080/ready?x=1", "/ready?x=1", HTTPGet(8080, "/ready?x=1", "127.0.0.1")),
        ("/ok=https://[::1]/", "/ok", HTTPGet(443, "/", "::1", None, "https")),
        ("/a?b=c=http://app:80/d?e=f", "/a?b=c", HTTPGet(80, "/d?e=f", "app", "app")),
        ("http://localhost:1", "/", HTTPGet(1, "/", "localhost")),
        ("/ready=http://h:9090/-/ready", "/ready", HTTPGet(9090, "/-/ready", "h", "h")),
        (
            "http://unix:/run/app.sock:/ready",
            "/ready",
            HTTPGet(0, "/ready", "localhost", "localhost", unix_socket="/run/app.sock"),
        ),
        ("http://unix:/run/app.sock", "/", HTTPGet(0, "/", "localhost", "localhost", unix_socket="/run/app.sock")),
        ("/db=tcp://127.0.0.1:5432", "/db", TCPSocket(5432)),
        ("/api=grpc://127.0.0.1:50051/shop.Api", "/api", GRPC(50051, "shop.Api")),
    ],
)
def test_a_short_form_takes_its_key_from_an_http_target_or_names_it(short, key, action):
    (probe,) = parse_config({"probe": [short]}, {}).probes
    assert probe == Probe(key, action)


@pytest.mark.parametrize(
    ("short", "said"),
    [
        (
            "h:8080/x",
            f"is no target; write [/KEY=] and {SHORT_FORMS}",
        ),
        ("tcp://h:1", "has no key that the kubelet could ask for; write /KEY=tcp://h:1"),
        ("grpcs://h:1/s", "has no key that the kubelet could ask for; write /KEY=grpcs://h:1/s"),
        ("/-/x=http://h:1/", RESERVED),
        ("http://h:1/-/ready", RESERVED),
        ("http://h:1/ü", KEY),
        ("http://unix:/run/app.sock:ready", KEY),
    ],
)
def test_a_short_form_that_cannot_be_served_is_refused_with_what_to_do(short, said):
    assert problems({"probe": [short]}) == [f"--probe {short}: {said}"]
