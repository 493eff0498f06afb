"""The HTTP probe of `check`: the standard library's parser on a blocking connection.

Knows the kubelet's rules by `kubelet.py` alone, and lets every error out.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import re
from typing import Any

from healthproxy import kubelet
from healthproxy.check.connection import Connection, connect
from healthproxy.check.steps import Steps
from healthproxy.probe import Caller, HTTPGet, Outcome, ProbeError, Reason

_FOLD = re.compile(r"\r\n[ \t]+")
http.client._MAXLINE = http.client._MAXHEADERS = kubelet.MAX_HEAD  # type: ignore[attr-defined]  # noqa: SLF001 - bounds of Go


def ask_http(action: HTTPGet, caller: Caller, deadline: float, steps: Steps) -> Outcome:
    """Ask the app as the kubelet would and judge what it answers; `deadline` by `time.monotonic`."""
    request = kubelet.first_request(action, caller)
    for _ in range(kubelet.MAX_REQUESTS):
        steps.ask(f"GET {request.url}")
        with connect(action.endpoint, deadline, steps) as connection:
            steps.begin("first byte")
            connection.send(request.encode())
            reader = _Reader(_Incoming(connection, steps))
            answer = _read_head(reader, steps)
            # The parser decodes headers as Latin-1; what the app sent is bytes.
            first = (answer.headers.get_all("Location") or [""])[0]
            location = _FOLD.sub(" ", first).strip(" \t").encode("latin-1").decode(errors="surrogateescape")
            steps.answer(answer.status, location)
            steps.end(f"{answer.status}, Location: {location}" if location else str(answer.status))
            following = kubelet.next_request(request, answer.status, location)
            steps.begin("body", following.url if following else "")
            if following is None:
                body = _read_body(answer, reader, kubelet.MAX_BODY)
                steps.end(f"{len(body)} bytes")
                content_type = answer.getheader("Content-Type", "")
                detail = f"app answered {answer.status}"
                return Outcome(kubelet.judge(answer.status), detail, answer.status, 0.0, body, content_type)
            if answer.length is None or answer.length <= kubelet.MAX_REDIRECT_BODY:
                with contextlib.suppress(ConnectionError, ProbeError):
                    _read_body(answer, reader, kubelet.MAX_REDIRECT_BODY)
            steps.end()
            request = following
    raise ProbeError(Reason.PROTOCOL, f"stopped after {kubelet.MAX_REQUESTS} redirects")


class _Incoming(io.RawIOBase):
    """What the app sends, until the deadline."""

    def __init__(self, connection: Connection, steps: Steps) -> None:
        self._connection = connection
        self._steps = steps
        self.start = b""
        """The first bytes."""
        self.received = 0
        """Bytes."""
        self.ended = False
        """Whether the end of the connection has been read."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = self._connection.receive_into(buffer)
        if size and not self.start:
            self._steps.begin("headers")
        self.start = self.start or bytes(buffer[:size][: kubelet.FRAME_HEAD])
        self.received += size
        self.ended = size == 0
        return size


class _Reader(io.BufferedReader):
    """Passes for a socket with the parser, and outlives each answer: 1xx answers come before the real one."""

    raw: _Incoming

    def makefile(self, _mode: str) -> io.BufferedReader:
        return self

    def close(self) -> None:
        pass

    def flush(self) -> None:
        pass  # an answer that the garbage collector ends later than its reader would complain that this is closed


def _read_head(reader: _Reader, steps: Steps) -> http.client.HTTPResponse:
    while True:
        answer = http.client.HTTPResponse(reader, method="GET")  # type: ignore[arg-type]  # all it asks of a socket
        try:
            answer.begin()
        except http.client.RemoteDisconnected:
            raise ProbeError(Reason.RESET, kubelet.BROKEN_OFF) from None
        except (http.client.HTTPException, ValueError):
            raise ProbeError(Reason.PROTOCOL, kubelet.explain_no_http(reader.raw.start)) from None
        if reader.raw.ended:  # which the parser takes for the end of the headers
            raise ProbeError(Reason.RESET, kubelet.BROKEN_OFF)
        if answer.headers.defects:
            raise ProbeError(Reason.PROTOCOL, kubelet.NOT_HTTP)
        kubelet.check_head(answer.status, [(name, _FOLD.sub(" ", value)) for name, value in answer.getheaders()])
        if answer.status >= 200:
            return answer
        steps.answer(answer.status, "")
        if answer.status == 101 or reader.raw.received > kubelet.MAX_HEAD:
            raise ProbeError(Reason.PROTOCOL, f"app answered {answer.status} in place of a real status")


def _read_body(answer: http.client.HTTPResponse, reader: _Reader, limit: int) -> bytes:
    try:
        body = answer.read(limit)
    except http.client.HTTPException:
        raise ProbeError(Reason.RESET, kubelet.BROKEN_OFF) from None
    if len(body) < limit and (answer.length or (answer.chunked and reader.raw.ended)):
        raise ProbeError(Reason.RESET, kubelet.BROKEN_OFF)
    return body
