"""The admin port: request → page. Metrics, history and own health; never needs to be exempt from a mesh, never asks the app.

Served by the open port's kind of connections, with bounds of its own.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, make_wsgi_app

from healthproxy.connections import Bounds, Connection, Connections
from healthproxy.history import History
from healthproxy.http1 import FAILED, TEXT, Refusal, Request, RequestReader, response
from healthproxy.probe import Probe

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 16
"""A Prometheus or two, a person, and room."""
READ_SECONDS = 10.0
"""How long a caller may take to read a page."""
_UNKNOWN_PATH = Refusal("unknown_path", 404, "no such page")


@dataclass(frozen=True, slots=True)
class Page:
    """What is served."""

    body: bytes
    content_type: str = TEXT
    more: Mapping[str, str] = field(default_factory=dict)
    """Further headers."""


Pages = Mapping[str, Callable[[Request], Page]]
"""By path; each is asked anew for each request."""


def make_pages(registry: CollectorRegistry, history: History, probes: Sequence[Probe]) -> Pages:
    """Return every page of the admin port."""
    return {
        "/": functools.partial(_index, history, probes),
        "/history": functools.partial(_history, history, probes),
        "/metrics": functools.partial(_metrics, make_wsgi_app(registry)),
        "/livez": lambda _: Page(b"ok\n"),
        "/readyz": lambda _: Page(b"ok\n"),
    }


def admin_connections(pages: Pages, header_timeout: float) -> Connections:
    """Return the connections on which the pages are served; `header_timeout`: seconds in which a request must have arrived."""
    bounds = Bounds(MAX_CONNECTIONS, header_timeout, READ_SECONDS)
    return Connections(
        bounds, lambda connection: functools.partial(_receive, pages, connection, RequestReader()), lambda *_: None
    )


def _receive(pages: Pages, connection: Connection, reader: RequestReader, data: bytes) -> None:
    request = reader.feed(data)
    if isinstance(request, Refusal):
        connection.refuse(request.answer())
    elif request is not None:
        _serve(pages, connection, request)


def _serve(pages: Pages, connection: Connection, request: Request) -> None:
    page = pages.get(request.target.partition("?")[0])
    refusal = request.fault or (_UNKNOWN_PATH if page is None else None)
    if refusal is not None or page is None:
        connection.refuse((refusal or _UNKNOWN_PATH).answer(request.head_only))
        return
    connection.heard(_nothing)
    try:
        said = page(request)
        answer = response(200, said.body, said.content_type, head_only=request.head_only, more=said.more)
    except Exception:
        log.exception("cannot serve a page of the admin port")
        answer = response(500, FAILED, head_only=request.head_only)
    connection.finish(answer)


def _index(history: History, probes: Sequence[Probe], request: Request) -> Page:
    """Show browsers a page, and everybody else text."""
    from healthproxy import report  # the page costs those nothing who never look at it

    said = report.make_report(history, probes)
    if "text/html" in ",".join(request.headers.getall("Accept", ())):
        return Page(report.render_page(said).encode(), report.HTML, report.PAGE_HEADERS)
    return Page(report.render_text(said).encode(), more=report.HEADERS)


def _history(history: History, probes: Sequence[Probe], _: Request) -> Page:
    from healthproxy import report

    return Page(report.render_json(report.make_report(history, probes)).encode(), "application/json", report.HEADERS)


def _metrics(app: Callable[..., list[bytes]], request: Request) -> Page:
    """Have prometheus-client choose format, compression and, by `name[]`, which metrics."""
    headers: dict[str, str] = {}
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/metrics",
        "QUERY_STRING": request.target.partition("?")[2],
        "HTTP_ACCEPT": ",".join(request.headers.getall("Accept", ())),
        "HTTP_ACCEPT_ENCODING": ",".join(request.headers.getall("Accept-Encoding", ())),
    }
    body = b"".join(app(environ, lambda _status, fields: headers.update(fields)))
    return Page(body, headers.pop("Content-Type"), headers)


def _nothing() -> None:
    """Miss no caller who leaves."""
