"""Callers who must wait for a flight of their own, because what `forwardHeaders` passes on of theirs differs from the others'.

Sources take turns, so whoever asks with ever new values waits behind himself, and both places and sources are bounded. Knows
neither clock nor app.
"""

from __future__ import annotations

from collections.abc import Callable

from healthproxy.probe import Caller, Outcome

Answer = Callable[[Outcome], None]
"""What a caller leaves behind to be told the outcome; must not raise."""

PER_SOURCE = 4
"""Different requests of one source that may wait."""
PLACES = 256
"""Sources that may wait, and callers that may wait for one request."""


class Turns:
    """The waiting callers of one probe, by source and request."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._sources: dict[str, dict[Caller, list[Answer]]] = {}

    def __bool__(self) -> bool:
        """Tell whether anybody waits."""
        return bool(self._sources)

    def add(self, caller: Caller, answer: Answer) -> bool:
        """Let a caller wait; false where there is no room."""
        requests = self._sources.get(caller.source, {})
        answers = requests.get(caller, [])
        known = bool(answers) or len(requests) < PER_SOURCE
        if not known or len(answers) >= PLACES or (not requests and len(self._sources) >= PLACES):
            return False
        answers.append(answer)
        requests[caller] = answers
        self._sources[caller.source] = requests
        return True

    def take(self) -> tuple[Caller, list[Answer]]:
        """Return the next request and who waits for it; its source goes to the end of the line."""
        source = next(iter(self._sources))
        requests = self._sources.pop(source)
        caller = next(iter(requests))
        answers = requests.pop(caller)
        if requests:
            self._sources[source] = requests
        return caller, answers
