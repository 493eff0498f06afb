"""The table of verdicts held against the real thing: Go's net/http under the kubelet's settings, asking the app and healthproxy.

Owns the one process that is asked. What a row should say is the table's business.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
from collections.abc import Iterator
from typing import IO

import pytest

from healthproxy.probe import join_host_port
from tests.e2e.mesh.callers import build_kubelet
from tests.test_verdicts import action_of, every_row, open_port, stanza_of
from tests.verdicts import Row

pytestmark = pytest.mark.e2e

LEAST_TIMEOUT = 0.5
"""Seconds; less and a busy machine decides whether a hanging app had sent its headers in time."""


class Oracle:
    """The kubelet's prober: one question a line, one verdict a line."""

    def __init__(self, questions: IO[str], verdicts: IO[str]) -> None:
        self._questions = questions
        self._verdicts = verdicts

    async def ask(self, url: str, timeout: float) -> tuple[str, str]:
        """Return verdict and detail; Go itself sees to it that an answer comes."""
        return await asyncio.to_thread(self._ask, {"url": url, "timeout": timeout})

    def _ask(self, question: dict[str, object]) -> tuple[str, str]:
        self._questions.write(json.dumps(question) + "\n")
        self._questions.flush()
        line = self._verdicts.readline()
        assert line, f"the prober ended over {question}"
        answer = json.loads(line)
        return answer["verdict"], answer["detail"]


@pytest.fixture(scope="session")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    """Build the prober and run it for all rows."""
    binary = build_kubelet(tmp_path_factory.mktemp("oracle"))
    with subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Oracle(process.stdin, process.stdout)


def skip_where_names_differ(row: Row) -> None:
    """Skip a row about a name that this machine resolves otherwise: Go reads the hosts file, and nothing else."""
    if row.addresses:
        found = {info[4][0] for info in socket.getaddrinfo(row.host, 0)}
        if row.addresses[-1] not in found:
            pytest.skip(f"{row.host} is {', '.join(map(str, found))} on this machine")


@every_row
async def test_kubelet_concludes_what_the_table_says(row: Row, oracle: Oracle) -> None:
    skip_where_names_differ(row)
    async with row.app() as port:
        url = f"{row.scheme}://{join_host_port(row.host, port)}/healthy"
        verdict, detail = await oracle.ask(url, max(row.timeout, LEAST_TIMEOUT))
    assert verdict == row.kubelet, detail


@every_row
async def test_kubelet_concludes_the_same_through_healthproxy(row: Row, oracle: Oracle) -> None:
    skip_where_names_differ(row)
    timeout = max(row.timeout, LEAST_TIMEOUT)
    async with row.app() as app_port, open_port(stanza_of(action_of(row, app_port), timeout)) as port:
        verdict, detail = await oracle.ask(f"http://127.0.0.1:{port}/healthy", timeout)
    assert verdict == row.ours, detail
