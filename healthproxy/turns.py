"""Callers who must wait for a flight of their own, because what `forwardHeaders` passes on of theirs differs from the others'.

Sources take turns, so whoever asks with ever new values waits behind himself, and places and sources are bounded. Knows neither
clock nor app.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from healthproxy.probe import Caller, Headers, Outcome

Answer = Callable[[Outcome], None]
"""What a caller leaves behind to be told the outcome; must not raise."""

PER_SOURCE = 4
"""Different requests of one source that may wait."""
PLACES = 256
"""Sources that may wait, and callers that may wait for one request."""


@dataclass(frozen=True, slots=True)
class _Request:
    caller: Caller
    """The first who asked."""
    answers: list[Answer] = field(default_factory=list)


class Turns:
    """The waiting callers of one probe, by source and by what passes on of theirs."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._sources: dict[str, dict[Headers, _Request]] = {}

    def __bool__(self) -> bool:
        """Tell whether anybody waits."""
        return bool(self._sources)

    def add(self, caller: Caller, answer: Answer) -> bool:
        """Let a caller wait; false where there is no room."""
        requests = self._sources.get(caller.source, {})
        request = requests.get(caller.headers) or _Request(caller)
        known = request.answers or len(requests) < PER_SOURCE
        if not known or len(request.answers) >= PLACES or (not requests and len(self._sources) >= PLACES):
            return False
        request.answers.append(answer)
        requests[caller.headers] = request
        self._sources[caller.source] = requests
        return True

    def remove(self, caller: Caller, answer: Answer) -> None:
        """Let a caller go who waits no longer, if he is still here."""
        requests = self._sources.get(caller.source, {})
        request = requests.get(caller.headers)
        if request is not None and answer in request.answers:
            request.answers.remove(answer)
            if not request.answers:
                self._pop(caller.source, caller.headers)

    def take(self, served: str) -> tuple[Caller, list[Answer]]:
        """Return the next request and all who wait for the same; the source that was `served` last stands at the end."""
        if served in self._sources:
            self._sources[served] = self._sources.pop(served)
        request = next(iter(next(iter(self._sources.values())).values()))
        headers = request.caller.headers
        holders = [source for source, requests in self._sources.items() if headers in requests]
        return request.caller, [answer for source in holders for answer in self._pop(source, headers).answers]

    def _pop(self, source: str, headers: Headers) -> _Request:
        requests = self._sources[source]
        request = requests.pop(headers)
        if not requests:
            del self._sources[source]
        return request
