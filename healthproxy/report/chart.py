"""The picture of a probe: how long each request to the app took, against the deadline. SVG without text of others.

Time runs to the right and stays true to scale, so that what was not asked is a gap. Durations are on a logarithmic scale: two
milliseconds and the deadline must both be seen. Widths are per cent, so that the same picture fits a phone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from healthproxy.history import Record
from healthproxy.probe import Result
from healthproxy.report import words
from healthproxy.report.markup import Markup, element, join
from healthproxy.report.summary import PERIODS, ProbeReport

HEIGHT = 132
_TOP, _BOTTOM = 12, 124
_SHORTEST = 1e-4
_HEADROOM = 1.5
"""How far above the deadline the scale goes on."""

DEFINITIONS = Markup(
    '<svg class="definitions" aria-hidden="true"><defs>'
    '<path id="failure" d="M-4-4 4 4M-4 4 4-4"/><path id="unknown" d="M0-4.5 4.5 0 0 4.5-4.5 0Z"/>'
    "</defs></svg>"
)
"""Shapes that the pictures of a page share: a failure is a cross, a fault of our own a diamond."""

_LEGEND = (
    ("success", "success", "successes", '<circle cx="8" cy="8" r="4.5" fill="currentColor" stroke="none"/>'),
    ("failure", "failure", "failures", '<path d="M3 3 13 13M3 13 13 3"/>'),
    ("unknown", "unknown", "unknown", '<path d="M1 8 8 1 15 8 8 15Z"/>'),
)
_DEADLINE = '<path d="M0 8h6M10 8h6" stroke-width="1.5"/>'


def legend(report: ProbeReport) -> Markup:
    """Say what the shapes are, and how many there are of each."""
    results = Counter([record.result for record in report.recent])
    counts = [(results[Result(kind)], kind, names, shape) for kind, *names, shape in _LEGEND]
    entries = [(kind, f"{count} {names[count > 1]}", shape) for count, kind, names, shape in counts if count]
    entries.append(("unknown", "deadline", _DEADLINE))
    return element("span", *[element("span", _mark(kind, shape), text) for kind, text, shape in entries], class_="legend")


def _mark(kind: str, shape: str) -> Markup:
    return Markup(f'<svg class="mark {kind}" viewBox="0 0 16 16" aria-hidden="true">{shape}</svg>')


def draw(report: ProbeReport, now: float) -> tuple[Markup, float, float]:
    """Return the picture and the times of its two ends. There must be records."""
    begin, end = _window(report.recent, report.probe.period, now)
    scale = _Scale(min([record.duration for record in report.recent]), report.probe.deadline)
    y, per_mille = scale.y, 1000 / (end - begin)
    dots, others = [], []
    for at, duration, _, _, result in report.recent:
        x = (at - begin) * per_mille
        if result is Result.SUCCESS:
            dots.append(f"M{x:.0f} {y(duration):.1f}h0")
        else:
            others.append(Markup(f'<use href="#{result}" class="{result}" x="{x / 10:.1f}%" y="{y(duration):.1f}"/>'))
    path = element("path", class_="success", d="".join(dots), vector_effect="non-scaling-stroke")
    stretched = element("svg", path, viewBox=f"0 0 1000 {HEIGHT}", preserveAspectRatio="none", width="100%", height=HEIGHT)
    shapes = [*scale.lines(), stretched, *others]
    return element("svg", *shapes, class_="chart", height=HEIGHT, role="img", aria_label=_label(report)), begin, end


def _window(records: Sequence[Record], period: float, now: float) -> tuple[float, float]:
    """Return the times of both ends: up to now, unless nobody has asked for so long that it would press all into a corner."""
    times = [record.time for record in records]
    first, last = min(times), max(times)  # somebody may have set the clock
    end = min(max(now, last), last + max(last - first, PERIODS * period))
    return min(first, end - PERIODS * period), end


class _Scale:
    """From durations to heights."""

    def __init__(self, shortest: float, deadline: float) -> None:
        lowest = max(min(shortest, deadline / 100), _SHORTEST)
        self._bottom = math.floor(math.log10(lowest))
        self._factor = (_BOTTOM - _TOP) / max(math.log10(deadline * _HEADROOM) - self._bottom, 1.0)
        self._deadline = deadline

    def y(self, seconds: float) -> float:
        height = (math.log10(max(seconds, _SHORTEST)) - self._bottom) * self._factor
        return _BOTTOM - min(max(height, 0.0), _BOTTOM - _TOP)

    def lines(self) -> list[Markup]:
        """Draw a line for each power of ten that leaves room for the deadline's, and that."""
        powers = range(self._bottom, math.ceil(math.log10(self._deadline / 2)))
        drawn = [self._line(10.0**power, "grid") for power in powers]
        return [*drawn, self._line(self._deadline, "deadline")]

    def _line(self, seconds: float, kind: str) -> Markup:
        y = self.y(seconds)
        line = element("line", class_=kind, x1="0", x2="100%", y1=f"{y:.1f}", y2=f"{y:.1f}")
        return join([line, element("text", words.duration(seconds), x="-6", y=f"{y + 4:.1f}")])


def _label(report: ProbeReport) -> str:
    failures = sum([record.result is Result.FAILURE for record in report.recent])
    deadline = words.duration(report.probe.deadline)
    return f"Durations of the last {len(report.recent)} requests to the app, {failures} of them failures; deadline {deadline}"
