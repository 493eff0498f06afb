"""The events that `check --explain` writes, held against the real thing: Go's net/http under the kubelet's settings.

Owns no row and no process: the rows are the table of verdicts, the one who is asked is that of `test_oracle.py`.
"""

from __future__ import annotations

import asyncio
import re

import pytest

from healthproxy.check import check
from healthproxy.check.events import Event, kubelet_event
from healthproxy.check.timeline import Timeline
from healthproxy.probe import join_host_port
from tests.test_verdicts import action_of, every_row
from tests.verdicts import OTHERWISE, Row

from .test_oracle import LEAST_TIMEOUT, Oracle, oracle, skip_where_names_differ  # noqa: F401 - a fixture

pytestmark = pytest.mark.e2e

WRITTEN = {
    "failure": "Readiness probe failed: ",
    "warning": "Readiness probe warning: Probe terminated redirects, Response body: ",
    "errored": "Readiness probe errored and resulted in failure state: ",
}
"""How the kubelet begins the event of each verdict; a success has none."""
LAXER = {name for name, (_, by_check) in OTHERWISE.items() if by_check} | {
    "Content-Length that is no number: 99999999999999999999"
}
"""Rows of which Go's parser and ours make different things; to the last one's length the body of ours breaks off."""
RACES = {"closed before the request is read", "https handshake reset", "https with a client certificate demanded"}
"""Rows whose app closes at once or with bytes unread: whether FIN or RST, connect or write is first, is decided each time."""


def written(verdict: str, detail: str) -> str:
    """Return the event that the kubelet makes of a verdict; that of a warning without the body, which nobody tells us."""
    status = re.fullmatch(r"(\d{3}) .*", detail)
    if verdict == "success":
        return ""
    if verdict == "warning":
        return WRITTEN[verdict]
    return WRITTEN[verdict] + (f"HTTP probe failed with statuscode: {status[1]}" if status else detail)


async def explained(row: Row, port: int, timeout: float) -> Event:
    action, timeline = action_of(row, port), Timeline()
    outcome = await asyncio.to_thread(check, action, timeout, timeline)
    return kubelet_event(action, timeout, timeline, outcome)


@every_row
async def test_event_is_the_one_that_the_kubelet_writes(row: Row, oracle: Oracle) -> None:  # noqa: F811
    skip_where_names_differ(row)
    timeout = max(row.timeout, LEAST_TIMEOUT)
    async with row.app() as port:
        url = f"{row.scheme}://{join_host_port(row.host, port)}/healthy"
        expected = written(*await oracle.ask(url, timeout))
        event = await explained(row, port, timeout)
    if row.differs:
        assert (event.reason, event.text.partition(":")[0]) == ("", "unknown")
    elif row.name in LAXER:
        assert not (event.reason and event.exact)
    elif not expected:
        assert (event.reason, event.text.partition(":")[0]) == ("", "none")
    elif event.exact and row.kubelet != "warning" and row.name not in RACES:
        assert event.text == expected
    else:
        assert event.text.startswith(until_go_speaks(expected))


def until_go_speaks(event: str) -> str:
    """Cut off an event where the words of Go begin: behind the verdict, and behind the URL of `Get "URL": `."""
    begun = re.match(r'Readiness probe (warning|failed|errored[^:]*): (Probe [^:]*: |Get ".*?": )?', event)
    assert begun, event
    return begun[0]
