"""The TCP prober: connects, and closes at once with FIN.

Knows no deadline, no clock and no metric, and lets every error out: they belong to `run_probe`.
"""

from __future__ import annotations

from healthproxy.probe import Outcome, Reason, TCPSocket
from healthproxy.probers.stream import open_stream


async def probe_tcp(action: TCPSocket) -> Outcome:
    """Connect to the app itself, where no mesh answers in its place."""
    stream = await open_stream(action.endpoint, b"")
    stream.close()
    return Outcome(Reason.OK, "app accepted the connection")
