"""What the kubelet would write into the event of a probe: its words and Go's, for an outcome and the way to it.

Mirrors pkg/kubelet/prober and pkg/probe of Kubernetes 1.36, and the errors of Go's net/http and grpc-go. What the app wrote comes
out as it came: whoever shows it must escape it. Asks nothing and shows nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import assert_never
from urllib.parse import urljoin, urlsplit

from healthproxy import kubelet
from healthproxy.check.timeline import Step, Timeline
from healthproxy.probe import GRPC, Caller, HTTPGet, Outcome, Reason, Result, Target, TCPSocket, join_host_port
from healthproxy.tls import HANDSHAKE_BROKEN

_AWAITED = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
_READING = "context deadline exceeded (Client.Timeout or context cancellation while reading body)"
_BROKEN = "net/http: HTTP/1.x transport connection broken: "
_HANDSHAKE_SECONDS = 10
"""After which Go's client gives up a TLS handshake, whatever the timeout."""
_CODES = (
    "OK Canceled Unknown InvalidArgument DeadlineExceeded NotFound AlreadyExists PermissionDenied ResourceExhausted "
    "FailedPrecondition Aborted OutOfRange Unimplemented Internal Unavailable DataLoss Unauthenticated"
).split()
_DEADLINE_EXCEEDED, _UNIMPLEMENTED = 4, 12


@dataclass(frozen=True, slots=True)
class Event:
    """One event, or why there is none."""

    reason: str
    """`Unhealthy` or `ProbeWarning`; empty for none."""
    text: str
    exact: bool = True
    """Whether these are the kubelet's very words; if not, words like these."""
    note: str = ""


def kubelet_event(action: Target, timeout: float, timeline: Timeline, outcome: Outcome) -> Event:
    """Write the event of a readiness probe; those of other probes begin with another word."""
    if outcome.reason is Reason.OK:
        return Event("", "none: the kubelet writes one for a failure or a warning only")
    match action:
        case HTTPGet(unix_socket=str()) | GRPC(unix_socket=str()):
            return _through_healthproxy(outcome, "the kubelet reaches no socket file")
        case HTTPGet():
            return _of_http(action, timeout, timeline, outcome)
        case TCPSocket():
            return _of_tcp(timeline)
        case GRPC(tls=None):
            return _of_grpc(action, timeout, timeline, outcome)
        case GRPC():
            return _through_healthproxy(outcome, "the kubelet's gRPC probe speaks no TLS")
        case _:
            assert_never(action)


def _failed(output: str, *, exact: bool = True, note: str = "") -> Event:
    return Event("Unhealthy", f"Readiness probe failed: {output}", exact, note)


def _with_status(code: int | None, note: str = "") -> Event:
    return _failed(f"HTTP probe failed with statuscode: {code}", note=note)


def _redirected(body: str, note: str = "") -> Event:
    return Event("ProbeWarning", f"Readiness probe warning: Probe terminated redirects, Response body: {body}", note=note)


def _through_healthproxy(outcome: Outcome, why: str) -> Event:
    note = f"asked through healthproxy, for {why}"
    if outcome.result is Result.SUCCESS:
        return _redirected(outcome.detail, note)
    answers = {Reason.TIMEOUT: 504, Reason.STATUS: 503, Reason.NOT_SERVING: 503}
    return _with_status(outcome.code or answers.get(outcome.reason, 502), note)


def _of_http(action: HTTPGet, timeout: float, timeline: Timeline, outcome: Outcome) -> Event:
    step = timeline.last
    if outcome.reason is Reason.REDIRECT:
        there = _followed(action, timeline)
        note = "check and healthproxy follow a redirect only to the same scheme, host and port"
        return Event("", f"unknown: the kubelet would go on to {there}", note=note) if there else _redirected(_text(outcome.body))
    if outcome.reason is Reason.STATUS:
        return _with_status(outcome.code)
    if action.scheme == "https" and "HTTP/2" in outcome.detail:
        return Event("", "unknown: the kubelet would speak HTTP/2 to this app, which check does not")
    if step.phase == "headers" and timeline.code == 101:
        return _with_status(101)
    if step.phase == "body" and step.error is not None and not step.place:
        return _errored(step, timeline)
    error, exact = _client_error(step, timeout, timeline, outcome)
    return _failed(f"Get {_quote(_url(step, timeline))}: {error}", exact=exact)


def _followed(action: HTTPGet, timeline: Timeline) -> str:
    """Return where the kubelet would have gone on; empty for nowhere."""
    first = kubelet.first_request(action, Caller(action.host))
    here = timeline.hops[-1].target.removeprefix("GET ")
    if not timeline.text or kubelet.next_request(first, timeline.code or 0, "/") is None:
        return ""
    there = urljoin(here, timeline.text)
    return there if urlsplit(there).hostname == urlsplit(here).hostname else ""


