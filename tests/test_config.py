"""Configuration from every source, and every refusal with its exact text."""

import json
from pathlib import Path

import pytest
import trustme

from healthproxy.config import OPTIONS, Config, dump_config, file_key, flag, parse_config
from healthproxy.probe import TLS, HTTPGet, Probe
from healthproxy.problems import ConfigError

OTHER_VALUES = {
    "listen": ("127.0.0.1:9001", "127.0.0.1:9001"),
    "admin_listen": ("off", "off"),
    "app_host": ("10.0.0.7", "10.0.0.7"),
    "timeout_offset": ("0.2", 0.2),
    "min_interval": ("0.5", 0.5),
    "max_connections": ("64", 64),
    "header_timeout": ("3.5", 3.5),
    "allow_from": ("10.0.0.0/8", ["10.0.0.0/8"]),
    "expose_body": ("true", True),
    "drain_seconds": ("7", 7.0),
    "log_format": ("json", "json"),
    "log_level": ("debug", "debug"),
}
"""For each option a value that is not its default, as text and as the config file has it."""


def problems(flags: dict[str, object] | None = None, **environment: str) -> list[str]:
    """Return the lines with which a configuration is refused."""
    with pytest.raises(ConfigError) as caught:
        parse_config(flags or {}, environment)
    return caught.value.problems


def parse_probes(**table: object) -> tuple[Probe, ...]:
    """Read a probe table; `healthy` stands for the key /healthy."""
    return parse_config({}, {"HEALTHPROXY_PROBES": json.dumps({"/" + key: stanza for key, stanza in table.items()})}).probes


def refusals(stanza: object, key: str = "/x") -> list[str]:
    """Return what is said of one stanza, without the place."""
    where = f"HEALTHPROXY_PROBES.{key}"
    return [line.removeprefix(where) for line in problems(HEALTHPROXY_PROBES=json.dumps({key: stanza}))]


def test_a_pod_needs_no_configuration_at_all():
    config = parse_config({}, {})
    assert config == Config((Probe("/healthy", HTTPGet(8080, "/healthy", "127.0.0.1")),))
    assert (str(config.listen), str(config.admin_listen)) == (":15180", ":15190")


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_a_flag_a_variable_and_a_key_of_json_and_yaml(name, tmp_path):
    text, value = OTHER_VALUES[name]
    as_json, as_yaml = tmp_path / "config.json", tmp_path / "config.yaml"
    as_json.write_text(json.dumps({file_key(name): value}))
    as_yaml.write_text(f"{file_key(name)}: {json.dumps(value)}\n")
    found = {
        "flag": parse_config({name: text}, {}),
        "environment": parse_config({}, {f"HEALTHPROXY_{name.upper()}": text}),
        "JSON": parse_config({"config": str(as_json)}, {}),
        "YAML": parse_config({}, {"HEALTHPROXY_CONFIG": str(as_yaml)}),
    }
    for source, config in found.items():
        assert dump_config(config)[file_key(name)] == value, source
        assert getattr(config, name) != OPTIONS[name].default, source


