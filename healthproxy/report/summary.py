"""What the history says, as values: the state of each probe, percentiles, early warnings. Formats nothing."""

from __future__ import annotations

import codecs
import enum
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from healthproxy import __version__
from healthproxy.history import Failure, History, ProbeHistory, Record
from healthproxy.probe import Probe, Reason, Result

NEAR_TIMEOUT = 0.8
"""The part of `timeoutSeconds` above which the 99th percentile is worth a warning."""
PERIODS = 3
"""Periods without a request after which one is missed."""


class EarlyWarning(enum.StrEnum):
    """What is worth a look before it hurts: a closed set."""

    LAST_CHANCE = "last_chance"
    """One failure more and the kubelet acts."""
    NEAR_TIMEOUT = "near_timeout"
    """The 99th percentile of the durations is above 80 % of `timeoutSeconds`."""
    NOT_ASKED = "not_asked"
    """Nobody has asked for three periods."""


@dataclass(frozen=True, slots=True)
class Durations:
    """Percentiles of the durations of recent requests to the app, failures included, in seconds."""

    p50: float
    p95: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class Failed:
    """One failure, or several equal ones with no success in between."""

    first: float
    last: float
    count: int
    reason: Reason
    detail: str
    code: int | None
    duration: float
    body: str
    """What the app's last answer began with; what cannot be printed is escaped."""
    cut: bool
    """Whether the app's answer went on."""


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What is known of one probe; times are Unix time."""

    probe: Probe
    result: Result | None
    """The last verdict on the app; None as long as there is none."""
    since: float | None
    consecutive_failures: int
    last_request: float | None
    last_success: float | None
    first_success: float | None
    """Seconds from the start of healthproxy."""
    durations: Durations | None
    recent: Sequence[Record]
    """Oldest first."""
    failures: Sequence[Failed]
    """Oldest first."""
    why: Failed | None
    """The last of them, unless a success came after it."""
    warnings: Sequence[EarlyWarning]


@dataclass(frozen=True, slots=True)
class Refused:
    """Requests that the open port turned away for one reason."""

    reason: str
    source: str
    """Address; empty for all sources together."""
    count: int
    last: float


@dataclass(frozen=True, slots=True)
class Report:
    """What is known of a sidecar."""

    version: str
    host: str
    now: float
    uptime: float
    probes: Sequence[ProbeReport]
    """In the order of the configuration."""
    refused: Sequence[Refused]
    """By reason, since the start."""
    refused_lately: Sequence[Refused]
    """By reason and source, oldest first."""


def make_report(history: History, probes: Iterable[Probe]) -> Report:
    """Say what is known by now."""
    now, uptime = history.now(), history.uptime
    return Report(
        __version__,
        os.uname().nodename,
        now,
        uptime,
        tuple([_report(probe, history.probes.get(probe.key, ProbeHistory()), now, uptime) for probe in probes]),
        tuple([Refused(reason, "", refusals.count, refusals.last) for reason, refusals in history.refused_in_all.items()]),
        tuple([Refused(*pair, refusals.count, refusals.last) for pair, refusals in history.refusals.items()]),
    )


def _report(probe: Probe, known: ProbeHistory, now: float, uptime: float) -> ProbeReport:
    recent = known.recent()
    last_request = recent[-1].time if recent else None
    durations = _durations([record.duration for record in recent if record.reason is not Reason.INTERNAL])
    warnings = []
    if 0 < known.consecutive_failures == probe.failure_threshold - 1:
        warnings.append(EarlyWarning.LAST_CHANCE)
    if durations is not None and durations.p99 > NEAR_TIMEOUT * probe.timeout:
        warnings.append(EarlyWarning.NEAR_TIMEOUT)
    if (uptime if last_request is None else now - last_request) > PERIODS * probe.period:
        warnings.append(EarlyWarning.NOT_ASKED)
    return ProbeReport(
        probe,
        known.result,
        None if known.result is None else known.since,
        known.consecutive_failures,
        last_request,
        known.last_success,
        known.first_success,
        durations,
        recent,
        tuple(map(_failed, known.failures)),
        _failed(known.going_on) if known.going_on else None,
        tuple(warnings),
    )


def _durations(values: list[float]) -> Durations | None:
    if not values:
        return None
    values.sort()
    p50, p95, p99 = (values[math.ceil(part * len(values)) - 1] for part in (0.5, 0.95, 0.99))
    return Durations(p50, p95, p99, values[-1])


def _failed(failure: Failure) -> Failed:
    of = failure.outcome
    body = printable(of.body, failure.cut)
    return Failed(failure.first, failure.last, failure.count, of.reason, of.detail, of.code, of.duration, body, failure.cut)


def printable(data: bytes, cut: bool) -> str:
    """Return text that does no harm wherever it is shown: what is no UTF-8, no line end and cannot be printed is escaped."""
    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
    text = decoder.decode(data, final=not cut)  # of a character cut in two nothing is left
    return "".join([char if char.isprintable() or char == "\n" else _escape(char) for char in text.replace("\r\n", "\n")])


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()
