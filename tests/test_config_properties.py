"""Configuration that nobody would write, and that which somebody nearly wrote: read and told back the same, or refused in lines.

By hand, with more examples than CI has time for: `HYPOTHESIS_EXAMPLES=20000 pytest tests/test_config_properties.py`.
"""

import json
import os
import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from healthproxy.config import Config, dump_config, parse_config
from healthproxy.problems import ConfigError

BY_HAND = int(os.environ.get("HYPOTHESIS_EXAMPLES", "0"))
REFUSAL = re.compile(r"[^:]*\S.*: \S.*; \S.+")
SHOULD_BE_ESCAPED = ("Cc", "Cs", "Zl", "Zp")

several = settings(
    max_examples=BY_HAND or 80,
    derandomize=not BY_HAND,
    deadline=None,
    database=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
    ],  # a file of an earlier example does no harm
)

texts = st.text(max_size=20) | st.text(st.characters(categories=["Cc", "Cs", "Zl", "Zp", "Cf", "Nd"]), max_size=5)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 70_000),
    st.integers(-(10**500), 10**500),
    st.floats(),
    texts,
    st.sampled_from(["/a", "/", "http", "HTTPS", "127.0.0.1", "::1", "/run/app.sock", "80", "-1", "", "x; y: z", "1" * 5000]),
)
names = st.one_of(
    st.sampled_from(
        "httpGet tcpSocket grpc allOf anyOf exec tls path port host scheme httpHeaders unixSocket service ca serverName name "
        "value timeoutSeconds periodSeconds failureThreshold successThreshold exposeBody forwardHeaders readinessProbe".split()
    ),
    texts,
)
keys = st.sampled_from(["/a", "/b", "/c", "/-/x", "8080", "/a#", "/a\n"]) | texts
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names | keys, inner, max_size=4), max_leaves=20
)
fields_of_any_value = {
    "port": st.integers(1, 65535) | anything,
    "host": st.sampled_from(["127.0.0.1", "::1", "shop.example"]) | anything,
    "path": st.text(max_size=9).map("/".__add__) | anything,
    "scheme": st.sampled_from(["HTTP", "HTTPS"]) | anything,
    "service": texts | anything,
    "unixSocket": st.text(max_size=9).map("/".__add__) | anything,
    "httpHeaders": st.lists(st.fixed_dictionaries({"name": texts | st.just("X-A"), "value": texts}), max_size=3) | anything,
}
actions = st.fixed_dictionaries({}, optional=fields_of_any_value)
wild_stanzas = st.one_of(
    anything,
    st.dictionaries(names, anything, max_size=5),
    st.fixed_dictionaries(
        {},
        optional={
            "httpGet": actions,
            "tcpSocket": actions,
            "grpc": actions,
            "allOf": st.lists(keys | anything, max_size=3),
            "anyOf": st.lists(keys, min_size=1, max_size=3),
            "tls": st.fixed_dictionaries({}, optional={"ca": anything, "serverName": texts | anything}),
            "timeoutSeconds": st.floats() | anything,
            "forwardHeaders": st.lists(texts | st.just("X-A"), max_size=3) | anything,
            "exposeBody": anything,
        },
    ),
)
wild_tables = st.dictionaries(keys, wild_stanzas, max_size=4) | anything

SPOILED: dict[str, list[Any]] = {
    "timeoutSeconds": [0, -1, "1s", True, [1], {}, float("nan"), float("inf"), 10**400],
    "periodSeconds": [0, "x", float("-inf")],
    "failureThreshold": [0, 1.5, "x", False, [], 10**400],
    "periodSecond": [1],
    "line\nbreak": [1],
    "exec": [{"command": ["true"]}],
}
SPOILED_OF: dict[str, dict[str, list[Any]]] = {
    "httpGet": {
        "exposeBody": ["perhaps", 2, []],
        "forwardHeaders": ["X-A", ["Host"], ["a b"], [1], {}],
        "httpGet.port": [0, 65536, "http", "", 1.5, [80], True, 10**400],
        "httpGet.host": ["a/b", "a b", "h:80", "a..b", "", 7, []],
        "httpGet.path": [7, "//h/x", "/a\nb", "/x?a b", "http://h/x", "/\ud800"],
        "httpGet.scheme": ["FTP", "https", 1, {}],
        "httpGet.httpHeaders": [{}, "x", [{"name": "A"}], [{"name": "a b", "value": ""}], [{"name": "A", "value": "b\r\nC: d"}]],
        "httpGet.service": ["x"],
    },
    "tcpSocket": {
        "tcpSocket.port": [0, "postgres", None],
        "tcpSocket.host": ["h:80"],
        "tcpSocket.unixSocket": ["/run/x"],
        "exposeBody": [True],
        "tls": [{}],
    },
    "grpc": {
        "grpc.port": [0, "grpc"],
        "grpc.service": [7, "a\nb", "\udc80"],
        "grpc.unixSocket": ["run/x", "/" + "x" * 107, 7, "/a\nb"],
        "grpc.tls": [{}],
        "tls.ca": ["/nowhere", "/\0", "/\ud800", "", 7],
        "tls.serverName": ["a b", 7],
        "tls.insecure": [True],
        "forwardHeaders": [["X-A"]],
    },
    "allOf": {
        "allOf": [[], "x", [1], ["/p0", "/p0"], {}],
        "allOf.unknown": [["/nobody"], ["p\n"]],
        "tls": [{}],
    },
}


