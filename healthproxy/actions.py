"""What a probe does, from a stanza or a short form → one action, and back. Each kind of probe has one parse function here.

Knows nothing of the fields that all probes share, of files or of other probes.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, assert_never
from urllib.parse import urlsplit

from healthproxy import values
from healthproxy.kubelet import has_control, is_loopback, is_token, is_unicode
from healthproxy.probe import DEFAULT_PORT, GRPC, TLS, Action, AllOf, AnyOf, HTTPGet, Target, TCPSocket
from healthproxy.section import Section
from healthproxy.tls import tls_context

SHORT_FORMS = "http://HOST:PORT/PATH, https://…, tcp://HOST:PORT, grpc://HOST:PORT/SERVICE, grpcs://… or http://unix:/FILE:/PATH"

_OF_THE_STANZA = ("tls", "timeoutSeconds", "periodSeconds", "failureThreshold", "exposeBody", "forwardHeaders")


@dataclass(frozen=True, slots=True)
class Settings:
    """The options that complete a probe."""

    app_host: str
    timeout_offset: float
    expose_body: bool


class _Place(NamedTuple):
    port: int
    host: str
    named: str | None
    socket: str | None = None


def _parse_http_get(stanza: Section, settings: Settings) -> HTTPGet | None:
    section, tls = stanza.section("httpGet"), _parse_tls(stanza)
    assert section is not None
    place = _parse_place(section, settings, or_socket=True)
    path = section.take("path", _parse_path, "/")
    unread = "HTTPS" if "scheme" in section.names else "HTTP"  # what cannot be read may have been meant as either
    scheme = section.take("scheme", values.choice("HTTP", "HTTPS"), unread).lower()
    headers: tuple[tuple[str, str], ...] = section.take("httpHeaders", _parse_headers, ())
    section.close(_one_level_up("httpGet"))
    if tls is not None and scheme == "http":
        section.problems.add(section.where, "is plain HTTP but has tls", "add scheme: HTTPS, or remove tls")
    return place and HTTPGet(place.port, path, place.host, place.named, scheme, headers, tls or TLS(), place.socket)


def _parse_tcp_socket(stanza: Section, settings: Settings) -> TCPSocket | None:
    section = stanza.section("tcpSocket")
    assert section is not None
    place = _parse_place(section, settings, or_socket=False)
    section.close(_one_level_up("tcpSocket") | {"unixSocket": "probe what listens there with httpGet or grpc"})
    return place and TCPSocket(place.port, place.host)


def _parse_grpc(stanza: Section, settings: Settings) -> GRPC | None:
    section, tls = stanza.section("grpc"), _parse_tls(stanza)
    assert section is not None
    place = _parse_place(section, settings, or_socket=True)
    service = section.take("service", _parse_service, "")
    section.close(_one_level_up("grpc"))
    return place and GRPC(place.port, service, place.host, place.named, tls, place.socket)


def _one_level_up(kind: str) -> dict[str, str]:
    """Say of the fields that stand beside an action what to do where one of them stands in it."""
    return dict.fromkeys(_OF_THE_STANZA, f"write it one level up, beside {kind}")


def _parse_all_of(stanza: Section, _settings: Settings) -> AllOf | None:
    members: tuple[str, ...] = stanza.take("allOf", _parse_members, ())
    return AllOf(members) if members else None


def _parse_any_of(stanza: Section, _settings: Settings) -> AnyOf | None:
    members: tuple[str, ...] = stanza.take("anyOf", _parse_members, ())
    return AnyOf(members) if members else None


KINDS: Mapping[str, Callable[[Section, Settings], Action | None]] = {
    "httpGet": _parse_http_get,
    "tcpSocket": _parse_tcp_socket,
    "grpc": _parse_grpc,
    "allOf": _parse_all_of,
    "anyOf": _parse_any_of,
}
"""Every kind of probe by the field that says so: takes what it needs of the stanza; None if a problem was noted."""


def parse_target(target: str) -> Target:
    """Read the short form of an action. Raises ValueError with `what is wrong; what to do`."""
    scheme, separator, rest = target.partition("://")
    if not separator or scheme not in ("http", "https", "tcp", "grpc", "grpcs") or has_control(target):
        raise ValueError(f"is no target; write {SHORT_FORMS}")
    if rest.startswith("unix:/") and scheme != "tcp":
        path, _, detail = rest.removeprefix("unix:").partition(":")
        place = _socket_place(values.socket_path(path))
    else:
        place, detail = _parse_authority(scheme, target)
    match scheme:
        case "tcp":
            if detail not in ("", "/"):
                raise ValueError("has more than a host and a port; write tcp://HOST:PORT")
            return TCPSocket(place.port, place.host)
        case "grpc" | "grpcs":
            tls = TLS() if scheme == "grpcs" else None
            return GRPC(place.port, _parse_service(detail.removeprefix("/")), place.host, place.named, tls, place.socket)
    return HTTPGet(place.port, _parse_path(detail or "/"), place.host, place.named, scheme, unix_socket=place.socket)


def dump_action(action: Action) -> dict[str, Any]:
    """Write an action in the shape of a Pod spec; reading it back gives the same one."""
    match action:
        case HTTPGet():
            fields = {"path": action.path, **_dump_place(action), "scheme": action.scheme.upper()}
            if action.headers:
                fields["httpHeaders"] = [{"name": name, "value": value} for name, value in action.headers]
            return {"httpGet": fields, **_dump_tls(action.tls if action.tls != TLS() else None)}
        case TCPSocket():
            return {"tcpSocket": {"port": action.port, "host": action.host}}
        case GRPC():
            return {"grpc": {**_dump_place(action), "service": action.service}, **_dump_tls(action.tls)}
        case AllOf():
            return {"allOf": list(action.members)}
        case AnyOf():
            return {"anyOf": list(action.members)}
        case _:
            assert_never(action)


def _parse_place(section: Section, settings: Settings, *, or_socket: bool) -> _Place | None:
    """Read where the app listens: host and port or, if it may be, a socket file."""
    if or_socket and "unixSocket" in section.names:
        for name in section.names & {"host", "port"}:
            section.take(name, str, None)
            section.problems.add(f"{section.where}.{name}", "stands beside unixSocket", "keep one of the two")
        path = section.take("unixSocket", values.socket_path, None)
        return _socket_place(path) if path else None
    port = section.take("port", values.port, 0)
    host = section.take("host", lambda raw: raw and values.host(raw), "")  # empty counts as missing in a Pod spec
    if "port" not in section.names:
        section.problems.add(section.where, "has no port", "add the port that the app listens on")
    return _Place(port, host or settings.app_host, _named(host)) if port else None


def _socket_place(path: str) -> _Place:
    return _Place(0, "localhost", "localhost", path)


def _named(host: str) -> str | None:
    """Say what a request calls the app; behind loopback that is the address on which the probe reached us."""
    return None if not host or is_loopback(host) else host


def _dump_place(action: HTTPGet | GRPC) -> dict[str, Any]:
    if action.unix_socket:
        return {"unixSocket": action.unix_socket}
    named = action.named_host or is_loopback(action.host)
    return {"port": action.port} | ({"host": action.host} if named else {})  # otherwise it came from --app-host


def _parse_authority(scheme: str, target: str) -> tuple[_Place, str]:
    """Split a URL into where it leads and the rest of it."""
    try:
        url = urlsplit(target)
        host = url.hostname
    except ValueError:  # brackets around what is no address
        host = None
    if not host:
        raise ValueError(f"names no host; write {scheme}://HOST:PORT")
    try:
        port = values.port(DEFAULT_PORT.get(scheme) if url.port is None else url.port)
    except ValueError:
        raise ValueError(f"has no port from 1 to 65535; write {scheme}://HOST:PORT") from None
    if url.username is not None:
        raise ValueError("names a user; take it out, and send credentials by httpHeaders")
    rest = url.path + ("?" + url.query if url.query else "")
    return _Place(port, values.host(host), _named(host)), rest


def _parse_path(raw: object) -> str:
    if (
        not isinstance(raw, str)
        or has_control(raw)
        or not is_unicode(raw)
        or "://" in raw.partition("?")[0]
        or raw.startswith("//")
    ):
        raise ValueError(f"{values.shown(raw)} is no path; write one like /healthy")
    if " " in raw.partition("?")[2]:
        raise ValueError(f"{values.shown(raw)} has a blank in its query; write %20")
    return raw


def _parse_headers(raw: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(raw, list) or not all(isinstance(entry, Mapping) and set(entry) == {"name", "value"} for entry in raw):
        raise ValueError("is no list of headers; write [{name: X-Probe, value: kubelet}]")
    headers = tuple([(entry["name"], entry["value"]) for entry in raw])
    for name, value in headers:
        if not isinstance(name, str) or not is_token(name):
            raise ValueError(f"{values.shown(name)} is no header name; use letters, digits and hyphens")
        if not isinstance(value, str) or has_control(value.replace("\t", "")) or not is_unicode(value):
            raise ValueError(f"the value of {name} is no text on one line; quote it")
    return headers


def _parse_service(raw: object) -> str:
    if not isinstance(raw, str) or has_control(raw) or not is_unicode(raw):
        raise ValueError(f"{values.shown(raw)} is no service; give its full name, such as shop.Api, or leave it out")
    return raw


def _parse_members(raw: object) -> tuple[str, ...]:
    if not isinstance(raw, list) or not raw or not all(isinstance(key, str) for key in raw):
        raise ValueError("is no list of keys; write [/healthy, /db]")
    for key in raw:
        if raw.count(key) > 1:
            raise ValueError(f"holds {key} twice; keep one")
    return tuple(raw)


def _parse_tls(stanza: Section) -> TLS | None:
    section = stanza.section("tls")
    if section is None:
        return None
    tls = TLS(section.take("ca", _parse_ca, None), section.take("serverName", values.host, None))
    section.close({})
    return tls


def _parse_ca(raw: object) -> str:
    if not isinstance(raw, str) or not raw or has_control(raw) or not is_unicode(raw):
        raise ValueError(f"{values.shown(raw)} is no path of a file; give that of a PEM file, or leave it out to verify nothing")
    try:
        tls_context(TLS(raw))
    except OSError as error:
        why = "no PEM file" if isinstance(error, ssl.SSLError) else error.strerror
        raise ValueError(f"{raw} holds no certificates ({why}); mount a PEM file there") from None
    return raw


def _dump_tls(tls: TLS | None) -> dict[str, Any]:
    if tls is None:
        return {}
    return {"tls": {name: value for name, value in (("ca", tls.ca), ("serverName", tls.server_name)) if value}}
