"""The page that `--explain` prints: the phases of a probe with their times, the verdict, and the kubelet's event.

Everything that the app wrote is escaped and cut here, for it ends on a terminal. Judges nothing.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from healthproxy.check.events import Event, kubelet_event
from healthproxy.check.steps import Phase
from healthproxy.check.timeline import Step, Timeline
from healthproxy.failures import explain
from healthproxy.kubelet import MAX_BODY, is_loopback
from healthproxy.probe import GRPC, HTTPGet, Outcome, Target, TCPSocket
from healthproxy.problems import on_one_line

_WIDTH = 80
"""Columns of text."""
_LABEL = 10
_PHASE = 38
_NOTE = 60
"""Columns beside a phase."""
_TEXT = 1000
"""Characters of an event."""
_BODY = 200
"""Bytes of a body."""
_PHASES: dict[type[Target], tuple[Phase, ...]] = {
    HTTPGet: ("resolve", "connect", "TLS", "first byte", "headers", "body"),
    TCPSocket: ("resolve", "connect"),
    GRPC: ("resolve", "connect", "TLS", "greeting", "answer"),
}
_AWAITED: dict[Phase, str] = {
    "resolve": "no address",
    "connect": "no connection",
    "TLS": "no end of the handshake",
    "first byte": "no first byte",
    "headers": "no end of the headers",
    "body": "no end of the body",
    "greeting": "no HTTP/2 greeting",
    "answer": "no end of the answer",
}


def write_explanation(action: Target, timeout: float, timeline: Timeline, outcome: Outcome, verdict: str) -> str:
    """Write the whole page."""
    lines: list[str] = []
    for hop in timeline.hops:
        lines.append(_cut(hop.target, _WIDTH))
        if hop is timeline.hops[0]:
            lines += _row("phase", "began", "took", f"timeout {timeout:g} s")
        for step in hop.steps:
            lines += _row(step.phase, _ms(step.began), _took(step), _note(step, timeout))
    for phase in _not_reached(action, timeline):
        lines += _row(phase, "-", "-", "not reached")
    lines += ["", *_paragraph("verdict", verdict)]
    if outcome.body:
        lines += _paragraph("body", _excerpt(outcome.body))
    return "\n".join([*lines, *_describe(kubelet_event(action, timeout, timeline, outcome), action)]) + "\n"


def _row(phase: str, began: str, took: str, note: str) -> Iterator[str]:
    label = f"  {phase:<10}{began:>12}{took:>12}"
    for line in textwrap.wrap(note, _NOTE, break_on_hyphens=False) or [""]:
        yield f"{label:<{_PHASE}}{line}".rstrip()
        label = ""


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def _took(step: Step) -> str:
    return "-" if step.ended is None else _ms(step.ended - step.began)


def _note(step: Step, timeout: float) -> str:
    place = f"leads to {step.place}" if step.place and step.phase == "body" else step.place
    said = [_cut(text, _NOTE) for text in (place, step.found) if text]
    if isinstance(step.error, TimeoutError):
        said.append(f"hung: {_AWAITED[step.phase]} within {timeout:g} s")
    elif step.error is not None:
        failure = explain(step.error, timeout)
        said.append("failed: " + (failure.detail if failure else str(step.error)).removeprefix("TLS failed: "))
    return ", ".join(said)


def _not_reached(action: Target, timeline: Timeline) -> Iterator[Phase]:
    """Give the phases behind the last one; those in which this probe has nothing to do are none of it."""
    phases = _PHASES[type(action)]
    for phase in phases[phases.index(timeline.hops[-1].steps[-1].phase) + 1 :]:
        if phase != "TLS" or action.endpoint.tls:
            yield phase


def _describe(event: Event, action: Target) -> Iterator[str]:
    heading = f"Warning {event.reason}" + ("" if event.exact else ", in words like these") if event.reason else ""
    text = f"{heading}\n{_cut(event.text, _TEXT)}" if heading else _cut(event.text, _TEXT)
    yield from _paragraph("event", *text.split("\n"))
    notes = [event.note] if event.note else []
    if event.reason and is_loopback(action.host) and f":{action.port}" in event.text:
        notes.append(f"the kubelet asks the pod's IP, and writes that in place of {action.host}")
    for note in notes:
        yield from _paragraph("", f"({note})")


def _paragraph(label: str, *texts: str) -> Iterator[str]:
    for text in texts:
        for line in textwrap.wrap(text, _WIDTH - _LABEL, break_on_hyphens=False) or [""]:
            yield f"{label:<{_LABEL}}{line}".rstrip()
            label = ""


def _excerpt(body: bytes) -> str:
    text = on_one_line(body[:_BODY].decode(errors="backslashreplace"))
    if len(body) <= _BODY:
        return text
    more = " or more" if len(body) == MAX_BODY else ""
    return f"{text}... (the first {_BODY} of {len(body)} bytes{more})"


def _cut(text: str, length: int) -> str:
    """Escape a text and bound it."""
    escaped = on_one_line(text[:length])
    return escaped if len(text) <= length and len(escaped) <= length else escaped[: length - 3] + "..."
