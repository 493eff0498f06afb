"""The table of docs/troubleshooting.md against a real sidecar: each status and body that it explains is what comes out."""

import re
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest

from healthproxy.open_port import OWN_HEALTH
from tests import app
from tests.manifests import ROOT
from tests.sidecar import http_get, sidecar

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
TABLE = re.findall(r"^\| ([45]\d\d) \| (`.+?`) \|", PAGE, re.MULTILINE)
NOT_OURS = {("403", "RBAC: access denied"), ("503", "upstream connect error …")}
BUG = ("500", "healthproxy failed; its log says why")
"""What `tests/test_open_port.py` makes happen."""

Behaviour = Callable[..., Awaitable[None]]


class Row(NamedTuple):
    """What has to be the case for a status with a body."""

    status: str
    body: str
    behaviour: Behaviour | None = None
    """Of the app; None: it is not there."""
    stanza: dict[str, Any] = {}  # noqa: RUF012 - never changed
    """Beside the app's port, what the probe says."""
    flags: dict[str, str] = {}  # noqa: RUF012 - never changed
    target: str = "/healthy"


ROWS = [
    Row("400", "app answered 400", app.answer(400)),
    Row("403", "source address not allowed", app.answer(), flags={"allow_from": "10.0.0.0/8"}),
    Row("404", "no such probe", app.answer(), target="/healthy/"),
    Row("404", "app answered 404", app.answer(404)),
    Row("502", "connection refused"),
    Row("502", "connection reset", app.raw(b"", "reset")),
    Row("502", "connection closed before the answer was complete", app.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")),
    Row("502", "TLS failed: …", app.answer(400), {"scheme": "HTTPS"}),
    Row("502", "app did not answer in HTTP/1", app.raw(b"+OK redis would say\r\n")),
    Row("502", "/db: connection refused", target="/all"),
    Row("503", "app answered 503", app.answer(503)),
    Row("504", "no answer within 0.9 s", app.hang()),
]


def test_the_page_explains_what_is_tried_here_and_nothing_else():
    explained = {(status, body) for status, bodies in TABLE for body in re.findall(r"`(.+?)`", bodies)}
    assert explained == {(row.status, row.body) for row in ROWS} | NOT_OURS | {BUG}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.status} {row.body}")
async def test_the_answer_is_the_one_that_the_page_explains(row):
    with app.closed_port() as nobody:
        async with app.serving(row.behaviour or app.answer(), at_once="scheme" in row.stanza) as server:
            port = server.port if row.behaviour else nobody
            stanza = http_get(port) | {"timeoutSeconds": 1}
            stanza["httpGet"] |= row.stanza
            table = {"/healthy": stanza, "/db": {"tcpSocket": {"port": nobody}}, "/all": {"allOf": ["/db"]}}
            async with sidecar(table, **row.flags) as caller:
                answer = await caller.get(row.target)
                assert answer.status == int(row.status)
                assert re.fullmatch(re.escape(row.body).replace("…", ".+"), answer.body.decode().strip())
                assert (await caller.get(OWN_HEALTH[0])).status == 200, "healthproxy itself is well, and asked from inside"
