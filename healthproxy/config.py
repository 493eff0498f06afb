"""Configuration: text from flags, environment and file → one frozen `Config`, with all problems at once.

Gets argv and environment as values; reads no more than the files that they name. Each option is one field of `Config`, from which
its flag, its environment variable and its file key follow.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from healthproxy import values
from healthproxy.actions import Settings
from healthproxy.aggregates import Table, complete_aggregates
from healthproxy.kubelet import is_loopback
from healthproxy.probe import Endpoint, Probe
from healthproxy.problems import Problems
from healthproxy.stanza import default_probe, dump_stanza, parse_short, parse_stanza
from healthproxy.values import Address, Network

ENVIRONMENT = "HEALTHPROXY_"
EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, not bound to

_SERVICE_LINK = re.compile(r"HEALTHPROXY_(.*_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT|PORT_\d+_(TCP|UDP|SCTP).*)")
"""Variables that Kubernetes itself sets in every pod of a namespace with a Service called healthproxy."""


def _option(default: Any, parse: Callable[[Any], Any], text: str, *, repeatable: bool = False) -> Any:
    return field(default=default, metadata={"parse": parse, "text": text, "repeatable": repeatable})


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that was decided at start, complete and checked; durations in seconds. The texts are those of `--help`."""

    probes: tuple[Probe, ...]
    listen: Address = _option(Address("", 15180), values.address, "open port; :PORT means every address, IPv6 and IPv4")
    admin_listen: Address | None = _option(Address("", 15190), values.address_or_off, "admin port; off switches it off")
    app_host: str = _option("127.0.0.1", values.host, "where targets that name no host live")
    timeout_offset: float = _option(0.1, values.seconds, "answer this long before timeoutSeconds, so that we say why")
    min_interval: float = _option(0.1, values.seconds, "two requests to the app for one probe are never closer")
    max_connections: int = _option(256, values.count, "open connections on the open port")
    header_timeout: float = _option(2.0, values.positive_seconds, "a caller must have sent a whole request by then")
    allow_from: tuple[Network, ...] = _option((), values.networks, "CIDR that may use the open port", repeatable=True)
    expose_body: bool = _option(False, values.boolean, "hand the app's body (at most 10 KiB) to the caller")
    drain_seconds: float = _option(25.0, values.seconds, "how long to stay after SIGTERM while the app is still there")
    log_format: str = _option("text", values.choice("text", "json"), "text or json")
    log_level: str = _option("info", values.choice("debug", "info", "warning", "error"), "debug, info, warning or error")


OPTIONS = {option.name: option for option in dataclasses.fields(Config) if option.name != "probes"}
"""Every option but the probe table, by field name."""


def flag(name: str) -> str:
    """Name an option on the command line."""
    return "--" + name.replace("_", "-")


def file_key(name: str) -> str:
    """Name an option in the config file."""
    first, *rest = name.split("_")
    return first + "".join([part.capitalize() for part in rest])


def parse_config(flags: Mapping[str, Any], environment: Mapping[str, str]) -> Config:
    """Merge and check every source; later wins: defaults, file, environment, flags.

    `flags`: by option name (`probe` and `config` included), as given on the command line. Raises ConfigError with all problems.
    """
    problems = Problems()
    env = _read_environment(environment, problems)
    path = flags.get("config") or env.get("config")
    contents = _read_file(path, problems) if path else {}
    found: dict[str, Any] = {}
    for name, option in OPTIONS.items():
        sources = (
            (f"{path}: {file_key(name)}", contents.pop(file_key(name), None)),
            (ENVIRONMENT + name.upper(), env.get(name)),
            (flag(name), flags.get(name)),
        )
        for where, raw in sources:
            if raw is not None:
                with problems.at(where):
                    found[name] = option.metadata["parse"](raw)
    config = Config((), **found)
    settings = Settings(config.app_host, config.timeout_offset, config.expose_body)
    tables = (
        _parse_table(f"{path}: probes", contents.pop("probes", None), settings, problems),
        _parse_environment_table(env, settings, problems),
        _parse_shorts("--probe", flags.get("probe") or (), settings, problems),
    )
    for key in map(values.name_of, contents):
        problems.add(f"{path}: {key}", "unknown key", suggest(key, ["probes", *map(file_key, OPTIONS)]))
    given = [table for table in tables if table is not None]
    table: Table = given[-1] if given else {"/healthy": default_probe(settings)}
    config = dataclasses.replace(config, probes=complete_aggregates(table, problems))
    _check_together(config, problems)
    problems.raise_if_any()
    return config


def dump_config(config: Config) -> dict[str, Any]:
    """Return the configuration in the shape of the config file; reading it back gives the same one."""
    options = {file_key(name): values.dump(getattr(config, name)) for name in OPTIONS}
    return {"probes": {probe.key: dump_stanza(probe) for probe in config.probes}, **options}


