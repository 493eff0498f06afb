"""The fuzzer by hand, `make fuzz`: new bytes until the time is up or something breaks, which is printed as a case to keep."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.fuzz import bytes as fuzz
from tests.fuzz.target import Target, target

SECONDS = float(os.environ.get("FUZZ_SECONDS", "300"))
ROUND = 500
"""Examples between two looks at the clock."""
KEYS = st.sampled_from(["/healthy", "/exposed"])

Attack = Callable[..., Coroutine[Any, Any, None]]


def attacks(attacked: Target) -> dict[str, tuple[SearchStrategy[tuple[Any, ...]], Attack, int]]:
    """Return by table of `cases.py` what is drawn, what is done with it, and how many of a round it takes."""
    return {
        "REQUESTS": (st.tuples(fuzz.requests, fuzz.cuts), attacked.receive_request, ROUND),
        "REQUESTS, held": (st.tuples(st.lists(fuzz.requests, min_size=50, max_size=100)), attacked.hold_requests, 5),
        "ANSWERS, HTTP": (st.tuples(fuzz.http_answers, KEYS, st.booleans()), attacked.receive_answer, ROUND),
        "ANSWERS, gRPC": (st.tuples(fuzz.grpc_answers, st.just("/grpc"), st.booleans()), attacked.receive_answer, ROUND),
    }


class Finder:
    """Draws and carries out, and remembers what it did last: after a failure that is the shortest bytes that fail."""

    def __init__(self, runner: asyncio.Runner, attacked: Target) -> None:
        self.examples = 0
        self.last: tuple[Any, ...] = ()
        self._runner = runner
        self._attacked = attacked

    def hunt(self, strategy: SearchStrategy[tuple[Any, ...]], attack: Attack, number: int) -> None:
        """Carry out that many examples. Raises what the shortest failing one raised."""

        def carry_out(drawn: tuple[Any, ...]) -> None:
            self.examples, self.last = self.examples + 1, drawn
            self._runner.run(attack(*drawn))

        rules = settings(
            max_examples=number,
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            verbosity=Verbosity.quiet,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        )
        seed(random.randrange(2**63))(rules(given(strategy)(carry_out)))()


def main() -> int:
    """Run; the exit status is 1 where something broke."""
    started = time.monotonic()
    with asyncio.Runner() as runner:
        context = target()
        attacked = runner.run(_entered(context))
        finder = Finder(runner, attacked)
        try:
            while time.monotonic() < started + SECONDS:
                for table, rules in attacks(attacked).items():
                    case = f"a case for {table} in tests/fuzz/cases.py"
                    finder.hunt(*rules)
                print(f"{time.monotonic() - started:5.0f} s, {finder.examples} examples, nothing found", flush=True)
        except Exception as error:  # noqa: BLE001 - whatever it is, its bytes are what we are here for
            print(f"{repr(error)[:1000]}\n\nafter {finder.examples} examples; {case}:\n\n    {finder.last!r},")
            return 1
        finally:
            runner.run(_left(context))
    return 0


async def _entered(context: contextlib.AbstractAsyncContextManager[Target]) -> Target:
    return await context.__aenter__()


async def _left(context: contextlib.AbstractAsyncContextManager[Target]) -> None:
    await context.__aexit__(None, None, None)


if __name__ == "__main__":
    sys.exit(main())
