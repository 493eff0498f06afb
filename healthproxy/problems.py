"""Why healthproxy refuses to run; problems of a configuration are collected, so that all of them are told at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class ConfigError(Exception):
    """The configuration is refused; `problems` has one line for each reason."""

    def __init__(self, problems: list[str]) -> None:
        """Keep the lines, each `where: what is wrong; what to do`."""
        super().__init__("\n".join(problems))
        self.problems = problems


class StartError(Exception):
    """healthproxy cannot start; the text says why and what to do."""


class Problems:
    """The problems found so far."""

    def __init__(self) -> None:
        """Start with none."""
        self._lines: list[str] = []

    def add(self, where: str, what: str, to_do: str) -> None:
        """Note a problem."""
        self._lines.append(on_one_line(f"{where}: {what}; {to_do}"))

    @contextmanager
    def at(self, where: str) -> Iterator[None]:
        """Turn a ValueError that is raised inside, with the text `what; what to do`, into a problem and go on."""
        try:
            yield
        except ValueError as error:
            self._lines.append(on_one_line(f"{where}: {error}"))

    def raise_if_any(self) -> None:
        """Refuse the configuration if there is a problem."""
        if self._lines:
            raise ConfigError(self._lines)


def on_one_line(text: str) -> str:
    """Escape what would break the line or could not be printed; keys and values hold whatever was written."""
    return "".join([char if char.isprintable() else char.encode("unicode_escape").decode() for char in text])
