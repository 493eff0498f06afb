"""The prober of `allOf` and `anyOf`: asks other probes, side by side, and answers as soon as it is certain.

Asks members through their gates, so each is measured under its own key and has one flight however many ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from healthproxy.probe import AllOf, AnyOf, Caller, Outcome, Reason, Result

AskMember = Callable[[str, Caller], asyncio.Future[Outcome]]
"""Asks the probe of a key as a caller on the open port would."""

_LAST_WORD_SECONDS = 0.02
"""How long before the deadline silent members are named, a tenth of it at most: at the deadline itself it would be too late."""
_PRECEDENCE = {
    AllOf: (Result.FAILURE, Result.UNKNOWN, Result.SUCCESS),
    AnyOf: (Result.SUCCESS, Result.UNKNOWN, Result.FAILURE),
}
"""Which member's result is the aggregate's: the first of these that any member has. The very first one needs no other member."""


async def probe_members(action: AllOf | AnyOf, caller: Caller, deadline: float, ask: AskMember) -> Outcome:
    """Ask every member; who has not answered shortly before `deadline`, in seconds, has failed by being late."""
    precedence = _PRECEDENCE[type(action)]
    clock = asyncio.get_running_loop().time
    until = clock() + deadline - min(_LAST_WORD_SECONDS, deadline / 10)
    asked = {key: ask(key, caller) for key in action.members}
    silent = set(asked.values())
    certain = False
    while silent and not certain and (left := until - clock()) > 0:
        answered, silent = await asyncio.wait(silent, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        certain = any(answer.result().result is precedence[0] for answer in answered)
    outcomes = {key: answer.result() for key, answer in asked.items() if answer.done()}
    if not certain:
        late = Outcome(Reason.TIMEOUT, f"no answer within {deadline:g} s")
        outcomes |= dict.fromkeys([key for key in asked if key not in outcomes], late)
    return _conclude(precedence, outcomes)


def _conclude(precedence: tuple[Result, ...], outcomes: Mapping[str, Outcome]) -> Outcome:
    results = {outcome.result for outcome in outcomes.values()}
    result = next(result for result in precedence if result in results)
    deciding = {key: outcome for key, outcome in outcomes.items() if outcome.result is result}
    said: dict[str, list[str]] = {}
    for key, outcome in deciding.items():
        said.setdefault(outcome.detail, []).append(key)
    detail = "; ".join([f"{', '.join(keys)}: {what}" for what, keys in said.items()])
    if result is Result.SUCCESS:
        return Outcome(Reason.OK, detail)
    reasons = {outcome.reason for outcome in deciding.values()}
    # One reason is the message; of several, or with a status that only its own key can answer, the members' is told in words.
    told = reasons.pop() if len(reasons) == 1 else Reason.NOT_SERVING
    return Outcome(Reason.NOT_SERVING if told is Reason.STATUS else told, detail)
