"""What only the whole table can say of `allOf` and `anyOf`: members exist, none contains itself, and what passes on to them."""

from __future__ import annotations

import graphlib
from collections.abc import Mapping
from dataclasses import replace

from healthproxy.probe import Aggregate, Probe
from healthproxy.problems import Problems

Table = dict[str, Probe | None]
"""The probes by the keys that were written; None for one with a problem of its own."""


def complete_aggregates(table: Table, problems: Problems) -> tuple[Probe, ...]:
    """Check the members of each aggregate and let pass to them what they let pass."""
    found = {key: probe for key, probe in table.items() if probe is not None}
    members = {key: _members(probe, table, problems) for key, probe in found.items()}
    for key in _inside_out(members, problems):
        names = [name for member in members[key] for name in found[member].forward_headers]
        if names:
            found[key] = replace(found[key], forward_headers=tuple(dict.fromkeys(names)))
    return tuple(found.values())


def _members(probe: Probe, table: Mapping[str, Probe | None], problems: Problems) -> list[str]:
    """Return the members that can be asked."""
    keys = probe.action.members if isinstance(probe.action, Aggregate) else ()
    for key in keys:
        if key not in table:
            others = ", ".join([key for key, other in table.items() if other is not None and other is not probe])
            to_do = f"give one of {others}, or add it" if others else "add it"
            problems.add(f"probe {probe.key}", f"its member {key} is no probe", to_do)
    return [key for key in keys if table.get(key) is not None]


def _inside_out(members: dict[str, list[str]], problems: Problems) -> list[str]:
    """Order the keys, members before what holds them; each circle is a problem, and is cut open."""
    while True:
        try:
            return list(graphlib.TopologicalSorter(members).static_order())
        except graphlib.CycleError as error:
            circle = error.args[1][::-1]
            problems.add(f"probe {circle[0]}", f"is a member of itself by {' -> '.join(circle)}", "take one of them out")
            members[circle[0]].remove(circle[1])
