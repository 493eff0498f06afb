"""Configuration from every source, and what only all of it together can say."""

import json
from pathlib import Path

import pytest
import trustme

from healthproxy.config import OPTIONS, Config, dump_config, file_key, flag, parse_config
from healthproxy.probe import HTTPGet, Probe
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


KEY = "the key is not an absolute path; write one like /healthy, percent-encoded, without fragment"


def problems(flags: dict[str, object] | None = None, **environment: str) -> list[str]:
    """Return the lines with which a configuration is refused."""
    with pytest.raises(ConfigError) as caught:
        parse_config(flags or {}, environment)
    return caught.value.problems


def parse_probes(options: dict[str, object] | None = None, /, **table: object) -> tuple[Probe, ...]:
    """Read a probe table; `healthy` stands for the key /healthy."""
    return parse_config(
        options or {}, {"HEALTHPROXY_PROBES": json.dumps({"/" + key: stanza for key, stanza in table.items()})}
    ).probes


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


def test_the_probe_of_a_pod_without_configuration_lives_on_the_app_host():
    (probe,) = parse_config({"app_host": "10.0.0.7"}, {}).probes
    assert probe.action == HTTPGet(8080, "/healthy", "10.0.0.7")


def test_targets_that_name_no_host_live_on_the_app_host():
    environment = {"HEALTHPROXY_APP_HOST": "10.0.0.7", "HEALTHPROXY_PROBES": '{"/x": {"httpGet": {"port": 80}}}'}
    (probe,) = parse_config({}, environment).probes
    assert probe.action == HTTPGet(80, host="10.0.0.7")


def test_the_resolved_configuration_reads_back_unchanged(tmp_path):
    ca = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(ca))
    table = {
        "/a": {"httpGet": {"port": 80}, "exposeBody": True, "forwardHeaders": ["X-Tenant"]},
        "/b?c=d": {"httpGet": {"port": 443, "scheme": "HTTPS", "host": "x.y"}, "tls": {"ca": str(ca), "serverName": "z"}},
        "/c": {"httpGet": {"port": 1, "host": "::1", "httpHeaders": [{"name": "A", "value": "b"}]}, "timeoutSeconds": 0.5},
        "/d": {"httpGet": {"unixSocket": "/run/app.sock", "path": "/ready"}},
        "/e": {"tcpSocket": {"port": 5432}, "periodSeconds": 1e9, "failureThreshold": 1e9},
        "/f": {"grpc": {"port": 50051, "service": "shop.Api"}, "tls": {}},
        "/g": {"grpc": {"unixSocket": "/run/grpc.sock"}, "tls": {"ca": str(ca)}},
        "/h": {"allOf": ["/a", "/i"]},
        "/i": {"anyOf": ["/e", "/f"]},
    }
    first = parse_config({"app_host": "10.0.0.7", "admin_listen": "off"}, {"HEALTHPROXY_PROBES": json.dumps(table)})
    for name in ("again.json", "again.yaml"):
        (tmp_path / name).write_text(json.dumps(dump_config(first)))
        assert parse_config({"config": str(tmp_path / name)}, {}) == first


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
        "--probe what: is no target; write [/KEY=] and http://HOST:PORT/PATH, https://…, tcp://HOST:PORT, "
        "grpc://HOST:PORT/SERVICE, grpcs://… or http://unix:/FILE:/PATH",
        f"{file}: listn: unknown key; did you mean listen?",
    ]


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
        "/x=tcp://127.0.0.1:15180",
        "/x=grpc://localhost:15190",
    ],
)
def test_a_target_that_is_our_own_port_is_refused(probe):
    assert problems({"probe": [probe], "app_host": "10.0.0.7"}) == [
        "probe /x: its target is our own port; give the port that the app listens on"
    ]


def test_the_same_port_of_another_host_is_not_our_own():
    assert parse_config({"probe": ["http://10.0.0.8:15180/"]}, {}).probes
    assert parse_config({"probe": ["http://127.0.0.2:9/"], "listen": "127.0.0.1:9"}, {}).probes
    assert parse_config({"probe": ["http://unix:/run/app.sock:/"], "listen": ":9"}, {}).probes


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
        (
            "c.json",
            "{",
            "is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1); mend it there",
        ),
        ("c.yaml", "a: !!bool foo", "is not YAML: 'foo'; mend it there"),
        ("c.yaml", "a: !!int ''", "is not YAML: string index out of range; mend it there"),
        ("c.yaml", "a: 2020-13-45", "is not YAML: month must be in 1..12; mend it there"),
        ("c.yaml", "? - [a]\n: b", "is not YAML: unhashable type: 'list'; mend it there"),
        ("c.yaml", "", "holds no options; write `probes:` and the probes below it"),
        ("c.yaml", "- a", "holds no options; write `probes:` and the probes below it"),
        ("c.yaml", "probes: {}", 'probes: holds no probes; write {"/healthy": {"httpGet": {"path": "/healthy", "port": 8080}}}'),
        (
            "c.yaml",
            "probes: [/x]",
            'probes: holds no probes; write {"/healthy": {"httpGet": {"path": "/healthy", "port": 8080}}}',
        ),
        ("c.json", "[" * 100_000, "is nested too deeply; a probe table needs four levels"),
        ("c.yaml", "[" * 1000, "is nested too deeply; a probe table needs four levels"),
        ("c.yaml", "1: 2", "1: unknown key; remove it; `healthproxy --help` lists what there is"),
        ("c.yaml", '"a\\nb": 2', "a\\nb: unknown key; remove it; `healthproxy --help` lists what there is"),
        ("c.yaml", "true: 2", "true: unknown key; remove it; `healthproxy --help` lists what there is"),
        ("c.yaml", "prob: {}", "prob: unknown key; did you mean probes?"),
        ("c.yaml", "probes: {8080: {httpGet: {port: 1}}}", f"probes.8080: {KEY}"),
        ("c.yaml", "probes: {/x: }", "probes./x: is no mapping; write its fields below it, as in a Pod spec"),
    ],
)
def test_a_file_that_holds_no_configuration_is_refused(tmp_path, name, text, said):
    file = tmp_path / name
    file.write_text(text)
    assert problems({"config": str(file)}) == [f"{file}: {said}"]


def test_a_file_that_is_no_yaml_is_refused_on_one_line_that_says_where(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("a: [")
    (line,) = problems({"config": str(file)})
    assert line.startswith(f"{file}: is not YAML: while parsing a flow node")
    assert "in line 1, column 5: a: [" in line
    assert line.endswith("; mend it there")


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


def test_an_anchor_may_be_used_again_as_yaml_allows(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("probes:\n  /a: {httpGet: &a {port: 1}}\n  /b: {httpGet: &a {port: 2}}\n  /c: {tcpSocket: *a}\n")
    assert [str(probe.endpoint) for probe in parse_config({"config": str(file)}, {}).probes][1:] == ["127.0.0.1:2"] * 2


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
