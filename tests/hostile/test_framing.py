"""Framing: no request in disguise. Bodies, smuggling, folded lines, other versions and other protocols, as RFC 9112 has it.

Nothing here reaches the app: it is asked with a request of our own, or not at all.
"""

import pytest
import pytest_asyncio

from tests.hostile.attack_row import (
    ANSWERED,
    Attack,
    Promise,
    carry_out,
    get,
    probe,
    under_attack,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"

BODIES = {
    "a length": probe(b"Content-Length: 5", then=b"hello"),
    "a length and no body": probe(b"Content-Length: 5"),
    "a length with a zero before": probe(b"Content-Length: 05", then=b"hello"),
    "a length of 2^64 - 1": probe(b"Content-Length: 18446744073709551615"),
    "a length after a tab": probe(b"Content-Length:\t5", then=b"hello"),
    "a length and a blank": probe(b"Content-Length: 5 ", then=b"hello"),
    "chunks": probe(b"Transfer-Encoding: chunked", then=b"5\r\nhello\r\n" + LAST_CHUNK),
    "no chunk but the last": probe(b"Transfer-Encoding: chunked", then=LAST_CHUNK),
    "chunks to come": probe(b"Transfer-Encoding: chunked"),
    "chunks in capitals": probe(b"Transfer-Encoding: CHUNKED", then=LAST_CHUNK),
    "chunks without a blank": probe(b"Transfer-Encoding:chunked", then=LAST_CHUNK),
    "chunks after a tab": probe(b"Transfer-Encoding:\tchunked", then=LAST_CHUNK),
    "chunks in gzip": probe(b"Transfer-Encoding: gzip, chunked", then=LAST_CHUNK),
    "chunks after an empty coding": probe(b"Transfer-Encoding: ,chunked", then=LAST_CHUNK),
    "chunks after identity": probe(b"Transfer-Encoding: identity, chunked", then=LAST_CHUNK),
    "chunks with an extension": probe(b"Transfer-Encoding: chunked", then=b"1;a=b\r\nx\r\n" + LAST_CHUNK),
    "chunks with a trailer": probe(b"Transfer-Encoding: chunked", b"Trailer: Host", then=b"0\r\nHost: evil\r\n\r\n"),
    "chunks in HTTP/1.0": get(b"/healthy", b"Transfer-Encoding: chunked", version=b"HTTP/1.0") + LAST_CHUNK,
    "a request in a chunk": probe(
        b"Transfer-Encoding: chunked", then=b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n" + LAST_CHUNK
    ),
    "a request in a body": probe(b"Content-Length: 37", then=SMUGGLED),
    "a body announced": probe(b"Content-Length: 5", b"Expect: 100-continue"),
    "chunks announced": probe(b"Transfer-Encoding: chunked", b"Expect: 100-continue"),
    "a body with HEAD": b"HEAD" + probe(b"Content-Length: 5", then=b"hello")[3:],
    "a body at our own health": get(b"/-/ready", b"Content-Length: 5") + b"hello",
    "a body and a WebSocket": probe(b"Content-Length: 5", b"Upgrade: websocket", b"Connection: Upgrade", then=b"hello"),
    "1 MB": probe(b"Content-Length: 1000000", then=b"x" * 1_000_000),
}
BAD_LENGTHS = {
    "with a plus": b"+5",
    "with a minus": b"-5",
    "minus zero": b"-0",
    "plus zero": b"+0",
    "in hex": b"0x5",
    "of hex zero": b"0x0",
    "twice in a list": b"5, 5",
    "two in a list": b"5, 6",
    "zero twice in a list": b"0, 0",
    "with a comma": b"5,",
    "with a blank": b"5 5",
    "in science": b"1e1",
    "with a fraction": b"5.0",
    "with an underscore": b"0_5",
    "with a semicolon": b"5;",
    "with a NUL": b"5\x00",
    "with a vertical tab": b"\x0b5",
    "with a vertical tab behind": b"0\x0b",
    "of 2^64": b"18446744073709551616",
    "in Arabic": b"\xd9\xa5",
    "of 4000 digits": b"9" * 4000,
    "in quotes": b'"5"',
    "in words": b"five",
    "that is none": b"",
    "of blanks": b"   ",
    "over two lines": b"5\r\n 6",
    "cut by a line feed": b"5\n6",
    "cut by a carriage return": b"5\r6",
}
BAD_CODINGS = {
    "obfuscated by a letter before": b"xchunked",
    "obfuscated by a letter behind": b"chunkedx",
    "chunked, identity": b"chunked, identity",
    "identity": b"identity",
    "gzip alone": b"gzip",
    "cow": b"cow",
    "chunked twice in a list": b"chunked, chunked",
    "chunked with a comma": b"chunked,",
    "with a parameter": b"chunked;q=1",
    "in quotes": b'"chunked"',
    "in single quotes": b"'chunked'",
    "after a vertical tab": b"\x0bchunked",
    "before a vertical tab": b"chunked\x0b",
    "after a form feed": b"\x0cchunked",
    "after a high byte": b"\xffchunked",
    "with another letter": b"chunke\xc4\x8f",
    "with a NUL": b"ch\x00unked",
    "after a NUL": b"\x00chunked",
    "folded": b"\r\n chunked",
    "folded with a tab": b"\r\n\tchunked",
    "after a carriage return": b"\rchunked",
    "after a line feed": b"\nchunked",
    "a comma": b",",
    "of no coding at all": b"",
    "of blanks alone": b" \t ",
}
TWO_FRAMINGS = {
    "CL.TE": (b"Content-Length: 37", b"Transfer-Encoding: chunked"),
    "TE.CL": (b"Transfer-Encoding: chunked", b"Content-Length: 4"),
    "CL.TE with length zero": (b"Content-Length: 0", b"Transfer-Encoding: chunked"),
    "TE.CL with length zero": (b"Transfer-Encoding: chunked", b"Content-Length: 0"),
    "CL.TE with a coding that is none": (b"Content-Length: 4", b"Transfer-Encoding: xchunked"),
    "CL.TE with identity": (b"Content-Length: 4", b"Transfer-Encoding: identity"),
    "CL.TE with no coding": (b"Content-Length: 0", b"Transfer-Encoding:"),
    "TE.TE: chunked, then identity": (b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
    "TE.TE: identity, then chunked": (b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked"),
    "TE.TE: chunked, then cow": (b"Transfer-Encoding: chunked", b"Transfer-Encoding: cow"),
    "TE.TE: chunked twice": (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "TE.TE: in two cases": (b"Transfer-Encoding: chunked", b"transfer-encoding: x"),
    "TE.TE: nothing, then cow": (b"Transfer-Encoding:", b"Transfer-Encoding: cow"),
    "two equal lengths": (b"Content-Length: 5", b"Content-Length: 5"),
    "two equal lengths of zero": (b"Content-Length: 0", b"Content-Length: 0"),
    "two lengths": (b"Content-Length: 5", b"Content-Length: 6"),
    "two lengths, zero first": (b"Content-Length: 0", b"Content-Length: 37"),
    "two lengths, zero last": (b"Content-Length: 37", b"Content-Length: 0"),
}
BAD_LINES = {
    "a blank before the colon": b"X : a",
    "a tab before the colon": b"X\t: a",
    "a coding before blank and colon": b"Transfer-Encoding : chunked",
    "a length before blank and colon": b"Content-Length : 5",
    "a blank before the name": b" X: a",
    "a length after a blank": b" Content-Length: 5",
    "a tab before the name": b"\tX: a",
    "no colon": b"X",
    "no name": b": a",
    "a folded value": b"X: a\r\n b",
    "a value folded by a tab": b"X: a\r\n\tb",
    "a folded coding": b"X: a\r\n\tTransfer-Encoding: chunked",
    "a fold of nothing": b"X: a\r\n ",
    "the colon on the next line": b"X\r\n: a",
    "a bare line feed": b"X: a\nY: b",
    "a coding after a bare line feed": b"X: a\nTransfer-Encoding: chunked",
    "a bare carriage return": b"X: a\rY: b",
    "a coding after a bare carriage return": b"X: a\rTransfer-Encoding: chunked",
    "a carriage return too many": b"X: a\r",
    "NUL in a value": b"X: a\x00b",
    "a coding after NUL": b"X: \x00Transfer-Encoding: chunked",
    "NUL in a name": b"X\x00: a",
    "a vertical tab in a value": b"X: a\x0bb",
    "a bracket in a name": b"X(: a",
    "raw UTF-8 in a name": b"\xc3\xa9: a",
    "a high byte before a coding": b"\xffTransfer-Encoding: chunked",
    "a space in a name": b"X Y: a",
}
START_LINES = {
    "HTTP/0.9 by name": get(b"/healthy", version=b"HTTP/0.9"),
    "HTTP/0.9 and an empty line": b"GET /healthy\r\n\r\n",
    "HTTP/1.2": get(b"/healthy", version=b"HTTP/1.2"),
    "HTTP/1.10": get(b"/healthy", version=b"HTTP/1.10"),
    "HTTP/01.1": get(b"/healthy", version=b"HTTP/01.1"),
    "HTTP/2.0": get(b"/healthy", version=b"HTTP/2.0"),
    "HTTP/2": get(b"/healthy", version=b"HTTP/2"),
    "HTTP/3.0": get(b"/healthy", version=b"HTTP/3.0"),
    "HTTP/9.9": get(b"/healthy", version=b"HTTP/9.9"),
    "a version with a comma": get(b"/healthy", version=b"HTTP/1,1"),
    "a version with a sign": get(b"/healthy", version=b"HTTP/+1.1"),
    "a version with a blank": get(b"/healthy", version=b"HTTP/1. 1"),
    "a version and a NUL": get(b"/healthy", version=b"HTTP/1.1\x00"),
    "a version in small letters": get(b"/healthy", version=b"http/1.1"),
    "HTTPS": get(b"/healthy", version=b"HTTPS/1.1"),
    "RTSP": get(b"/healthy", version=b"RTSP/1.0"),
    "ICE": get(b"/healthy", version=b"ICE/1.0"),
    "tabs": b"GET\t/healthy\tHTTP/1.1\r\nHost: x\r\n\r\n",
    "a tab before the version": b"GET /healthy\tHTTP/1.1\r\nHost: x\r\n\r\n",
    "a vertical tab": b"GET\x0b/healthy HTTP/1.1\r\nHost: x\r\n\r\n",
    "a blank first": b" GET /healthy HTTP/1.1\r\nHost: x\r\n\r\n",
    "NUL first": b"\x00GET /healthy HTTP/1.1\r\nHost: x\r\n\r\n",
    "a byte order mark first": b"\xef\xbb\xbfGET /healthy HTTP/1.1\r\nHost: x\r\n\r\n",
    "a blank line of headers first": b"X: y\r\nGET /healthy HTTP/1.1\r\nHost: x\r\n\r\n",
    "bare line feeds": b"GET /healthy HTTP/1.1\nHost: x\n\n",
    "a bare line feed behind a header": b"GET /healthy HTTP/1.1\r\nHost: x\n\r\n",
    "a bare line feed at the end": b"GET /healthy HTTP/1.1\r\nHost: x\r\n\n",
    "bare carriage returns": b"GET /healthy HTTP/1.1\rHost: x\r\r",
    "a carriage return too many": b"GET /healthy HTTP/1.1\r\r\nHost: x\r\n\r\n",
    "the first header indented": b"GET /healthy HTTP/1.1\r\n Host: x\r\n\r\n",
    "an answer": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
}
OTHER_PROTOCOLS = {
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(range(190)),
    "SSL 2": bytes.fromhex("802e0100020015000000100100800200800600400400"),
    "PROXY, version 1": b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + probe(),
    "PROXY, version 2": b"\r\n\r\n\x00\r\nQUIT\n!\x11\x00\x0c\x7f\x00\x00\x01\x7f\x00\x00\x01\x00\x50\x00\x50" + probe(),
    "SMTP": b"EHLO evil.example\r\nMAIL FROM:<x@evil.example>\r\n",
    "Redis": b"*1\r\n$4\r\nINFO\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.9\r\n",
    "memcached": b"stats\r\n",
    "SOCKS 5": b"\x05\x01\x00",
    "MQTT": b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00",
    "nothing but zeros": bytes(1000),
}
IN_ORDER = {
    "HTTP/1.0": get(b"/healthy", version=b"HTTP/1.0"),
    "HTTP/1.0 without Host": b"GET /healthy HTTP/1.0\r\n\r\n",
    "a length of zero": probe(b"Content-Length: 0"),
    "a length of many zeros": probe(b"Content-Length: 000000"),
    "an empty line first": b"\r\n" + probe(),
    "five empty lines first": b"\r\n" * 5 + probe(),
    "blanks in the request line": b"GET  /healthy  HTTP/1.1\r\nHost: x\r\n\r\n",
    "a body announced that is none": probe(b"Expect: 100-continue"),
    "an expectation that nobody knows": probe(b"Expect: 200-ok"),
    "HTTP/2 offered": probe(b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAMAAABkAAQAAP__"),
    "a WebSocket": probe(b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Key: AA==", b"Sec-WebSocket-Version: 13"),
    "a tunnel offered": probe(b"Upgrade: TLS/1.3", b"Connection: Upgrade"),
    "a trailer announced": probe(b"Trailer: X-Evil"),
    "trailers accepted": probe(b"TE: trailers", b"Connection: TE"),
    "a name that only looks like a length": probe(b"Content_Length: 5"),
    "a name that only looks like a coding": probe(b"Transfer_Encoding: chunked"),
    "a connection to be kept": probe(b"Connection: keep-alive", b"Keep-Alive: timeout=86400"),
    "a second request": probe(then=probe()),
    "a smuggled request": probe(then=SMUGGLED),
    "a hundred requests": probe(then=probe() * 99),
    "a POST behind it": probe(then=b"POST /healthy HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"),
    "a second request behind a close": probe(b"Connection: close", then=probe()),
    "garbage behind it": probe(then=b"\x00\x01garbage"),
    "a body that was not announced": probe(then=b"hello"),
    "a header behind the end": probe(then=b"X-Evil: 1\r\n\r\n"),
    "HTTP/2 behind it": probe(then=OTHER_PROTOCOLS["HTTP/2"]),
}

ATTACKS = [
    *[Attack(Promise.BODY, name, sent, "body", cut_off=name == "1 MB") for name, sent in BODIES.items()],
    *[
        Attack(Promise.BODY, f"a length {name}", probe(b"Content-Length: " + value), "malformed")
        for name, value in BAD_LENGTHS.items()
    ],
    *[
        Attack(Promise.BODY, f"a coding {name}", probe(b"Transfer-Encoding: " + value, then=LAST_CHUNK), "malformed")
        for name, value in BAD_CODINGS.items()
    ],
    *[Attack(Promise.BODY, name, probe(*lines, then=LAST_CHUNK + SMUGGLED), "malformed") for name, lines in TWO_FRAMINGS.items()],
    *[Attack(Promise.SAME_REQUEST, name, probe(line), "malformed") for name, line in BAD_LINES.items()],
    *[Attack(Promise.SAME_REQUEST, name, sent, "malformed") for name, sent in (START_LINES | OTHER_PROTOCOLS).items()],
    *[Attack(Promise.ONE_REQUEST, name, sent, ANSWERED) for name, sent in IN_ORDER.items()],
    Attack(Promise.BOUNDS, "1 MB of line ends", b"\r\n" * 500_000, "too_large", cut_off=True),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place():
    async with under_attack() as place:
        yield place


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
async def test_a_request_in_disguise_is_turned_away_or_is_one_probe(place, attack):
    await carry_out(place, attack)