def test_later_sources_win(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("minInterval: 1\ndrainSeconds: 1\ntimeoutOffset: 0.3\n")
    environment = {"HEALTHPROXY_CONFIG": str(file), "HEALTHPROXY_MIN_INTERVAL": "2", "HEALTHPROXY_DRAIN_SECONDS": "2"}
    config = parse_config({"min_interval": "3"}, environment)
    assert (config.min_interval, config.drain_seconds, config.timeout_offset) == (3, 2, 0.3)


def test_a_later_probe_table_replaces_an_earlier_one(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("probes:\n  /file: {httpGet: {port: 1}}\n")
    environment = {"HEALTHPROXY_CONFIG": str(file), "HEALTHPROXY_PROBES": '{"/env": {"httpGet": {"port": 2}}}'}
    assert [probe.key for probe in parse_config({}, environment).probes] == ["/env"]
    assert [probe.key for probe in parse_config({"probe": ["/flag=http://h:3/"]}, environment).probes] == ["/flag"]
    assert [probe.key for probe in parse_config({}, {"HEALTHPROXY_PROBE": "http://h:3/a http://h:3/b"}).probes] == ["/a", "/b"]


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


@pytest.mark.parametrize(
    ("short", "key", "action"),
    [
        ("http://127.0.0.1:8080/ready?x=1", "/ready?x=1", HTTPGet(8080, "/ready?x=1", "127.0.0.1")),
        ("/ok=https://[::1]/", "/ok", HTTPGet(443, "/", "::1", None, "https")),
        ("/a?b=c=http://app:80/d?e=f", "/a?b=c", HTTPGet(80, "/d?e=f", "app", "app")),
        ("http://localhost:1", "/", HTTPGet(1, "/", "localhost")),
    ],
)
def test_a_short_form_takes_its_key_from_the_target_or_names_it(short, key, action):
    (probe,) = parse_config({"probe": [short]}, {}).probes
    assert (probe.key, probe.action) == (key, action)


def test_the_probe_of_a_pod_without_configuration_lives_on_the_app_host():
    (probe,) = parse_config({"app_host": "10.0.0.7"}, {}).probes
    assert probe.action == HTTPGet(8080, "/healthy", "10.0.0.7")


def test_targets_that_name_no_host_live_on_the_app_host():
    environment = {"HEALTHPROXY_APP_HOST": "10.0.0.7", "HEALTHPROXY_PROBES": '{"/x": {"httpGet": {"port": 80}}}'}
    (probe,) = parse_config({}, environment).probes
    assert (probe.action.host, probe.action.named_host) == ("10.0.0.7", None)


@pytest.mark.parametrize(("timeout", "offset", "deadline"), [(1, 0.1, 0.9), (10, 0.1, 9.9), (1, 0.7, 0.5), (0.1, 0.1, 0.05)])
def test_the_deadline_is_the_timeout_less_the_offset_but_never_less_than_half(timeout, offset, deadline):
    table = json.dumps({"/x": {"httpGet": {"port": 80}, "timeoutSeconds": timeout}})
    (probe,) = parse_config({"timeout_offset": offset}, {"HEALTHPROXY_PROBES": table}).probes
    assert probe.deadline == pytest.approx(deadline)


def test_the_resolved_configuration_reads_back_unchanged(tmp_path):
    ca = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(ca))
    table = {
        "/a": {"httpGet": {"port": 80}, "exposeBody": True},
        "/b?c=d": {"httpGet": {"port": 443, "scheme": "HTTPS", "host": "x.y"}, "tls": {"ca": str(ca), "serverName": "z"}},
        "/c": {"httpGet": {"port": 1, "host": "::1", "httpHeaders": [{"name": "A", "value": "b"}]}, "timeoutSeconds": 0.5},
    }
    first = parse_config({"app_host": "10.0.0.7", "admin_listen": "off"}, {"HEALTHPROXY_PROBES": json.dumps(table)})
    assert first.probes[1].action.tls == TLS(str(ca), "z")
    file = tmp_path / "again.json"
    file.write_text(json.dumps(dump_config(first)))
    assert parse_config({"config": str(file)}, {}) == first


def test_all_problems_of_all_sources_are_told_at_once(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("listn: :1\nmaxConnections: none\nprobes: {/f: {httpGet: {}}}\n")
    flags: dict[str, object] = {"config": str(file), "min_interval": "-1", "probe": ["what"]}
    assert problems(flags, HEALTHPROXY_LOG_LEVEL="loud", HEALTHPROXY_LISTENN=":2") == [
        "HEALTHPROXY_LISTENN: unknown variable; did you mean HEALTHPROXY_LISTEN?",
        "--min-interval: -1 is no duration; give seconds, 0 or more",
        f"{file}: maxConnections: 'none' is not a number; give one",
        "HEALTHPROXY_LOG_LEVEL: 'loud' is not known; give one of debug, info, warning, error",
        f"{file}: probes./f.httpGet: has no port; add the port that the app listens on",
        "--probe what: is no target; write [/KEY=]http://HOST:PORT/PATH",
        f"{file}: listn: unknown key; did you mean listen?",
    ]


@pytest.mark.parametrize(
    ("stanza", "said"),
    [
        (
            {"exec": {"command": ["true"]}},
            ".exec: cannot be used; no command can be run in the app's container from here; use httpGet, "
            "or leave this probe with the app",
        ),
        (
            {"httpGet": {"port": "http"}},
            ".httpGet.port: port 'http' is a name, and names resolve only in the probed container; give the number",
        ),
        ({"httpGet": {"port": 80}, "timeoutSeconds": 0}, ".timeoutSeconds: 0 is not positive; give seconds above 0"),
        ({"httpGet": {"port": 80}, "timeoutSeconds": -1}, ".timeoutSeconds: -1 is not positive; give seconds above 0"),
        ({"httpGet": {"port": 80}, "failureThreshold": 0}, ".failureThreshold: 0 is no count; give a whole number, 1 or more"),
        (
            {"httpGet": {"port": 80}, "periodSecond": 1},
            ".periodSecond: unknown field; remove it, or check its spelling against a Pod spec",
        ),
        ({"httpGet": {"port": 80, "scheme": "FTP"}}, ".httpGet.scheme: 'FTP' is not known; give one of HTTP, HTTPS"),
        ({"httpGet": {"port": 80, "path": "//h/x"}}, ".httpGet.path: '//h/x' is no path; write one like /healthy"),
        ({"httpGet": {"port": 80, "path": "/x?a b"}}, ".httpGet.path: '/x?a b' has a blank in its query; write %20"),
        (
            {"httpGet": {"port": 80, "host": "a/b"}},
            ".httpGet.host: 'a/b' is no host; give a name or an address, without port and brackets",
        ),
        (
            {"httpGet": {"port": 80, "httpHeaders": [{"name": "a b", "value": "c"}]}},
            ".httpGet.httpHeaders: 'a b' is no header name; use letters, digits and hyphens",
        ),
        (
            {"httpGet": {"port": 80, "httpHeaders": [{"name": "A", "value": "b\r\nC: d"}]}},
            ".httpGet.httpHeaders: the value of A is no text on one line; quote it",
        ),
        (
            {"httpGet": {"port": 80, "httpHeaders": {"A": "b"}}},
            ".httpGet.httpHeaders: is no list of headers; write [{name: X-Probe, value: kubelet}]",
        ),
        ({"httpGet": {"port": 80}, "tls": {}}, ".httpGet: is plain HTTP but has tls; add scheme: HTTPS, or remove tls"),
        (
            {"httpGet": {"port": 80, "scheme": "HTTPS"}, "tls": {"ca": "/nowhere"}},
            ".tls.ca: /nowhere holds no certificates (No such file or directory); mount a PEM file there",
        ),
        ({"httpGet": {"port": 80, "tls": {}}}, ".httpGet.tls: cannot be used; write tls beside httpGet, not into it"),
        ({"httpGet": {"port": 80, "path": "/\ud800"}}, ".httpGet.path: '/\\ud800' is no path; write one like /healthy"),
        (
            {"httpGet": {"port": 80, "httpHeaders": [{"name": "A", "value": "\ud800"}]}},
            ".httpGet.httpHeaders: the value of A is no text on one line; quote it",
        ),
        ({}, ": says not what to ask; add httpGet: {path: /healthy, port: 8080}"),
        (7, ": is no mapping; write its fields below it, as in a Pod spec"),
        ({"httpGet": 7}, ".httpGet: is no mapping; write its fields below it, as in a Pod spec"),
    ],
)
def test_a_stanza_that_cannot_be_served_is_refused_with_what_to_do(stanza, said):
    assert said in refusals(stanza)


@pytest.mark.parametrize("kind", ["tcpSocket", "grpc", "allOf", "anyOf"])
def test_kinds_that_this_version_does_not_know_are_refused_as_such(kind):
    (line,) = refusals({kind: {"port": 5432}})
    assert (
        line == f".{kind}: cannot be used; this version asks over HTTP and HTTPS only: give the app's health endpoint as httpGet"
    )


@pytest.mark.parametrize(
    ("short", "said"),
    [
        (
            "tcp://h:1",
            "tcp:// cannot be used; this version asks over HTTP and HTTPS only: give the app's health endpoint as httpGet",
        ),
        (
            "grpcs://h:1/s",
            "grpcs:// cannot be used; this version asks over HTTP and HTTPS only: give the app's health endpoint as httpGet",
        ),
        ("ftp://h:1", "is no target; write http://HOST:PORT/PATH or https://HOST:PORT/PATH"),
        ("h:8080/x", "is no target; write [/KEY=]http://HOST:PORT/PATH"),
        ("http://a..b/", "'a..b' is no host; give a name or an address, without port and brackets"),
        ("http://h:0/", "has no port from 1 to 65535; write http://HOST:PORT/PATH"),
        ("http://h:http/", "has no port from 1 to 65535; write http://HOST:PORT/PATH"),
        ("http://u:p@h:1/", "names no host, or a user; write http://HOST:PORT/PATH, and credentials into httpHeaders"),
        ("http:///x", "names no host, or a user; write http://HOST:PORT/PATH, and credentials into httpHeaders"),
        ("/-/x=http://h:1/", "keys under /-/ are healthproxy's own; choose another"),
        ("http://h:1/-/ready", "keys under /-/ are healthproxy's own; choose another"),
        ("http://h:1/ü", "the key is not an absolute path; write one like /healthy, percent-encoded, without fragment"),
    ],
)
def test_a_short_form_that_cannot_be_served_is_refused_with_what_to_do(short, said):
    assert problems({"probe": [short]}) == [f"--probe {short}: {said}"]


@pytest.mark.parametrize("key", ["healthy", "", "http://h/x", "/a b", "/ü", "/a#b", "/a\n"])
def test_a_key_that_is_not_an_absolute_path_is_refused(key):
    (line,) = refusals({"httpGet": {"port": 80}}, key)
    assert line == ": the key is not an absolute path; write one like /healthy, percent-encoded, without fragment"


def test_two_keys_alike_are_refused_in_every_source(tmp_path):
    twice = "http://h:1/x"
    said = "is a second probe with the key /x; write another KEY= before it"
    assert problems({"probe": [twice, twice]}) == [f"--probe {twice}: {said}"]
    assert problems(HEALTHPROXY_PROBE=f"{twice} {twice}") == [f"HEALTHPROXY_PROBE {twice}: {said}"]
    table = '{"/x": {"httpGet": {"port": 1}}, "/x": {"httpGet": {"port": 2}}}'
    assert problems(HEALTHPROXY_PROBES=table) == ["HEALTHPROXY_PROBES: key /x stands there twice; keep one"]
    file = tmp_path / "c.yaml"
    file.write_text("probes:\n  /x: {httpGet: {port: 1}}\n  /x: {httpGet: {port: 2}}\n")
    (line,) = problems({"config": str(file)})
    assert "duplicate key" in line


@pytest.mark.parametrize(
    "probe",
    [
        "/x=http://127.0.0.1:15180/",
        "/x=http://localhost:15190/",
        "/x=http://[::1]:15180/",
        "/x=http://10.0.0.7:15180/",
        "/x=http://0.0.0.0:15190/",
    ],
)
def test_a_target_that_is_our_own_port_is_refused(probe):
    assert problems({"probe": [probe], "app_host": "10.0.0.7"}) == [
        "probe /x: its target is our own port; give the port that the app listens on"
    ]


def test_the_same_port_of_another_host_is_not_our_own():
    assert parse_config({"probe": ["http://10.0.0.8:15180/"]}, {}).probes
    assert parse_config({"probe": ["http://127.0.0.2:9/"], "listen": "127.0.0.1:9"}, {}).probes


def test_both_ports_on_one_number_are_refused():
    said = "--admin-listen: port 9 is the open port's; give another port, or off"
    assert problems({"listen": ":9", "admin_listen": "127.0.0.1:9"}) == [said]
    assert problems({"listen": "0.0.0.0:9", "admin_listen": "127.0.0.1:9"}) == [said]
    assert parse_config({"listen": "127.0.0.1:9", "admin_listen": "127.0.0.2:9"}, {}).listen.port == 9


def test_two_tables_in_the_environment_are_refused():
    assert problems(HEALTHPROXY_PROBE="http://h:1/", HEALTHPROXY_PROBES='{"/x": {"httpGet": {"port": 1}}}') == [
        "HEALTHPROXY_PROBE: stands beside HEALTHPROXY_PROBES; keep one of the two"
    ]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("c.json", "{", "is not JSON: "),
        ("c.yaml", "a: [", "is not YAML: "),
        ("c.yaml", "a: !!bool foo", "is not YAML: "),
        ("c.yaml", "a: !!int foo", "is not YAML: "),
        ("c.yaml", "a: 2020-13-45", "is not YAML: "),
        ("c.yaml", "", "holds no options; write `probes:` and the probes below it"),
        ("c.yaml", "- a", "holds no options; write `probes:` and the probes below it"),
        ("c.yaml", "probes: {}", "probes: holds no probes; write "),
        ("c.json", "[" * 100_000, "is nested too deeply; a probe table needs four levels"),
        ("c.yaml", "1: 2", "1: unknown key; remove it"),
        ("c.yaml", "probes: {8080: {httpGet: {port: 1}}}", "probes.8080: the key is not an absolute path"),
    ],
)
def test_a_file_that_holds_no_configuration_is_refused(tmp_path, name, text, said):
    file = tmp_path / name
    file.write_text(text)
    (line,) = problems({"config": str(file)})
    assert line.startswith(f"{file}: {said}")


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    (line,) = problems({"config": str(tmp_path / "none.yaml")})
    assert line.endswith("No such file or directory: '" + str(tmp_path / "none.yaml") + "'; give the path of a UTF-8 text file")
    (tmp_path / "latin.yaml").write_bytes(b"\xff\xfe")
    (line,) = problems({"config": str(tmp_path / "latin.yaml")})
    assert line.endswith("; give the path of a UTF-8 text file")


