"""HTML that is safe by construction: text that is put into an element is escaped unless it is `Markup` already."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


class Markup(str):
    """HTML; whoever makes one by hand has nothing but literals in it."""

    __slots__ = ()


def element(name: str, *content: str, **attributes: str | float | None) -> Markup:
    """Write an element; `class_` is for `class`, other underscores are hyphens, and None leaves an attribute out."""
    written = [
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"' for key, value in attributes.items() if value is not None
    ]
    return Markup(f"<{name}{''.join(written)}>{join(content)}</{name}>")


def join(content: Iterable[str]) -> Markup:
    """Put one behind the other."""
    return Markup("".join([part if isinstance(part, Markup) else escape(part) for part in content]))