def suggest(name: str, known: Iterable[str]) -> str:
    """Say what to do about an unknown name."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}?" if close else "remove it; `healthproxy --help` lists what there is"


def _read_environment(environment: Mapping[str, str], problems: Problems) -> dict[str, str]:
    known = {ENVIRONMENT + name.upper(): name for name in (*OPTIONS, "probe", "probes", "config")}
    found = {}
    for variable, value in environment.items():
        if variable in known:
            found[known[variable]] = value
        elif variable.startswith(ENVIRONMENT) and not _SERVICE_LINK.fullmatch(variable):
            problems.add(variable, "unknown variable", suggest(variable, known))
    return found


def _read_file(path: str, problems: Problems) -> dict[str, Any]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        problems.add(path, f"cannot be read: {error}", "give the path of a UTF-8 text file")
        return {}
    contents: Any = None
    with problems.at(path):
        contents = _parse_json(text) if path.endswith(".json") else _parse_yaml(text)
        if not isinstance(contents, dict):
            problems.add(path, "holds no options", "write `probes:` and the probes below it")
    return contents if isinstance(contents, dict) else {}


def _parse_json(text: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"key {name} stands there twice; keep one")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=unique, parse_int=_parse_digits)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error}; mend it there") from None
    except RecursionError:
        raise ValueError("is nested too deeply; a probe table needs four levels") from None


def _parse_digits(digits: str) -> float:
    """Read a whole number; one that Python refuses to read for its length is too large for every option."""
    return int(digits) if len(digits) < 400 else float(digits)


def _parse_yaml(text: str) -> Any:
    from ruamel.yaml import YAML  # 1.6 MB of memory: loaded only by those who wrote YAML
    from ruamel.yaml.error import ReusedAnchorWarning, YAMLError

    try:
        with warnings.catch_warnings(action="ignore", category=ReusedAnchorWarning):  # YAML allows it
            return YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ArithmeticError, LookupError, TypeError, ValueError) as error:  # all but the first: a tag's value is none
        said = " ".join(str(error).partition(";")[0].replace(' in "<unicode string>",', " in").split())
        raise ValueError(f"is not YAML: {said}; mend it there") from None
    except RecursionError:
        raise ValueError("is nested too deeply; a probe table needs four levels") from None


def _parse_table(where: str, table: Any, settings: Settings, problems: Problems) -> Table | None:
    if table is None:
        return None
    if not isinstance(table, dict) or not table:
        problems.add(where, "holds no probes", 'write {"/healthy": {"httpGet": {"path": "/healthy", "port": 8080}}}')
        return {}
    return {key: parse_stanza(f"{where}.{values.name_of(key)}", key, stanza, settings, problems) for key, stanza in table.items()}


def _parse_environment_table(env: Mapping[str, str], settings: Settings, problems: Problems) -> Table | None:
    table, short = env.get("probes"), env.get("probe")
    where = ENVIRONMENT + "PROBES"
    probes: Table | None = None
    if table is not None:
        with problems.at(where):
            probes = _parse_table(where, _parse_json(table), settings, problems)
    if short is not None:
        if table is not None:
            problems.add(ENVIRONMENT + "PROBE", f"stands beside {where}", "keep one of the two")
        probes = _parse_shorts(ENVIRONMENT + "PROBE", short.split(), settings, problems)
    return probes


def _parse_shorts(where: str, shorts: Sequence[str], settings: Settings, problems: Problems) -> Table | None:
    probes: Table = {}
    for short in shorts:
        with problems.at(f"{where} {short}"):
            probe = parse_short(short, settings)
            if probe.key in probes:
                raise ValueError(f"is a second probe with the key {probe.key}; write another KEY= before it")
            probes[probe.key] = probe
    return probes if shorts else None


def _check_together(config: Config, problems: Problems) -> None:
    """Check what no single option can know."""
    own = [address for address in (config.listen, config.admin_listen) if address is not None]
    everywhere = any(address.host in EVERYWHERE for address in own)
    if len(own) == 2 and own[0].port == own[1].port != 0 and (everywhere or own[0] == own[1]):
        problems.add("--admin-listen", f"port {own[1].port} is the open port's", "give another port, or off")
    for probe in config.probes:
        if any(_is_ours(address, probe.endpoint, config.app_host) for address in own):
            problems.add(f"probe {probe.key}", "its target is our own port", "give the port that the app listens on")


def _is_ours(address: Address, endpoint: Endpoint | None, app_host: str) -> bool:
    if endpoint is None or endpoint.unix_socket or endpoint.port != address.port:
        return False
    host = endpoint.host
    if address.host in EVERYWHERE:
        return is_loopback(host) or host in (app_host, *EVERYWHERE)
    return host == address.host or (host == "localhost" and is_loopback(address.host))
