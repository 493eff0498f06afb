"""One level of a stanza: its fields are taken one by one, and what nobody takes is a problem. Knows no field by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from healthproxy.problems import Problems
from healthproxy.values import name_of

T = TypeVar("T")


class Section:
    """The fields of one mapping."""

    def __init__(self, where: str, raw: object, problems: Problems) -> None:
        """Open it; `where` it stands goes before each problem."""
        self.where = where
        self.problems = problems
        self._fields: dict[str, Any] = {}
        self.empty = frozenset(
            [name_of(name) for name, value in raw.items() if value is None] if isinstance(raw, Mapping) else []
        )
        """The fields that are null."""
        if isinstance(raw, Mapping):
            self._fields = {name_of(name): value for name, value in raw.items() if value is not None}
        else:
            problems.add(where, "is no mapping", "write its fields below it, as in a Pod spec")
        self.names = frozenset(self._fields)
        """The fields it has; null counts as missing, as in a Pod spec."""

    def take(self, name: str, parse: Callable[[Any], T], default: T) -> T:
        """Read a field that may be missing."""
        if name in self._fields:
            with self.problems.at(f"{self.where}.{name}"):
                return parse(self._fields.pop(name))
        return default

    def section(self, name: str) -> Section | None:
        """Read a field that has fields."""
        return Section(f"{self.where}.{name}", self._fields.pop(name), self.problems) if name in self._fields else None

    def close(self, refused: Mapping[str, str]) -> None:
        """Report what was not taken; `refused` says of known fields what to do instead."""
        for name in self._fields:
            what = "cannot be used" if name in refused else "unknown field"
            to_do = refused.get(name, "remove it, or check its spelling against a Pod spec")
            self.problems.add(f"{self.where}.{name}", what, to_do)
