"""Requests in pieces: wherever the network cuts them the answer is the same, and one that is never whole gets none."""

import asyncio

import pytest
import pytest_asyncio

from tests.hostile import test_framing as framing
from tests.hostile.attack_row import (
    ANSWERED,
    Attack,
    Promise,
    carry_out,
    exchange,
    get,
    probe,
    refusals,
    undated,
    under_attack,
    verdict,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

NEVER_WHOLE = {
    "HTTP/0.9": b"GET /healthy\r\n",
    "half a method": b"GE",
    "no empty line": probe()[:-2],
    "line ends alone": b"\r\n" * 9,
}
CUT = {
    "a probe": (probe(), ANSWERED),
    "a second request": (probe(then=framing.SMUGGLED), ANSWERED),
    "garbage behind it": (probe(then=b"\x00\x01garbage"), ANSWERED),
    "an empty line first": (b"\r\n" + probe(), ANSWERED),
    "no key": (get(b"/nothing"), "unknown_path"),
    "POST": (b"POST" + probe()[3:], "method"),
    "chunks": (framing.BODIES["chunks"], "body"),
    "CL.TE": (probe(*framing.TWO_FRAMINGS["CL.TE"], then=framing.LAST_CHUNK), "malformed"),
    "a folded coding": (probe(framing.BAD_LINES["a folded coding"]), "malformed"),
    "bare line feeds": (framing.START_LINES["bare line feeds"], "malformed"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place():
    async with under_attack() as place:
        yield place


@pytest.mark.parametrize(("sent", "comes_of_it"), CUT.values(), ids=CUT)
async def test_wherever_the_network_cuts_a_request_the_answer_is_the_same(place, sent, comes_of_it):
    place.server.requests.clear()
    cuts = [(sent[:at], sent[at:]) for at in range(1, len(sent))]
    answers = await asyncio.gather(*[exchange(place.caller, *cut) for cut in cuts])
    answers.append(await exchange(place.caller, *[bytes([byte]) for byte in sent]))
    expected = {verdict()} if comes_of_it == ANSWERED else refusals(comes_of_it)
    if not sent.endswith(probe()):  # who is still sending when he is answered may lose the answer
        expected.add(b"")
    assert {undated(answer) for answer in answers} <= expected
    assert set(place.server.requests) == ({place.asked_as()} if comes_of_it == ANSWERED else set())


async def test_nobody_is_told_to_continue(place):
    for line in (b"Expect: 100-continue", b"expect: 100-CONTINUE"):
        for body in ((), (b"Content-Length: 5",), (b"Transfer-Encoding: chunked",)):
            assert b" 100 " not in await exchange(place.caller, probe(line, *body))


async def test_a_request_that_is_never_whole_ends_without_an_answer():
    async with under_attack(header_timeout="0.2") as place:
        for name, sent in NEVER_WHOLE.items():
            await carry_out(place, Attack(Promise.BOUNDS, name, sent, "header_timeout"))
