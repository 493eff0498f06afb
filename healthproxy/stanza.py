"""One probe's configuration: a stanza pasted from a Pod spec, or a short form → `Probe`, and back to a stanza.

Knows nothing of files, flags or of other probes.
"""

from __future__ import annotations

import re
from typing import Any

from healthproxy import values
from healthproxy.actions import KINDS, SHORT_FORMS, Settings, dump_action, parse_target
from healthproxy.kubelet import is_token
from healthproxy.probe import Action, HTTPGet, Probe
from healthproxy.problems import Problems
from healthproxy.section import Section

_KEY = re.compile(r"/[!-~]*")
_SHORT = re.compile(r"(?:(?P<key>/.*?)=)?(?P<target>[a-z]+://.*)", re.DOTALL)
_WITHOUT_MEANING = ("initialDelaySeconds", "successThreshold", "terminationGracePeriodSeconds")
_PASTE = "write here what stands below it"
_ELSEWHERE = {
    "exec": "no command can be run in the app's container from here; ask a port of the app with httpGet, tcpSocket or grpc, "
    "or leave this probe with the app's container",
    "readinessProbe": _PASTE,
    "startupProbe": _PASTE,
    "livenessProbe": _PASTE,
}
_REFUSED = (
    _ELSEWHERE
    | {
        "exposeBody": "take it out: only the answer to httpGet has a body",
        "forwardHeaders": "take it out: only httpGet has headers, and allOf and anyOf pass on what their members do",
        "tls": "take it out: only httpGet with scheme HTTPS and grpc speak TLS",
    }
    | dict.fromkeys(
        ("path", "port", "host", "scheme", "httpHeaders", "unixSocket", "service"),
        "write it one level down, below httpGet, tcpSocket or grpc",
    )
)
_NEVER_FORWARDED = frozenset(
    (
        "connection content-length expect host keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer "
        "transfer-encoding upgrade"
    ).split()
)
"""Header fields that belong to one connection or say whom it is to (RFC 9110, 7.6.1)."""


def parse_stanza(where: str, key: object, raw: object, settings: Settings, problems: Problems) -> Probe | None:
    """Read one probe in the shape of a Pod spec; None if a problem was noted."""
    known = None
    with problems.at(where):
        known = _parse_key(key)
    with problems.at(where):
        stanza = Section(where, raw, problems)
        for name in _WITHOUT_MEANING:
            stanza.take(name, lambda value: value, None)
        timeout = stanza.take("timeoutSeconds", values.positive_seconds, 1.0)
        rest: dict[str, Any] = {
            "period": stanza.take("periodSeconds", values.positive_seconds, 10.0),
            "failure_threshold": stanza.take("failureThreshold", values.count, 3),
        }
        kinds = [kind for kind in KINDS if kind in stanza.names]
        actions = [KINDS[kind](stanza, settings) for kind in kinds]
        if "httpGet" in kinds:
            rest["expose_body"] = stanza.take("exposeBody", values.boolean, settings.expose_body)
            rest["forward_headers"] = stanza.take("forwardHeaders", _parse_header_names, None) or ()
        stanza.close(_REFUSED)
        if len(kinds) > 1:
            raise ValueError(f"has {' and '.join(kinds)}; keep one, and give the others keys of their own")
        if kinds == ["grpc"] and "tls" in stanza.empty:
            problems.add(f"{where}.tls", "is empty", "write tls: {} for TLS without verification, or remove it")
        if not kinds and isinstance(raw, dict) and stanza.names.isdisjoint(_ELSEWHERE):
            empty = [kind for kind in KINDS if kind in stanza.empty]
            if empty:
                raise ValueError(f"has nothing below {empty[0]}; write its fields there, two blanks further in")
            raise ValueError("does not say what to ask; add httpGet: {path: /healthy, port: 8080}")
        if known and actions and actions[0] is not None:
            probe = _complete(known, actions[0], settings, timeout, **rest)
            _check_headers(probe)
            return probe
    return None


def default_probe(settings: Settings) -> Probe:
    """Return the probe of a pod that configures none."""
    return _complete("/healthy", HTTPGet(8080, "/healthy", settings.app_host), settings, expose_body=settings.expose_body)


def parse_short(text: str, settings: Settings) -> Probe:
    """Read `[/KEY=]TARGET`. Raises ValueError with `what is wrong; what to do`."""
    match = _SHORT.fullmatch(text)
    if match is None:
        raise ValueError(f"is no target; write [/KEY=] and {SHORT_FORMS}")
    action = parse_target(match["target"])
    if isinstance(action, HTTPGet):
        return _complete(_parse_key(match["key"] or action.path), action, settings, expose_body=settings.expose_body)
    if match["key"] is None:
        raise ValueError(f"has no key that the kubelet could ask for; write /KEY={text}")
    return _complete(_parse_key(match["key"]), action, settings)


def dump_stanza(probe: Probe) -> dict[str, Any]:
    """Write a probe in the shape of a Pod spec."""
    stanza = dump_action(probe.action)
    stanza["timeoutSeconds"] = probe.timeout
    stanza["periodSeconds"] = probe.period
    stanza["failureThreshold"] = probe.failure_threshold
    if isinstance(probe.action, HTTPGet):
        stanza["exposeBody"] = probe.expose_body
        if probe.forward_headers:
            stanza["forwardHeaders"] = list(probe.forward_headers)
    return stanza


def _complete(key: str, action: Action, settings: Settings, timeout: float = 1.0, **rest: Any) -> Probe:
    deadline = max(timeout - settings.timeout_offset, timeout / 2)
    return Probe(key, action, deadline=deadline, timeout=timeout, **rest)


def _parse_key(raw: object) -> str:
    if not isinstance(raw, str) or not _KEY.fullmatch(raw) or "#" in raw:
        raise ValueError("the key is not an absolute path; write one like /healthy, percent-encoded, without fragment")
    if raw == "/-" or raw.startswith("/-/"):
        raise ValueError("keys under /-/ are healthproxy's own; choose another, the path asked of the app may stay")
    return raw


def _parse_header_names(raw: object) -> tuple[str, ...]:
    if not isinstance(raw, list) or not all(isinstance(name, str) and is_token(name) for name in raw):
        raise ValueError("is no list of header names; write [X-Tenant]")
    names = tuple(dict.fromkeys([name.lower() for name in raw]))
    for name in names:
        if name in _NEVER_FORWARDED:
            raise ValueError(f"{name} belongs to the caller's own connection and never passes; take it out")
    return names


def _check_headers(probe: Probe) -> None:
    if isinstance(probe.action, HTTPGet):
        for name, _ in probe.action.headers:
            if name.lower() in probe.forward_headers:
                raise ValueError(f"has {name} in httpHeaders and in forwardHeaders; keep one of the two")