@st.composite
def nearly_right(draw: st.DrawFn) -> tuple[dict[str, Any], set[str]]:
    """Draw a table and the places where it was spoiled."""
    table: dict[str, Any] = {}
    places: set[str] = set()
    for number in range(draw(st.integers(1, 4))):
        key = f"/p{number}"
        kind = draw(st.sampled_from(["httpGet", "tcpSocket", "grpc", *(["allOf", "anyOf"] if table else [])]))
        stanza = draw(right(kind, list(table)))
        possible: dict[str, list[Any]] = SPOILED | SPOILED_OF["allOf" if kind == "anyOf" else kind]
        for field in draw(st.lists(st.sampled_from(sorted(possible)), max_size=2, unique_by=lambda field: field.split(".")[0])):
            value = draw(st.sampled_from(possible[field]))
            places.add(spoil(stanza, kind, key, field, value))
        if draw(st.integers(0, 9)) == 0 and not any(place.startswith("probe") for place in places):
            places = {place.replace(f".{key}", f".{key[1:]}") for place in places} | {f".{key[1:]}"}
            key = key[1:]
        table[key] = stanza
    return table, places


@st.composite
def right(draw: st.DrawFn, kind: str, earlier: list[str]) -> dict[str, Any]:
    """Draw a stanza without a fault."""
    if kind in ("allOf", "anyOf"):
        return {kind: draw(st.lists(st.sampled_from(earlier), min_size=1, unique=True))}
    action: dict[str, Any] = {"port": draw(st.sampled_from([80, "8080", 1, 65535]))}
    if draw(st.booleans()):
        action["host"] = draw(st.sampled_from(["127.0.0.1", "::1", "shop.example", "localhost", "fe80::1%eth0"]))
    stanza: dict[str, Any] = {kind: action}
    if kind == "grpc":
        action["service"] = draw(st.sampled_from(["", "shop.Api", "ü/x"]))
        stanza |= draw(st.sampled_from([{}, {"tls": {}}, {"tls": {"serverName": "shop.example"}}]))
    if kind == "httpGet":
        action["path"] = draw(st.sampled_from(["", "/", "/x?y=z", "healthz", "/ü#x"]))
        action["scheme"] = draw(st.sampled_from(["HTTP", "HTTPS"]))
        action["httpHeaders"] = draw(
            st.sampled_from([[], [{"name": "X-Probe", "value": "ü\t"}], [{"name": "Host", "value": ""}]])
        )
        stanza["exposeBody"] = draw(st.booleans())
        stanza["forwardHeaders"] = draw(st.sampled_from([[], ["X-A", "x-a", "X-B"]]))
    if kind != "tcpSocket" and draw(st.booleans()):
        del action["port"]
        action.pop("host", None)
        action["unixSocket"] = draw(st.sampled_from(["/run/app.sock", "/" + "x" * 106]))
    stanza |= draw(st.sampled_from([{}, {"timeoutSeconds": 0.5, "initialDelaySeconds": 7}, {"periodSeconds": "1e3"}]))
    return stanza


def spoil(stanza: dict[str, Any], kind: str, key: str, field: str, value: Any) -> str:
    """Write a fault into a stanza and return the place that must be named."""
    if field == "allOf.unknown":
        stanza[kind] = value
        return f"probe {key}"
    field = kind if field == "allOf" else field
    *outer, name = field.split(".")
    (stanza.setdefault(outer[0], {}) if outer else stanza)[name] = value
    if field == "grpc.unixSocket":
        stanza["grpc"].pop("port", None)
        stanza["grpc"].pop("host", None)
    place = f".{key}.{field}" if value is not None else f".{key}.{outer[0]}"
    return place.replace("\n", r"\n")


def read(flags: dict[str, Any] | None = None, **environment: str) -> Config | list[str]:
    try:
        return parse_config(flags or {}, environment)
    except ConfigError as error:
        return error.problems


def hold(found: Config | list[str], directory: Path, suffix: str = "json") -> None:
    """Assert that it is the one or the other, in the form that is promised."""
    if isinstance(found, Config):
        file = directory / f"again.{suffix}"
        file.write_text(json.dumps(dump_config(found)))
        assert read(HEALTHPROXY_CONFIG=str(file)) == found
        return
    for line in found:
        assert REFUSAL.fullmatch(line), line
        assert not [char for char in line if unicodedata.category(char) in SHOULD_BE_ESCAPED], line
        assert "is not YAML" in line or not re.search(r"Errno|codec|positional|<class|argument|sys\.", line), line