def test_the_variables_that_kubernetes_sets_for_a_service_of_our_name_do_no_harm():
    service = {
        "HEALTHPROXY_SERVICE_HOST": "10.0.0.1",
        "HEALTHPROXY_SERVICE_PORT": "80",
        "HEALTHPROXY_SERVICE_PORT_HTTP": "80",
        "HEALTHPROXY_PORT": "tcp://10.0.0.1:80",
        "HEALTHPROXY_PORT_80_TCP": "tcp://10.0.0.1:80",
        "HEALTHPROXY_PORT_80_TCP_ADDR": "10.0.0.1",
        "HEALTHPROXY_DEMO_SERVICE_HOST": "10.0.0.2",
    }
    assert parse_config({}, service) == parse_config({}, {})


def test_yaml_1_1_and_1_2_agree_that_off_is_off(tmp_path):
    for spelling in ("off", "false", "'off'"):
        file = tmp_path / "c.yaml"
        file.write_text(f"adminListen: {spelling}\n")
        assert parse_config({"config": str(file)}, {}).admin_listen is None


def test_names_of_an_option_follow_from_its_field():
    assert (flag("min_interval"), file_key("min_interval")) == ("--min-interval", "minInterval")


def test_the_readme_lists_every_option_with_its_default():
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    defaults = dump_config(parse_config({}, {}))
    for name in OPTIONS:
        default = defaults[file_key(name)]
        shown = (
            "any"
            if default == []
            else "off"
            if default is False
            else f"`{default:g}`"
            if isinstance(default, float)
            else f"`{default}`"
        )
        assert f"| `{flag(name)}` | {shown} |" in readme, name
