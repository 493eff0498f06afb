"""Connections by source, each source's in order of arrival: who goes first when there are too many."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Sourced(Protocol):
    """What comes from somewhere."""

    peer: str
    """The caller's address."""


T = TypeVar("T", bound=Sourced)


class Crowd(Generic[T]):
    """Connections of any number of sources."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self.size = 0
        self._sources: dict[str, dict[T, None]] = {}

    def __iter__(self) -> Iterator[T]:
        """Go through all, also while they leave."""
        return iter([connection for connections in self._sources.values() for connection in connections])

    def add(self, connection: T) -> None:
        """Let one in."""
        self.size += 1
        self._sources.setdefault(connection.peer, {})[connection] = None

    def remove(self, connection: T) -> bool:
        """Tell whether it was there."""
        mine = self._sources.get(connection.peer, {})
        if connection not in mine:
            return False
        self.size -= 1
        del mine[connection]
        if not mine:
            del self._sources[connection.peer]
        return True

    def most(self) -> int:
        """Return how many the busiest source has."""
        return max(map(len, self._sources.values()), default=0)

    def oldest_of_the_busiest(self) -> T:
        """Return who has been here longest of the source that has most."""
        busiest = max(self._sources.values(), key=len)
        return next(iter(busiest))
