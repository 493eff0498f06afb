"""One probe's configuration: a stanza pasted from a Pod spec, or a short form → `Probe`, and back to a stanza.

Knows nothing of files, flags or of other probes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from healthproxy import values
from healthproxy.kubelet import has_control, is_loopback, is_token, is_unicode
from healthproxy.probe import DEFAULT_PORT, TLS, HTTPGet, Probe
from healthproxy.problems import Problems
from healthproxy.tls import tls_context

T = TypeVar("T")

_KEY = re.compile(r"/[!-~]*")
_SHORT = re.compile(r"(?:(?P<key>/.*?)=)?(?P<target>[a-z]+://.*)", re.DOTALL)
_WITHOUT_MEANING = frozenset({"initialDelaySeconds", "successThreshold", "terminationGracePeriodSeconds"})
_LATER = "this version asks over HTTP and HTTPS only: give the app's health endpoint as httpGet"
_REFUSED = {
    "exec": "no command can be run in the app's container from here; use httpGet, or leave this probe with the app",
    "tcpSocket": _LATER,
    "grpc": _LATER,
    "allOf": _LATER,
    "anyOf": _LATER,
    "forwardHeaders": "this version passes on User-Agent and Accept only; write fixed headers into httpHeaders",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """The options that complete a probe."""

    app_host: str
    timeout_offset: float
    expose_body: bool


class _Section:
    """The fields of one level of a stanza, taken one by one; what nobody takes is a problem."""

    def __init__(self, where: str, raw: object, problems: Problems) -> None:
        self.where = where
        self._problems = problems
        self._fields: dict[str, Any] = dict(raw) if isinstance(raw, Mapping) else {}
        self.names = frozenset(self._fields)
        if not isinstance(raw, Mapping):
            problems.add(where, "is no mapping", "write its fields below it, as in a Pod spec")

    def take(self, name: str, parse: Callable[[Any], T], default: T) -> T:
        """Read a field that may be missing; null counts as missing, as in a Pod spec."""
        raw = self._fields.pop(name, None)
        if raw is not None:
            with self._problems.at(f"{self.where}.{name}"):
                return parse(raw)
        return default

    def section(self, name: str) -> _Section | None:
        """Read a field that has fields."""
        raw = self._fields.pop(name, None)
        return None if raw is None else _Section(f"{self.where}.{name}", raw, self._problems)

    def close(self, refused: Mapping[str, str]) -> None:
        """Report what was not taken; `refused` says of known fields why not."""
        for name in self._fields:
            what = "cannot be used" if name in refused else "unknown field"
            to_do = refused.get(name, "remove it, or check its spelling against a Pod spec")
            self._problems.add(f"{self.where}.{name}", what, to_do)


def parse_stanza(where: str, key: object, raw: object, settings: Settings, problems: Problems) -> Probe | None:
    """Read one probe in the shape of a Pod spec; None if a problem was noted."""
    with problems.at(where):
        key = _parse_key(key)
        stanza = _Section(where, raw, problems)
        for name in _WITHOUT_MEANING:
            stanza.take(name, lambda value: value, None)
        timeout = stanza.take("timeoutSeconds", values.positive_seconds, 1.0)
        period = stanza.take("periodSeconds", values.positive_seconds, 10.0)
        threshold = stanza.take("failureThreshold", values.count, 3)
        expose_body = stanza.take("exposeBody", values.boolean, settings.expose_body)
        tls = _parse_tls(stanza.section("tls"))
        section = stanza.section("httpGet")
        action = None if section is None else _parse_http_get(section, tls, settings, problems)
        stanza.close(_REFUSED)
        if action is not None:
            rest = {"period": period, "failure_threshold": threshold, "expose_body": expose_body}
            return _complete(key, action, settings, timeout, **rest)
        if isinstance(raw, Mapping) and not stanza.names & {"httpGet", *_REFUSED}:
            raise ValueError("says not what to ask; add httpGet: {path: /healthy, port: 8080}")
    return None


def default_probe(settings: Settings) -> Probe:
    """Return the probe of a pod that configures none."""
    return _complete("/healthy", HTTPGet(8080, "/healthy", settings.app_host), settings, expose_body=settings.expose_body)


def parse_short(text: str, settings: Settings) -> Probe:
    """Read `[/KEY=]TARGET`. Raises ValueError with `what is wrong; what to do`."""
    match = _SHORT.fullmatch(text)
    if match is None:
        raise ValueError("is no target; write [/KEY=]http://HOST:PORT/PATH")
    action = parse_target(match["target"])
    return _complete(_parse_key(match["key"] or action.path), action, settings, expose_body=settings.expose_body)


def parse_target(target: str) -> HTTPGet:
    """Read an http or https URL. Raises ValueError with `what is wrong; what to do`."""
    scheme = target.partition("://")[0]
    if scheme in ("tcp", "grpc", "grpcs"):
        raise ValueError(f"{scheme}:// cannot be used; {_LATER}")
    if scheme not in DEFAULT_PORT:
        raise ValueError("is no target; write http://HOST:PORT/PATH or https://HOST:PORT/PATH")
    try:
        url = urlsplit(target)
        port = values.port(DEFAULT_PORT[scheme] if url.port is None else url.port)
    except ValueError:
        raise ValueError("has no port from 1 to 65535; write http://HOST:PORT/PATH") from None
    if url.username is not None or not url.hostname:
        raise ValueError("names no host, or a user; write http://HOST:PORT/PATH, and credentials into httpHeaders")
    path = _parse_path((url.path or "/") + ("?" + url.query if url.query else ""))
    return HTTPGet(port, path, values.host(url.hostname), _named(url.hostname), scheme)


def dump_stanza(probe: Probe) -> dict[str, Any]:
    """Write a probe in the shape of a Pod spec."""
    action = probe.action
    http_get: dict[str, Any] = {"path": action.path, "port": action.port, "scheme": action.scheme.upper()}
    if action.named_host or is_loopback(action.host):
        http_get["host"] = action.host  # otherwise it came from --app-host
    if action.headers:
        http_get["httpHeaders"] = [{"name": name, "value": value} for name, value in action.headers]
    stanza: dict[str, Any] = {"httpGet": http_get}
    tls = {name: value for name, value in (("ca", action.tls.ca), ("serverName", action.tls.server_name)) if value}
    if tls:
        stanza["tls"] = tls
    stanza["timeoutSeconds"] = probe.timeout
    stanza["periodSeconds"] = probe.period
    stanza["failureThreshold"] = probe.failure_threshold
    stanza["exposeBody"] = probe.expose_body
    return stanza


def _complete(key: str, action: HTTPGet, settings: Settings, timeout: float = 1.0, **rest: Any) -> Probe:
    deadline = max(timeout - settings.timeout_offset, timeout / 2)
    return Probe(key, action, deadline=deadline, timeout=timeout, **rest)


def _parse_key(raw: object) -> str:
    if not isinstance(raw, str) or not _KEY.fullmatch(raw) or "#" in raw:
        raise ValueError("the key is not an absolute path; write one like /healthy, percent-encoded, without fragment")
    if raw == "/-" or raw.startswith("/-/"):
        raise ValueError("keys under /-/ are healthproxy's own; choose another")
    return raw


def _parse_http_get(section: _Section, tls: TLS | None, settings: Settings, problems: Problems) -> HTTPGet | None:
    port = section.take("port", values.port, 0)
    path = section.take("path", _parse_path, "/")
    host = section.take("host", values.host, "")
    scheme = section.take("scheme", values.choice("HTTP", "HTTPS"), "HTTP").lower()
    headers: tuple[tuple[str, str], ...] = section.take("httpHeaders", _parse_headers, ())
    section.close({"unixSocket": _LATER, "tls": "write tls beside httpGet, not into it"})
    if "port" not in section.names:
        problems.add(section.where, "has no port", "add the port that the app listens on")
    if tls is not None and scheme == "http":
        problems.add(section.where, "is plain HTTP but has tls", "add scheme: HTTPS, or remove tls")
    if not port:
        return None
    return HTTPGet(port, path, host or settings.app_host, _named(host), scheme, headers, tls or TLS())


def _named(host: str) -> str | None:
    """Say what a request calls the app; behind loopback that is the address on which the probe reached us."""
    return None if not host or is_loopback(host) else host


def _parse_path(raw: object) -> str:
    if (
        not isinstance(raw, str)
        or has_control(raw)
        or not is_unicode(raw)
        or "://" in raw.partition("?")[0]
        or raw.startswith("//")
    ):
        raise ValueError(f"{raw!r} is no path; write one like /healthy")
    if " " in raw.partition("?")[2]:
        raise ValueError(f"{raw!r} has a blank in its query; write %20")
    return raw


def _parse_headers(raw: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(raw, list) or not all(isinstance(entry, Mapping) and set(entry) == {"name", "value"} for entry in raw):
        raise ValueError("is no list of headers; write [{name: X-Probe, value: kubelet}]")
    headers = tuple([(entry["name"], entry["value"]) for entry in raw])
    for name, value in headers:
        if not isinstance(name, str) or not is_token(name):
            raise ValueError(f"{name!r} is no header name; use letters, digits and hyphens")
        if not isinstance(value, str) or has_control(value.replace("\t", "")) or not is_unicode(value):
            raise ValueError(f"the value of {name} is no text on one line; quote it")
    return headers


def _parse_tls(section: _Section | None) -> TLS | None:
    if section is None:
        return None
    tls = TLS(section.take("ca", _parse_ca, None), section.take("serverName", values.host, None))
    section.close({})
    return tls


def _parse_ca(raw: object) -> str:
    try:
        tls_context(TLS(str(raw)))
    except OSError as error:
        raise ValueError(f"{raw} holds no certificates ({error.strerror or error}); mount a PEM file there") from None
    return str(raw)