@several
@given(wild_tables)
def test_any_table_in_the_environment_is_read_or_refused_in_lines(tmp_path, table):
    hold(read(HEALTHPROXY_PROBES=json.dumps(table)), tmp_path)


@several
@given(wild_tables, st.sampled_from(["json", "yaml"]))
def test_any_table_in_a_file_is_read_or_refused_in_lines(tmp_path, table, suffix):
    file = tmp_path / f"config.{suffix}"
    file.write_text(json.dumps({"probes": table}))
    hold(read(HEALTHPROXY_CONFIG=str(file)), tmp_path, suffix)


@several
@given(st.dictionaries(names | st.sampled_from(["listen", "adminListen", "allowFrom", "exposeBody", "logLevel"]), anything))
def test_any_options_in_a_file_are_read_or_refused_in_lines(tmp_path, contents):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(contents))
    hold(read(HEALTHPROXY_CONFIG=str(file)), tmp_path)


yaml_words = st.sampled_from(
    "probes: /a: httpGet: port: path: 80 - ? & &a *a ! !!int !!float !!bool !!binary !!timestamp !!set !!omap !!str << [ ] { } "
    ", | > ' \" # % --- ... 2020-13-45 0x 0xff 0o8 1_0 .inf .nan ~ null true".split()
)


@several
@given(st.lists(yaml_words | st.sampled_from(["\n", "\n  ", "\n    ", " "]) | texts.filter(str.isprintable), max_size=30))
def test_any_text_in_a_yaml_file_is_read_or_refused_in_lines(tmp_path, words):
    file = tmp_path / "config.yaml"
    file.write_text(" ".join(words), encoding="utf-8")
    hold(read(HEALTHPROXY_CONFIG=str(file)), tmp_path)


short_parts = st.one_of(
    st.sampled_from(
        "http:// https:// tcp:// grpc:// grpcs:// unix:/ /a = : / ? # @ [ ] [::1] h 127.0.0.1 :80 :99999 % %zz . ..".split()
    ),
    texts,
)


@several
@given(st.lists(st.lists(short_parts, max_size=7).map("".join), max_size=3))
def test_any_short_forms_are_read_or_refused_in_lines(tmp_path, shorts):
    hold(read({"probe": shorts}), tmp_path)
    hold(read(HEALTHPROXY_PROBE=" ".join(shorts)), tmp_path)


@several
@given(nearly_right(), st.sampled_from(["environment", "json", "yaml"]))
def test_each_spoiled_place_of_a_table_is_named_and_no_other(tmp_path, drawn, source):
    table, places = drawn
    if source == "environment":
        where, found = "HEALTHPROXY_PROBES", read(HEALTHPROXY_PROBES=json.dumps(table))
    else:
        file = tmp_path / f"config.{source}"
        file.write_text(json.dumps({"probes": table}))
        where, found = f"{file}: probes", read(HEALTHPROXY_CONFIG=str(file))
    hold(found, tmp_path)
    named = {line.removeprefix(where).partition(": ")[0] for line in (found if isinstance(found, list) else [])}
    assert named == places


@pytest.mark.parametrize(
    "field", ["httpGet", "httpGet: {port", "httpGet: {path", "httpGet: {scheme", "tls: {ca", "timeoutSeconds", "allOf"]
)
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("depth", [2, 90, 300, 950, 980, 5000])
def test_nesting_of_any_depth_is_refused_in_lines(tmp_path, field, opening, closing, depth):
    outer, _, inner = field.partition(": {")
    value = opening * depth + "1" + closing * depth
    stanza = f'{{"{outer}": {{"{inner}": {value}}}}}' if inner else f'{{"{outer}": {value}}}'
    hold(read(HEALTHPROXY_PROBES=f'{{"/a": {stanza}}}'), tmp_path)


@pytest.mark.parametrize("number", ["1" * 5000, "-" + "9" * 500, "1e999", "0x" + "f" * 9000])
def test_numbers_of_any_length_are_refused_in_lines(tmp_path, number):
    for field in ("timeoutSeconds", "failureThreshold"):
        table = f'{{"/a": {{"httpGet": {{"port": {number}}}, "{field}": {number}}}}}'
        hold(read(HEALTHPROXY_PROBES=table), tmp_path)
        file = tmp_path / "config.yaml"
        file.write_text(f"{number}: {number}\nmaxConnections: {number}\nprobes: {table}")
        hold(read(HEALTHPROXY_CONFIG=str(file)), tmp_path)
        file.write_text(f"? {number}\n: {number}\nprobes: {{? {number}\n : {{? {number}\n : 1}}}}")
        hold(read(HEALTHPROXY_CONFIG=str(file)), tmp_path)
