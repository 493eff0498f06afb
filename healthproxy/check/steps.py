"""What a probe tells of its way, phase by phase, while it goes; here nobody listens.

`timeline.py` listens for `--explain`. Must stay free of any cost: a HEALTHCHECK passes here every few seconds.
"""

from __future__ import annotations

from typing import Literal

Phase = Literal["resolve", "connect", "TLS", "first byte", "headers", "body", "greeting", "answer"]
"""In the order of a probe; the last two are those of gRPC: HTTP/2 settings, which make a connection of it, and the call."""


class Steps:
    """Takes what it is told and forgets it."""

    def ask(self, target: str) -> None:
        """Hear that a request begins, the first one or one more after a redirect."""

    def begin(self, phase: Phase, place: str = "") -> None:
        """Hear that a phase begins, and with it that the one before is over; `place` is where it leads."""

    def end(self, found: str = "") -> None:
        """Hear that the phase is over, and what came of it."""

    def fail(self, error: Exception) -> None:
        """Hear that the phase, if one is under way, failed."""

    def answer(self, code: int, text: str) -> None:
        """Hear what the app answered: an HTTP status and a Location, or a gRPC status and its message."""
