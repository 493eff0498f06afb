"""The report as a page: server-rendered, complete without JavaScript, with nothing from elsewhere.

What the app wrote is text in it and nothing more: by `markup`, and again by a policy that runs only what is ours.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from healthproxy.probe import Result
from healthproxy.report import chart, words
from healthproxy.report.markup import Markup, element
from healthproxy.report.summary import Failed, ProbeReport, Refused, Report

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Vary": "Accept"}
"""Of every form of the report."""
HTML = "text/html; charset=utf-8"
REFRESH_SECONDS = 5
SHOWN_FAILURES = 3
"""The rest is folded away."""


def _own(name: str) -> tuple[Markup, str]:
    """Return a file of ours as it stands in the page, and its hash as a Content-Security-Policy has it."""
    text = Path(__file__).with_name(name).read_text("utf-8")
    return Markup(text), f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_STYLE, _STYLE_HASH = _own("page.css")
_SCRIPT, _SCRIPT_HASH = _own("page.js")

PAGE_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src {_STYLE_HASH}; script-src {_SCRIPT_HASH}; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    **HEADERS,
}

_SHAPES = {
    "success": '<path d="M3 8.5 6.5 12 13 4.5"/>',
    "failure": '<path d="M3.5 3.5 12.5 12.5M3.5 12.5 12.5 3.5"/>',
    "warning": '<path d="M8 1.5 15 14H1Z M8 6v4M8 11.2v1.3"/>',
    "unknown": '<path d="M3 8h10"/>',
}
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='-2 -2 20 20' fill='none' stroke='%23{colour}' "
    "stroke-width='4'%3E{shape}%3C/svg%3E"
)
_COLOURS = {"success": "2da44e", "failure": "d1242f", "warning": "bf8700", "unknown": "808a94"}


def render_page(report: Report) -> str:
    """Write the whole page."""
    kind = _kind_of_all(report.probes)
    headline = words.headline(report)
    icon = _ICON.format(colour=_COLOURS[kind], shape=_SHAPES[kind].replace('"', "'").replace("<", "%3C").replace(">", "%3E"))
    head = [
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        element("title", f"{headline} – {report.host} – healthproxy"),
        Markup(f'<link rel="icon" href="{icon}">'),
        Markup(f'<noscript><meta http-equiv="refresh" content="{REFRESH_SECONDS}"></noscript>'),
        element("style", _STYLE),
    ]
    lost = element("p", _mark("failure"), "healthproxy does not answer; this is what it said last", class_="note failure lost")
    body = [chart.DEFINITIONS, lost, _main(report, kind, headline), _footer(report), element("script", _SCRIPT)]
    return f"<!doctype html>{element('html', element('head', *head), element('body', *body), lang='en')}\n"


def _main(report: Report, kind: str, headline: str) -> Markup:
    numbered = list(enumerate(report.probes))
    worst_first = sorted(numbered, key=lambda entry: ("failure", "warning", "unknown", "success").index(_kind(entry[1])))
    where = f"{report.host} · up {words.span(report.uptime)} · {words.clock(report.now, report.now)} UTC"
    return element(
        "main",
        element("h1", _mark(kind), element("span", headline[0].upper() + headline[1:]), class_=kind),
        element("p", where),
        _overview(numbered) if len(numbered) > 1 else "",
        *[_probe(number, probe, report.now) for number, probe in worst_first],
        _refused(report),
    )


def _overview(probes: Iterable[tuple[int, ProbeReport]]) -> Markup:
    entries = [
        element(
            "li",
            _mark(_kind(report)),
            " ",
            element("a", element("code", report.probe.key), href=f"#probe-{number}", title=words.state(report)),
        )
        for number, report in probes
    ]
    return element("ul", *entries, class_="which")


def _probe(number: int, report: ProbeReport, now: float) -> Markup:
    kind = report.result or "unknown"
    since = f"since {words.clock(report.since, now)} UTC, {words.span(now - report.since)}" if report.since is not None else ""
    probe = report.probe
    limits = f"timeout {words.duration(probe.timeout)}, every {words.duration(probe.period)}"
    return element(
        "section",
        element(
            "header",
            element("h2", element("code", probe.key)),
            element("span", _mark(kind), words.state(report), class_=f"state {kind}"),
            element("span", since, class_="faint"),
        ),
        element("p", element("code", str(probe.action)), f" · {limits}", class_="target"),
        *_notes(report, now),
        _picture(report, now) if report.recent else "",
        _facts(report, now),
        _failures(number, report.failures, now) if report.failures else "",
        id=f"probe-{number}",
        class_="failing" if report.result is Result.FAILURE else None,
    )


def _notes(report: ProbeReport, now: float) -> list[Markup]:
    """Say first why it fails, then what is worth a look."""
    notes = [_note(report.why.reason.result, words.why(report.why, report))] if report.why else []
    notes += [_note("warning", words.warning(kind, report, now)) for kind in report.warnings]
    if not notes and report.last_request is None:
        notes.append(_note("unknown", "waiting for the kubelet's first probe"))
    return notes


def _note(kind: str, text: str) -> Markup:
    return element("p", _mark(kind), element("span", text, class_="text"), class_=f"note {kind}")


def _picture(report: ProbeReport, now: float) -> Markup:
    picture, begin, end = chart.draw(report, now)
    left, right = f"{words.clock(begin, now)} UTC", "now" if end >= now else f"{words.clock(end, now)} UTC"
    caption = element("figcaption", element("span", left), chart.legend(report), element("span", right))
    return element("figure", picture, caption, class_="picture")


def _facts(report: ProbeReport, now: float) -> Markup:
    durations = report.durations
    facts = {
        "failures in a row": words.streak(report),
        "last success": words.ago(report.last_success, now),
        "last asked": words.ago(report.last_request, now),
        "first success": f"{report.first_success:.1f} s after start" if report.first_success is not None else "not yet",
    }
    if durations is not None:
        facts |= {"p50": words.duration(durations.p50), "p95": words.duration(durations.p95)}
        facts |= {"p99": words.duration(durations.p99), "longest": words.duration(durations.max)}
    return element("dl", *[element("div", element("dt", name), element("dd", value)) for name, value in facts.items()])


def _failures(number: int, failures: Sequence[Failed], now: float) -> Markup:
    items = [_failed(failed, now) for failed in reversed(failures)]
    content = [element("h3", "Last failures"), element("ol", *items[:SHOWN_FAILURES])]
    if rest := items[SHOWN_FAILURES:]:
        summary = element("summary", f"{len(rest)} earlier")
        content.append(element("details", summary, element("ol", *rest), id=f"failures-{number}"))
    return element("div", *content, class_="failures")


def _failed(failed: Failed, now: float) -> Markup:
    when = words.clock(failed.last, now)
    if failed.count > 1:
        when = f"{words.clock(failed.first, now)} – {when} UTC, {failed.count} times"
    else:
        when += " UTC"
    body = element("pre", failed.body, "…" if failed.cut else "") if failed.body else ""
    told = element("strong", failed.detail)
    more = element("small", f" {failed.reason} · {words.duration(failed.duration)} · {when} · {words.ago(failed.last, now)}")
    return element("li", told, more, body)


def _refused(report: Report) -> Markup:
    now = report.now
    content = [element("h2", "Refused on the open port")]
    if not report.refused:
        return element("section", *content, element("p", "Nobody.", class_="faint"), id="refused")
    totals = ", ".join([f"{refused.count} {words.REFUSALS[refused.reason]}" for refused in report.refused])
    heads = element("tr", *[element("th", name, scope="col") for name in ("why", "from", "times", "ago")])
    rows = [_row(refused, now) for refused in reversed(report.refused_lately)]
    content += [
        element("p", f"Since the start: {totals}.", class_="faint"),
        element("table", element("thead", heads), element("tbody", *rows)),
    ]
    return element("section", *content, id="refused")


def _row(refused: Refused, now: float) -> Markup:
    cells = (words.REFUSALS[refused.reason], refused.source, str(refused.count), words.span(now - refused.last))
    return element("tr", *[element("td", cell) for cell in cells])


def _footer(report: Report) -> Markup:
    links = [element("a", path, href=path) for path in ("/history", "/metrics")]
    return element("footer", f"healthproxy {report.version} · ", links[0], " (the same as JSON) · ", links[1])


def _kind(report: ProbeReport) -> str:
    if report.result is Result.FAILURE:
        return "failure"
    return "warning" if report.warnings else report.result or "unknown"


def _kind_of_all(reports: Iterable[ProbeReport]) -> str:
    kinds = set(map(_kind, reports))
    return next((kind for kind in ("failure", "warning", "success") if kind in kinds), "unknown")


def _mark(kind: str) -> Markup:
    return Markup(f'<svg class="mark {kind}" viewBox="0 0 16 16" aria-hidden="true">{_SHAPES[kind]}</svg>')
