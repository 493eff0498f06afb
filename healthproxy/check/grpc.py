"""The gRPC probe of `check`: the shared health check on a blocking connection. Imported only where it is asked for: h2 costs."""

from __future__ import annotations

import contextlib
from urllib.parse import unquote

from healthproxy.check.connection import connect
from healthproxy.check.steps import Steps
from healthproxy.grpc_health import NUMBER, HealthCheck
from healthproxy.probe import GRPC, Caller, Outcome


def ask_grpc(action: GRPC, caller: Caller, deadline: float, steps: Steps) -> Outcome:
    """Ask the app for its health and judge what it answers; `deadline` by `time.monotonic`."""
    call = _Call(action, caller)
    with connect(action.endpoint, deadline, steps) as connection:
        steps.begin("greeting")
        connection.send(call.to_send())
        outcome = None
        while outcome is None:
            data = connection.receive()
            try:
                outcome = call.receive(data)
            finally:
                call.tell(steps)
            with contextlib.suppress(ConnectionError):  # what the app said before it left is still to be read
                connection.send(call.to_send())
        steps.end(outcome.detail)
    return outcome


class _Call(HealthCheck):
    _told = False

    def tell(self, steps: Steps) -> None:
        if self._greeted and not self._told:
            self._told = True
            steps.begin("answer")
        status = self._headers.get("grpc-status", "")
        if NUMBER.fullmatch(status):
            steps.answer(int(status), unquote(self._headers.get("grpc-message", "")))