def _errored(step: Step, timeline: Timeline) -> Event:
    """Write what comes of an answer that breaks off in its body."""
    note = "the kubelet tries 3 times, then forgets this result; healthproxy counts a failure"
    match step.error:
        case TimeoutError():
            error, exact = _READING, True
        case ConnectionError():
            error, exact = _read(timeline), False
        case _:
            error, exact = "unexpected EOF", False
    return Event("Unhealthy", f"Readiness probe errored and resulted in failure state: {error}", exact, note)


def _url(step: Step, timeline: Timeline) -> str:
    """Return the URL that Go names: where it was going, and at the last redirect the Location as it came."""
    if step.phase == "body":
        return step.place if step.error else timeline.text
    return timeline.hops[-1].target.removeprefix("GET ")


def _client_error(step: Step, timeout: float, timeline: Timeline, outcome: Outcome) -> tuple[str, bool]:
    """Write the error of Go's HTTP client, and tell whether it is exact."""
    match outcome.reason:
        case Reason.TIMEOUT if step.phase == "TLS" and timeout >= _HANDSHAKE_SECONDS:
            return "net/http: TLS handshake timeout", False
        case Reason.TIMEOUT:
            return _AWAITED, step.phase not in ("resolve", "connect")
        case Reason.TLS:
            return _tls_error(outcome.detail), False
        case _ if step.phase in ("resolve", "connect"):
            return _dial_error(step), step.phase == "connect"
        case Reason.RESET if isinstance(step.error, ConnectionError):
            return _read(timeline), False
        case Reason.RESET if step.phase == "headers":
            return f"{_BROKEN}unexpected EOF", False
        case Reason.RESET:
            return "EOF", True
        case _ if step.phase == "body":
            return f"stopped after {kubelet.MAX_REQUESTS} redirects", True
        case _ if step.error is None:
            return f"failed to parse Location header {_quote(timeline.text)}: parse {_quote(timeline.text)}: ...", False
    return f'{_BROKEN}malformed HTTP response "..."', False


def _tls_error(detail: str) -> str:
    if "wrong version number" in detail or "packet length too long" in detail:
        return "http: server gave HTTP response to HTTPS client"
    if detail == HANDSHAKE_BROKEN or "unexpected eof" in detail or "broken off" in detail:
        return "EOF"
    return "remote error: tls: " + detail.removeprefix("TLS failed: ")


def _dial_error(step: Step) -> str:
    if step.phase == "resolve":
        return f"dial tcp: lookup {step.place}: no such host"
    number = step.error.errno if isinstance(step.error, OSError) else None
    return f"dial tcp {step.place}: connect: {os.strerror(number).lower() if number else 'connection refused'}"


def _read(timeline: Timeline) -> str:
    place = next(step.place for step in reversed(timeline.hops[-1].steps) if step.phase == "connect")
    return f"read tcp NODE:PORT->{place}: read: connection reset by peer"


def _of_tcp(timeline: Timeline) -> Event:
    step = timeline.last
    if isinstance(step.error, TimeoutError):
        return _failed(f"dial tcp {step.place}: i/o timeout", exact=step.phase == "connect")
    return _failed(_dial_error(step), exact=step.phase == "connect")


def _of_grpc(action: GRPC, timeout: float, timeline: Timeline, outcome: Outcome) -> Event:
    timed_out = outcome.reason is Reason.TIMEOUT
    if timeline.last.phase != "answer":
        place = join_host_port(action.host, action.port)
        output = f'timeout: failed to connect service "{place}" within {_duration(timeout)}: context deadline exceeded'
        return _failed(output, note="" if timed_out else "until then the kubelet connects again and again")
    if timed_out or timeline.code == _DEADLINE_EXCEEDED:
        return _failed(f"timeout: health rpc did not complete within {_duration(timeout)}")
    if outcome.reason is Reason.NOT_SERVING:
        health = outcome.detail.removeprefix("app answered ")
        known = health.isupper()
        return _failed(f'service unhealthy (responded with "{health if known else "..."}")', exact=known)
    if timeline.code == _UNIMPLEMENTED:
        service = "grpc.health.v1.Health"
        return _failed(f"error: this server does not implement the grpc health protocol ({service}): {timeline.text}")
    rpc_error = "error: health rpc probe failed: rpc error: code = "
    if outcome.reason is Reason.STATUS and timeline.code is not None:
        number = timeline.code & 0xFFFFFFFF
        code = _CODES[number] if number < len(_CODES) else f"Code({number})"
        return _failed(f"{rpc_error}{code} desc = {timeline.text}")
    return _failed(f"{rpc_error}...", exact=False)


def _duration(seconds: float) -> str:
    """Write a duration as Go does."""
    if seconds < 1:
        return f"{seconds * 1000:g}ms"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest:g}s"


def _quote(text: str) -> str:
    """Quote as Go's %q, which escapes more; whoever shows it escapes the rest."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _text(body: bytes) -> str:
    return body.decode(errors="backslashreplace")
