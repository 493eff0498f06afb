"""What the fuzzer sends: requests and answers that are nearly right, made of valid ones and of every trick in `tests/hostile`.

Owns the strategies and their seeds. Knows nothing of sockets and judges nothing.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests import grpc_app
from tests.hostile import test_framing, test_headers, test_methods, test_redirects, test_targets
from tests.hostile.attack_row import get, probe

_LONG = 30_000
_VALID = [
    probe(),
    probe(b"User-Agent: kube-probe/1.36", b"Accept: */*", b"Connection: close"),
    b"HEAD" + probe()[3:],
    get(b"/ready?full=1"),
    get(b"/tenant", b"X-Tenant: blue", b"Cookie: a=b"),
    get(b"/-/ready"),
    b"GET /healthy HTTP/1.0\r\n\r\n",
]
_SEPARATORS = [b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t"]
_TABLES = (test_framing, test_headers, test_methods, test_targets)
_HOSTILE = [attack.sent for table in _TABLES for attack in table.ATTACKS if len(attack.sent) <= _LONG]
_REQUEST_TOKENS = [
    *_SEPARATORS,
    b"\x0b",
    b"\x0c",
    b"\x00",
    b"\x7f",
    b"\x80",
    b"\xff",
    b":",
    b",",
    b";",
    b"/",
    b"\\",
    b"?",
    b"#",
    b"%",
    b"@",
    b"..",
    b"GET ",
    b"HEAD ",
    b"POST ",
    b" HTTP/1.1",
    b" HTTP/1.0",
    b" HTTP/2.0",
    b"HTTP/",
    b"/healthy",
    b"/tenant",
    b"/-/ready",
    b"Host: x\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding:",
    b"identity",
    b"Connection: close\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket\r\n",
    b"Connection: X-Tenant\r\n",
    b"X-Tenant: red\r\n",
    b"Expect: 100-continue\r\n",
    b"User-Agent: kube-probe/1.1\r\n",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"\xc3\xa9",
    b"\xef\xbb\xbf",
    b"CONNECT ",
    b"RTSP/1.0",
    b"A" * 9_000,
    b"\r\n" * 5_000,
]

_HTTP_ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecret",
    b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nsecret",
    b"HTTP/1.1 503 secret\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n6;a=b\r\nsecret\r\n0\r\nX: secret\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nX-Secret: secret\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x05hello",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 20\r\n\r\n" + gzip.compress(b""),
    b"HTTP/1.1 200 OK\r\nContent-Length: 200000000000\r\n\r\nsecret",
    b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Type: text/html; charset=secret\r\n\r\nsecret",
    b"HTTP/1.1 401 Unauthorized\r\nSet-Cookie: secret\r\nWWW-Authenticate: secret\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 999 Secret\r\nContent-Length: 0\r\n\r\n",
    *[
        b"HTTP/1.1 302 Found\r\nLocation: " + location.encode() + b"\r\nContent-Length: 6\r\n\r\nsecret"
        for location in (test_redirects.OUT | test_redirects.WITHIN | test_redirects.NOT_A_URL).values()
        if len(location) <= _LONG
    ],
]
_ANSWER_TOKENS = [
    *_SEPARATORS,
    b"\x00",
    b"\x0b",
    b"\x7f",
    b"\xff",
    b":",
    b",",
    b";",
    b"HTTP/1.1 ",
    b"HTTP/1.0 ",
    b"HTTP/2 ",
    b"ICY ",
    b"RTSP/1.0 ",
    b"100 ",
    b"101 ",
    b"199 ",
    b"200 ",
    b"204 ",
    b"302 ",
    b"304 ",
    b"500 ",
    b"600 ",
    b"999 ",
    b"000 ",
    b"099 ",
    b"Location: /healthy\r\n",
    b"Location: http://127.0.0.1:1/\r\n",
    b"Location: \xff\r\n",
    b"Location: //[\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: -1\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding:",
    b"0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"5\r\nhello\r\n",
    b"Content-Type: \x80\r\n",
    b"Connection: upgrade\r\n",
    b"Upgrade: h2c\r\n",
    b"Content-Encoding: br\r\n",
    b"A" * 9_000,
    b"%zz",
    b"\xc3\xa9",
    b"@",
    b"\\",
]

_GRPC_ANSWERS = [
    grpc_app.GREETING + grpc_app.SERVES,
    grpc_app.GREETING + grpc_app.said(b"\x08\x02"),
    grpc_app.GREETING + grpc_app.trailers_only("5", ("grpc-message", "secret")),
    grpc_app.GREETING + grpc_app.trailers_only("12"),
    grpc_app.GREETING + grpc_app.head(status="503") + grpc_app.data(b"secret", end=True),
    grpc_app.GREETING + grpc_app.going_away(1) + grpc_app.SERVES,
    grpc_app.GREETING + grpc_app.reset_stream(grpc_app.CANCEL),
    grpc_app.settings((3, 0), (4, 0), (5, 16_384)) + grpc_app.frame(grpc_app.PING, bytes(8), stream=0) + grpc_app.SERVES,
    grpc_app.GREETING + grpc_app.frame(grpc_app.CONTINUATION, b"") + grpc_app.SERVES,
    _HTTP_ANSWERS[0],
]
_GRPC_TOKENS = [
    *[
        grpc_app.frame(kind, payload, flags, stream)
        for kind in range(11)
        for payload in (b"", bytes(4), bytes(8))
        for flags in (0, 1, 4, 8, 0x2D)
        for stream in (0, 1, 2)
    ],
    *[bytes([number]) for number in (0, 1, 2, 3, 4, 5, 7, 8, 9, 0x20, 0x3F, 0x40, 0x7F, 0x80, 0x88, 0xBF, 0xFF)],
    grpc_app.block((":status", "200")),
    grpc_app.block(("grpc-status", "0")),
    grpc_app.block(("content-type", "application/grpc")),
    grpc_app.block(("Grpc-Status", b"\xff")),
    grpc_app.message(grpc_app.SERVING),
    grpc_app.message(b"\x08" + b"\xff" * 10),
    grpc_app.trailers("-1"),
    grpc_app.trailers("99999999999"),
    grpc_app.going_away(0),
    b"\xff" * 6,
]


@dataclass(frozen=True, slots=True)
class _Edit:
    """One change, at a share of the length, so that it keeps its meaning while the example shrinks."""

    kind: int
    at: int
    size: int
    payload: bytes

    def apply(self, data: bytes) -> bytes:
        """Insert, replace, delete, repeat, cut off, or flip a bit."""
        start = self.at * len(data) // 1000
        end = start + self.size
        match self.kind:
            case 0:
                return data[:start] + self.payload + data[start:]
            case 1:
                return data[:start] + self.payload + data[end:]
            case 2:
                return data[:start] + data[end:]
            case 3:
                return data[:end] + data[start:]
            case 4:
                return data[: max(start, 1)]
        return data[:start] + bytes([byte ^ (1 << self.size % 8) for byte in data[start : start + 1]]) + data[start + 1 :]


def _mutated(seeds: list[bytes], tokens: list[bytes]) -> SearchStrategy[bytes]:
    payloads = st.sampled_from(tokens) | st.binary(max_size=4)
    edits = st.builds(_Edit, st.integers(0, 5), st.integers(0, 1000), st.integers(0, 12), payloads)

    def apply(seed: bytes, changes: list[_Edit]) -> bytes:
        for change in changes:
            seed = change.apply(seed)
        return seed

    return st.builds(apply, st.sampled_from(seeds), st.lists(edits, max_size=5))


requests = st.one_of(
    _mutated(_VALID, _REQUEST_TOKENS),
    _mutated(_HOSTILE, _REQUEST_TOKENS),
    _mutated(_HOSTILE, _REQUEST_TOKENS),
    st.lists(st.sampled_from(_REQUEST_TOKENS), min_size=1, max_size=12).map(b"".join),
    st.binary(max_size=200),
)
"""What a caller sends."""
cuts = st.lists(st.integers(1, 400), max_size=3)
"""Where the network cuts it: lengths of segments."""
http_answers = st.one_of(
    _mutated(_HTTP_ANSWERS, _ANSWER_TOKENS),
    st.lists(st.sampled_from(_ANSWER_TOKENS), max_size=12).map(b"".join),
    st.binary(max_size=200),
)
"""What an app answers that should speak HTTP/1."""
grpc_answers = st.one_of(
    _mutated(_GRPC_ANSWERS, _GRPC_TOKENS),
    st.lists(st.sampled_from(_GRPC_TOKENS), max_size=6).map(lambda tokens: grpc_app.GREETING + b"".join(tokens)),
    st.binary(max_size=200),
)
"""What an app answers that should speak gRPC."""
