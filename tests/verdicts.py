"""The table of verdicts: what the kubelet concludes of each misbehaviour of an app, and what the open port must then answer.

Owns expectations alone. They come from the kubelet's prober (pkg/probe/http of Kubernetes) and Go's net/http, never from what
healthproxy does; `tests/e2e/test_oracle.py` holds each row against the real thing.
"""

from __future__ import annotations

import gzip
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from tests.app import (
    Behaviour,
    after,
    answer,
    by_path,
    cbc,
    chain,
    client_certificate,
    closed_port,
    drip,
    endless,
    expired,
    full_backlog,
    hang,
    raw,
    redirect,
    rsa_key_exchange,
    serving,
    tls_1_1,
    tls_1_2,
    tls_1_3,
    truncate_tls,
    trusted,
    unknown_ca,
    weak_key,
    without_app,
    wrong_name,
)

Verdict = Literal["success", "warning", "failure", "errored"]
Expected = tuple[Verdict, int]
Place = Callable[[], AbstractAsyncContextManager[int]]
"""Makes the app exist; gives its port."""

BRIEF = 0.1
"""`timeoutSeconds` of the rows in which the app never comes to an end."""
SECRET = b"app-secret"
"""What no answer of the open port may hold: stands in every body and header of the apps below."""
HEADER = b"X-App: app-secret\r\n"

STATUS = "probe/http/http.go DoHTTPProbe: 200 <= StatusCode < 400"
WARNING = "probe/http/http.go DoHTTPProbe: 300 <= StatusCode < 400 succeeds with a warning"
CLIENT = "probe/http/http.go DoHTTPProbe: an error of the client is a failure"
THROWN_AWAY = "probe/http/http.go DoHTTPProbe: an error of the body is returned; prober.go drops the result"
LIMIT = "probe/http/http.go DoHTTPProbe: utilio.ReadAtMost of 10 KiB, more is not an error"
HOST = "probe/http/http.go RedirectChecker: another hostname is ErrUseLastResponse"
TEN = "probe/http/http.go RedirectChecker: len(via) >= 10 is an error"
NO_VERIFY = "probe/http/http.go New: InsecureSkipVerify"
NO_DECOMPRESSION = "probe/http/http.go NewWithTLSConfig: DisableCompression"
FOLLOW = "net/http/client.go redirectBehavior: 301, 302, 303, 307, 308 with a Location"
NO_LOCATION = "net/http/client.go do: a redirect without Location is the answer"
BAD_LOCATION = "net/http/client.go do: failed to parse Location header"
SLURP = "net/http/client.go do: up to 2 KiB of a followed redirect's body are read, errors ignored"
DEADLINE = "net/http/client.go setRequestCancel: Timeout covers dial, TLS, headers and body"
INFORMATIONAL = "net/http/transport.go readResponse: 1xx answers are skipped up to 10 MiB of headers; 101 is final"
FRAMING = "net/http/transfer.go readTransfer"
LENGTH = "net/http/transfer.go fixLength"
ENCODING = "net/http/transfer.go parseTransferEncoding"
HEAD = "net/textproto/reader.go readMIMEHeader"
LINE = "net/http/response.go ReadResponse"
DIAL = "net/dial.go DialContext"
TLS = "crypto/tls/handshake_client.go"


_REFUSED: Expected = ("failure", 502)
_ACCEPTED: Expected = ("success", 200)

OTHERWISE: dict[str, tuple[Expected | None, Expected | None]] = {
    "HTTP/1.0 with chunks that are none": (_REFUSED, _REFUSED),
    "Content-Length beside Chunked": (_REFUSED, None),
    "Content-Length beside chunked": (_REFUSED, None),
    "the same Content-Length twice": (_REFUSED, None),
    "an empty line first": (_ACCEPTED, None),
    "status line with a tab": (None, _ACCEPTED),
    "status line of HTTP/2.0": (None, _REFUSED),
    "status line of HTTP/3.7": (_REFUSED, _REFUSED),
    "status line with two blanks": (_REFUSED, None),
    "first header begins with a blank": (_ACCEPTED, None),
    "header with a blank in its name": (_REFUSED, _REFUSED),
    "header with a blank before its colon": (_REFUSED, _REFUSED),
}
"""Answers that RFC 9112 forbids, where llhttp (prober) or http.client (`check`) judge otherwise than Go; decision record 0003."""


@dataclass(frozen=True, slots=True)
class Row:
    """One misbehaviour and what follows from it."""

    name: str
    app: Place
    kubelet: Verdict
    """What the kubelet concludes when it asks the app; `errored`: it throws the result away."""
    status: int
    """What healthproxy answers on its open port."""
    source: str
    """Where the kubelet or Go decides so."""
    timeout: float = 5.0
    """`timeoutSeconds`."""
    scheme: str = "http"
    host: str = "127.0.0.1"
    addresses: tuple[str, ...] = ()
    """What the host name resolves to, in this order; the app listens on the last one."""
    differs: bool = False
    """The documented difference: the kubelet follows this redirect out of the app's origin, healthproxy hands it on."""

    @property
    def ours(self) -> Verdict:
        """What the kubelet concludes through healthproxy."""
        return self.by_prober[0]

    @property
    def by_prober(self) -> Expected:
        """What the sidecar must make of it: the verdict, and the status it answers."""
        return OTHERWISE.get(self.name, (None, None))[0] or self._by_the_kubelet

    @property
    def by_check(self) -> Expected:
        """What `healthproxy check` must make of it."""
        return OTHERWISE.get(self.name, (None, None))[1] or self._by_the_kubelet

    @property
    def _by_the_kubelet(self) -> Expected:
        if self.differs:
            return "warning", self.status
        return ("failure" if self.kubelet == "errored" else self.kubelet), self.status


def on(
    behaviour: Behaviour, tls: Callable[[], ssl.SSLContext] | None = None, host: str = "127.0.0.1", *, at_once: bool = False
) -> Place:
    """Run an app that behaves so."""

    @asynccontextmanager
    async def place() -> AsyncIterator[int]:
        async with serving(behaviour, host=host, tls=tls() if tls else None, at_once=at_once) as app:
            yield app.port

    return place


def redirecting_to_another_port(tls: Callable[[], ssl.SSLContext] | None = None) -> Place:
    """Run an app that redirects to a second, healthy one on the same host."""

    @asynccontextmanager
    async def place() -> AsyncIterator[int]:
        scheme = "https" if tls else "http"
        async with (
            serving(OK, tls=tls() if tls else None) as other,
            serving(redirect(f"{scheme}://127.0.0.1:{other.port}/healthy", body=SECRET)) as app,
        ):
            yield app.port

    return place


def head(*lines: str | bytes, status: str = "HTTP/1.1 200 OK") -> bytes:
    """Write the head of an answer as raw bytes; the last line is followed by an empty one."""
    encoded = [line.encode() if isinstance(line, str) else line for line in (status, *lines)]
    return b"\r\n".join([*encoded, HEADER, b""])


def secret(size: int) -> bytes:
    """Make a body of that many bytes."""
    return (SECRET * (size // len(SECRET) + 1))[:size]


def chunked(*chunks: bytes) -> bytes:
    """Write chunks, without the last one."""
    return b"".join([b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks])


OK = answer(200, SECRET, [("X-App", "app-secret"), ("Server", "app-secret")])
WHOLE = head("Content-Length: 10") + SECRET
CHUNKED = head("Transfer-Encoding: chunked")
LONG = head("Content-Length: 1000")
"""Promises a body that is never sent in full."""


def _statuses() -> Iterator[Row]:
    for status in (200, 201, 202, 203, 204, 205, 206, 207, 226, 299):
        yield Row(f"status {status}", on(answer(status, SECRET, [("X-App", "app-secret")])), "success", status, STATUS)
    for status in (300, 301, 302, 303, 304, 305, 306, 307, 308, 399):
        yield Row(f"status {status} without Location", on(answer(status, SECRET)), "warning", status, WARNING)
    for status in (400, 401, 403, 404, 405, 408, 418, 429, 451, 499, 500, 501, 502, 503, 504, 511, 599):
        yield Row(f"status {status}", on(answer(status, SECRET)), "failure", status, STATUS)


def _redirects() -> Iterator[Row]:
    for status in (301, 302, 303, 307, 308):
        there = by_path({"/healthy": redirect("/there", status, SECRET), "/there": OK})
        yield Row(f"{status} to a relative Location", on(there), "success", 200, FOLLOW)
    for status in (300, 304, 305, 306, 399):
        away = redirect("/there", status, SECRET)
        yield Row(f"{status} with a Location is no redirect", on(away), "warning", status, FOLLOW)
    for name, lines in (("two Locations, to the first", ("/there", "/nowhere")), ("a folded Location", ("\r\n /there",))):
        fields = [f"Location: {line}" for line in lines]
        start = head(*fields, "Content-Length: 0", status="HTTP/1.1 302 Found")
        yield Row(f"redirect with {name}", on(by_path({"/healthy": raw(start), "/there": OK})), "success", 200, FOLLOW)
    here = by_path({"/healthy": redirect("http://{origin}/there"), "/there": OK})
    yield Row("redirect to an absolute Location of the same origin", on(here), "success", 200, FOLLOW)
    here = by_path({"/healthy": redirect("//{origin}/there"), "/there": OK})
    yield Row("redirect to a Location without scheme, of the same origin", on(here), "success", 200, FOLLOW)
    here = by_path({"/healthy": redirect("http://user@{origin}/there"), "/there": OK})
    yield Row("redirect to an absolute Location with a user name", on(here), "success", 302, FOLLOW, differs=True)
    here = by_path({"/healthy": redirect("?again"), "/healthy?again": OK})
    yield Row("redirect to a query alone", on(here), "success", 200, FOLLOW)
    here = by_path({"/healthy": redirect("there"), "/there": OK})
    yield Row("redirect to a path without slash", on(here), "success", 200, FOLLOW)
    here = by_path({"/healthy": redirect("/a b/é"), "/a%20b/%C3%A9": OK})
    yield Row("redirect to a path that must be encoded", on(here), "success", 200, FOLLOW)
    here = by_path({"/healthy": redirect("/there"), "/there": answer(503, SECRET)})
    yield Row("redirect to a failing page", on(here), "failure", 503, STATUS)
    yield Row("nine redirects in a row", on(chain(9, end=OK)), "success", 200, TEN)
    yield Row("nine absolute redirects in a row", on(chain(9, "http://{origin}/hop/{next}", OK)), "success", 200, TEN)
    yield Row("ten redirects in a row", on(chain(10, end=OK)), "failure", 502, TEN)
    yield Row("redirect to itself for ever", on(redirect("/healthy")), "failure", 502, TEN)


def _redirects_out_of_origin() -> Iterator[Row]:
    for name, location, source in (
        ("another host name", "http://app.invalid/healthy", HOST),
        ("another name of the same machine", "http://localhost:1/", HOST),
        ("another address of the same machine", "http://127.0.0.2:1/", HOST),
        ("another host without scheme", "//app.invalid/", HOST),
        ("a mailto address", "mailto:app@app.invalid", HOST),
        ("a file", "file:///etc/passwd", HOST),
        ("an impossible port of another host", "http://app.invalid:99999/", HOST),
        ("an empty Location", "", NO_LOCATION),
    ):
        yield Row(f"redirect to {name}", on(redirect(location, body=SECRET)), "warning", 302, source)
    elsewhere = head("Location: http://app.invalid/", "Content-Length: 1000", status="HTTP/1.1 302 Found")
    yield Row("redirect elsewhere whose body breaks off", on(raw(elsewhere + SECRET)), "errored", 502, THROWN_AWAY)
    other = redirecting_to_another_port()
    yield Row("redirect to another port of the same host", other, "success", 302, HOST, differs=True)
    other = redirecting_to_another_port(trusted)
    yield Row("redirect to https on the same host", other, "success", 302, HOST, differs=True)
    for name, location in (
        ("a bad escape", "/%zz"),
        ("an open bracket", "http://[::1/x"),
        ("a tab in it", "/a\tb"),
        ("a DEL in it", "/a\x7fb"),
        ("a port that is no number", "http://{origin}x/"),
        ("a blank in the host", "http://a b/"),
        ("a colon first", ":foo"),
    ):
        yield Row(f"redirect to a Location that is no URL: {name}", on(redirect(location)), "failure", 502, BAD_LOCATION)


def _redirect_bodies() -> Iterator[Row]:
    def followed(length: int, sent: bytes, then: Literal["close", "reset", "hang"]) -> Place:
        away = head("Location: /there", f"Content-Length: {length}", status="HTTP/1.1 302 Found") + sent
        return on(by_path({"/healthy": raw(away, then), "/there": OK}))

    hung = followed(100, SECRET, "hang")
    yield Row("redirect whose short body hangs", hung, "failure", 504, SLURP, BRIEF)
    yield Row("redirect whose short body breaks off", followed(100, SECRET, "close"), "success", 200, SLURP)
    yield Row("redirect whose short body is reset", followed(100, SECRET, "reset"), "success", 200, SLURP)
    yield Row("redirect whose body of 2048 bytes hangs", followed(2048, b"", "hang"), "failure", 504, SLURP, BRIEF)
    yield Row("redirect whose body of 2049 bytes is not waited for", followed(2049, b"", "hang"), "success", 200, SLURP)
    yield Row("redirect whose body of 5000 bytes is not waited for", followed(5000, b"", "hang"), "success", 200, SLURP)
    start = head("Location: /there", status="HTTP/1.1 302 Found")
    here = on(by_path({"/healthy": raw(start + SECRET, "hang"), "/there": OK}))
    yield Row("redirect whose body without length hangs", here, "failure", 504, SLURP, BRIEF)
    here = on(by_path({"/healthy": endless(start, SECRET * 100), "/there": OK}))
    yield Row("redirect with an endless body", here, "success", 200, SLURP)
    start = head("Location: /there", "Transfer-Encoding: chunked", status="HTTP/1.1 302 Found") + b"zz\r\n"
    here = on(by_path({"/healthy": raw(start), "/there": OK}))
    yield Row("redirect whose chunks are garbage", here, "success", 200, SLURP)


def _silence() -> Iterator[Row]:
    yield Row("no answer at all", on(hang()), "failure", 504, DEADLINE, BRIEF)
    yield Row("answer that comes late", on(after(2, OK)), "failure", 504, DEADLINE, BRIEF)
    yield Row("closed without a byte", on(raw(b"")), "failure", 502, CLIENT)
    yield Row("closed before the request is read", on(raw(b""), at_once=True), "failure", 502, CLIENT)
    yield Row("closed in the status line", on(raw(b"HTTP/1.1 2")), "failure", 502, CLIENT)
    yield Row("closed after the status line", on(raw(b"HTTP/1.1 200 OK\r\n")), "failure", 502, CLIENT)
    yield Row("closed in the headers", on(raw(head("Content-Length: 2")[:-2])), "failure", 502, CLIENT)
    yield Row("closed in the body", on(raw(LONG + SECRET)), "errored", 502, THROWN_AWAY)
    yield Row("closed before the body", on(raw(LONG)), "errored", 502, THROWN_AWAY)
    yield Row("failing status, closed in the body", on(raw(LONG.replace(b"200", b"500") + SECRET)), "errored", 502, THROWN_AWAY)
    yield Row("closed in a chunk", on(raw(CHUNKED + b"100\r\n" + SECRET)), "errored", 502, THROWN_AWAY)
    yield Row("closed before the last chunk", on(raw(CHUNKED + chunked(SECRET))), "errored", 502, THROWN_AWAY)
    yield Row("closed in the trailer", on(raw(CHUNKED + chunked(SECRET) + b"0\r\n")), "errored", 502, THROWN_AWAY)
    yield Row("hangs in the status line", on(raw(b"HTTP/1.1 2", "hang")), "failure", 504, DEADLINE, BRIEF)
    yield Row("hangs in the headers", on(raw(LONG[:-2], "hang")), "failure", 504, DEADLINE, BRIEF)
    yield Row("hangs before the body", on(raw(LONG, "hang")), "errored", 504, THROWN_AWAY, BRIEF)
    yield Row("hangs in the body", on(raw(LONG + SECRET, "hang")), "errored", 504, THROWN_AWAY, BRIEF)
    yield Row("hangs in a body without length", on(raw(head() + SECRET, "hang")), "errored", 504, THROWN_AWAY, BRIEF)
    yield Row("hangs before the last chunk", on(raw(CHUNKED + chunked(SECRET), "hang")), "errored", 504, THROWN_AWAY, BRIEF)
    yield Row("hangs after a whole answer", on(raw(WHOLE, "hang")), "success", 200, FRAMING)
    yield Row("hangs after the last chunk", on(raw(CHUNKED + chunked(SECRET) + b"0\r\n\r\n", "hang")), "success", 200, FRAMING)
    slow = drip(b"\r\nok", 0.1, start=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n")
    yield Row("one byte every 0.1 s, in time", on(slow), "success", 200, DEADLINE)
    yield Row("one byte a second", on(drip(WHOLE, 1)), "failure", 504, DEADLINE, BRIEF)
    yield Row("a body of one byte a second", on(drip(SECRET, 1, start=LONG)), "errored", 504, THROWN_AWAY, BRIEF)


def _resets() -> Iterator[Row]:
    yield Row("reset before the answer", on(raw(b"", "reset")), "failure", 502, CLIENT)
    yield Row("reset in the status line", on(raw(b"HTTP/1.1 2", "reset")), "failure", 502, CLIENT)
    yield Row("reset in the headers", on(raw(LONG[:-2], "reset")), "failure", 502, CLIENT)
    yield Row("reset before the body", on(raw(LONG, "reset")), "errored", 502, THROWN_AWAY)
    yield Row("reset in the body", on(raw(LONG + SECRET, "reset")), "errored", 502, THROWN_AWAY)
    yield Row("reset in a body without length", on(raw(head() + SECRET, "reset")), "errored", 502, THROWN_AWAY)
    yield Row("reset after a whole answer", on(raw(WHOLE, "reset")), "success", 200, FRAMING)
    yield Row("refused", without_app(closed_port), "failure", 502, DIAL)
    yield Row("nobody accepts and the queue is full", without_app(full_backlog), "failure", 504, DIAL, BRIEF)


def _informational() -> Iterator[Row]:
    early = head(status="HTTP/1.1 103 Early Hints")
    yield Row("100 before the answer", on(raw(b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE)), "success", 200, INFORMATIONAL)
    yield Row("103 before the answer", on(raw(early + WHOLE)), "success", 200, INFORMATIONAL)
    failing = WHOLE.replace(b"200", b"503")
    yield Row("103 before a failing answer", on(raw(early + failing)), "failure", 503, INFORMATIONAL)
    yield Row("five 1xx before the answer", on(raw(early * 5 + WHOLE)), "success", 200, INFORMATIONAL)
    yield Row("six 1xx before the answer", on(raw(early * 6 + WHOLE)), "success", 200, INFORMATIONAL)
    yield Row("a hundred 1xx before the answer", on(raw(early * 100 + WHOLE)), "success", 200, INFORMATIONAL)
    yield Row("1xx and no answer", on(raw(early)), "failure", 502, INFORMATIONAL)
    yield Row("1xx for ever", on(endless(early, early * 100)), "failure", 502, INFORMATIONAL)
    upgrade = head("Connection: Upgrade", "Upgrade: echo", status="HTTP/1.1 101 Switching Protocols")
    yield Row("101", on(raw(upgrade)), "failure", 502, INFORMATIONAL)
    yield Row("101 without Upgrade", on(raw(head(status="HTTP/1.1 101 Switching Protocols"))), "failure", 502, INFORMATIONAL)


def _bodies() -> Iterator[Row]:
    for size, name in ((10 * 1024, "10240 bytes"), (10 * 1024 + 1, "10241 bytes"), (5_000_000, "5 MB")):
        yield Row(f"body of {name}", on(answer(200, secret(size))), "success", 200, LIMIT)
    yield Row("body of 5 MB with a failing status", on(answer(503, secret(5_000_000))), "failure", 503, LIMIT)
    yield Row("body without end", on(endless(head(), SECRET * 100)), "success", 200, LIMIT)
    yield Row("chunks without end", on(endless(CHUNKED, chunked(SECRET * 100))), "success", 200, LIMIT)
    kept = head("Content-Length: 20000") + secret(10 * 1024)
    yield Row("body that hangs after 10 KiB", on(raw(kept, "hang")), "success", 200, LIMIT)
    yield Row("body that breaks off after 10 KiB", on(raw(kept)), "success", 200, LIMIT)
    yield Row("body that hangs one byte before 10 KiB", on(raw(kept[:-1], "hang")), "errored", 504, LIMIT, BRIEF)
    yield Row("body that breaks off one byte before 10 KiB", on(raw(kept[:-1])), "errored", 502, LIMIT)
    kept = CHUNKED + chunked(secret(10 * 1024))
    yield Row("chunks that hang after 10 KiB", on(raw(kept, "hang")), "success", 200, LIMIT)
    bomb = gzip.compress(bytes(20_000_000), 1)
    packed = on(answer(200, bomb, [("Content-Encoding", "gzip")]))
    yield Row("gzip bomb", packed, "success", 200, NO_DECOMPRESSION)
    packed = on(answer(200, SECRET, [("Content-Encoding", "gzip")]))
    yield Row("gzip that is none", packed, "success", 200, NO_DECOMPRESSION)
    packed = on(answer(200, SECRET, [("Content-Encoding", "br")]))
    yield Row("an encoding that nobody asked for", packed, "success", 200, NO_DECOMPRESSION)
    for status in (204, 304):
        verdict: Verdict = "success" if status == 204 else "warning"
        bare = head("Content-Length: 10", status=f"HTTP/1.1 {status} Nothing")
        yield Row(f"status {status} with a Content-Length", on(raw(bare, "hang")), verdict, status, FRAMING)
        yield Row(f"status {status} with a body", on(raw(bare + SECRET)), verdict, status, FRAMING)


def _framing() -> Iterator[Row]:
    old = "HTTP/1.0 200 OK"
    yield Row("HTTP/1.0 with Content-Length", on(raw(head("Content-Length: 10", status=old) + SECRET)), "success", 200, FRAMING)
    yield Row("HTTP/1.0 without Content-Length", on(raw(head(status=old) + SECRET)), "success", 200, FRAMING)
    unread = head("Transfer-Encoding: chunked", status=old) + SECRET
    yield Row("HTTP/1.0 with chunks that are none", on(raw(unread)), "success", 200, ENCODING)
    yield Row("HTTP/1.1 without Content-Length", on(raw(head() + SECRET)), "success", 200, FRAMING)
    yield Row("no headers at all", on(raw(b"HTTP/1.1 200 OK\r\n\r\n")), "success", 200, FRAMING)
    kept = head("Connection: keep-alive", "Content-Length: 10") + SECRET
    yield Row("keeps the connection alive", on(raw(kept, "hang")), "success", 200, FRAMING)
    yield Row("garbage behind a whole answer", on(raw(WHOLE + b"\x00\xff garbage\r\n\r\n")), "success", 200, FRAMING)
    yield Row("a second answer behind the first", on(raw(WHOLE + WHOLE.replace(b"200", b"503"))), "success", 200, FRAMING)


def _chunks() -> Iterator[Row]:
    last = chunked(SECRET) + b"0\r\n"
    yield Row("chunked", on(raw(CHUNKED + last + b"\r\n")), "success", 200, FRAMING)
    yield Row("chunked with trailers", on(raw(CHUNKED + last + HEADER + b"\r\n")), "success", 200, FRAMING)
    extended = b"a;name=value\r\n" + SECRET + b"\r\n0\r\n\r\n"
    yield Row("chunked with extensions", on(raw(CHUNKED + extended)), "success", 200, FRAMING)
    yield Row("chunked with garbage behind the last", on(raw(CHUNKED + last + b"\r\n\x00garbage")), "success", 200, FRAMING)
    yield Row("chunks without a size", on(raw(CHUNKED + b"zz\r\n" + SECRET)), "errored", 502, THROWN_AWAY)
    yield Row("chunk longer than its size", on(raw(CHUNKED + b"3\r\n" + SECRET + b"\r\n0\r\n\r\n")), "errored", 502, THROWN_AWAY)
    for value in ("Chunked", "chunked"):
        coded = head(f"Transfer-Encoding: {value}", "Content-Length: 3")
        yield Row(f"Content-Length beside {value}", on(raw(coded + last + b"\r\n")), "success", 200, LENGTH)
    for value in ("gzip", "identity", "gzip, chunked", "chunked, chunked"):
        coded = head(f"Transfer-Encoding: {value}")
        yield Row(f"transfer encoding {value}", on(raw(coded + last + b"\r\n")), "failure", 502, ENCODING)


def _lengths() -> Iterator[Row]:
    twice = head("Content-Length: 10", "Content-Length: 10")
    yield Row("the same Content-Length twice", on(raw(twice + SECRET)), "success", 200, LENGTH)
    twice = head("Content-Length: 10", "Content-Length: 3")
    yield Row("two Content-Lengths", on(raw(twice + SECRET)), "failure", 502, LENGTH)
    for value in ("ten", "-1", "+10", "1e1", "1_0", "0x0a", "10, 10", "10 10", "99999999999999999999", ""):
        name = f"Content-Length that is no number: {value or 'nothing'}"
        yield Row(name, on(raw(head(f"Content-Length: {value}") + SECRET)), "failure", 502, LENGTH)
    yield Row("Content-Length with zeros first", on(raw(head("Content-Length: 0010") + SECRET)), "success", 200, LENGTH)


def _heads() -> Iterator[Row]:
    yield Row("garbage", on(raw(b"\x00\xff\x16 garbage \r\n\r\n" + SECRET)), "failure", 502, LINE)
    yield Row("garbage that hangs", on(raw(b"SSH-2.0-OpenSSH_9.2 app-secret\r\n", "hang")), "failure", 502, LINE)
    yield Row("a page without head", on(raw(b"<html>app-secret</html>\r\n")), "failure", 502, LINE)
    yield Row("an empty line first", on(raw(b"\r\n" + WHOLE)), "failure", 502, LINE)
    for name, line in (
        ("without a version", "200 OK"),
        ("in lower case", "http/1.1 200 ok"),
        ("without a status", "HTTP/1.1"),
        ("with two digits", "HTTP/1.1 20 OK"),
        ("with four digits", "HTTP/1.1 2000 OK"),
        ("with letters", "HTTP/1.1 abc OK"),
        ("with a tab", "HTTP/1.1\t200 OK"),
        ("of Icecast", "ICY 200 OK"),
        ("of status 000", "HTTP/1.1 000 None"),
        ("of status 099", "HTTP/1.1 099 None"),
    ):
        yield Row(f"status line {name}", on(raw(head("Content-Length: 10", status=line) + SECRET)), "failure", 502, LINE)


def _strange_status_lines() -> Iterator[Row]:
    for status in (600, 999):
        beyond = head("Content-Length: 10", status=f"HTTP/1.1 {status} Unknown")
        yield Row(f"status line of status {status}", on(raw(beyond + SECRET)), "failure", status, STATUS)
    for name, line in (
        ("of HTTP/0.9", "HTTP/0.9 200 OK"),
        ("of HTTP/2.0", "HTTP/2.0 200 OK"),
        ("of HTTP/3.7", "HTTP/3.7 200 OK"),
        ("without a reason", "HTTP/1.1 200"),
        ("with an empty reason", "HTTP/1.1 200 "),
        ("with a long reason", "HTTP/1.1 200 " + "app-secret" * 100),
        ("with a reason beyond ASCII", "HTTP/1.1 200 Schön"),
        ("with two blanks", "HTTP/1.1  200 OK"),
    ):
        yield Row(f"status line {name}", on(raw(head("Content-Length: 10", status=line) + SECRET)), "success", 200, LINE)


def _headers() -> Iterator[Row]:
    for name, line in (
        ("without colon", "app-secret"),
        ("without name", ": app-secret"),
        ("with a name beyond ASCII", "X-Äpp: app-secret"),
        ("with a NUL", "X-Other: a\x00b"),
        ("with a bell", "X-Other: a\x07b"),
        ("with a CR inside", "X-Other: a\rb"),
    ):
        yield Row(f"header {name}", on(raw(head(line, "Content-Length: 10") + SECRET)), "failure", 502, HEAD)
    folded = head("Content-Length: 10", status="HTTP/1.1 200 OK\r\n X-Other: a")
    yield Row("first header begins with a blank", on(raw(folded + SECRET)), "failure", 502, HEAD)
    lines: tuple[tuple[str, str | bytes], ...] = (
        ("with a blank in its name", "X App: app-secret"),
        ("with a blank before its colon", "X-Other : app-secret"),
        ("with a value beyond ASCII", "X-Other: Schön"),
        ("with a value of bytes", b"X-Other: \xff\xfe"),
        ("without a value", "X-Other:"),
        ("folded over two lines", "X-Other: a\r\n  b"),
        ("of 100 KB", "X-Other: " + "app-secret" * 10_000),
    )
    for name, field in lines:
        yield Row(f"header {name}", on(raw(head(field, "Content-Length: 10") + SECRET)), "success", 200, HEAD)
    many = [f"X-Other-{number}: app-secret" for number in range(300)]
    yield Row("300 headers", on(raw(head(*many, "Content-Length: 10") + SECRET)), "success", 200, HEAD)
    yield Row("headers without end", on(endless(b"HTTP/1.1 200 OK\r\n", HEADER * 100)), "failure", 502, HEAD)
    yield Row("line ends without CR", on(raw(WHOLE.replace(b"\r\n", b"\n"))), "success", 200, HEAD)
    bare = (chunked(SECRET) + b"0\r\n\r\n").replace(b"\r\n", b"\n")
    yield Row("chunks with line ends without CR", on(raw(CHUNKED + bare)), "errored", 502, THROWN_AWAY)
    yield Row("line ends of CR alone", on(raw(WHOLE.replace(b"\r\n", b"\r"))), "failure", 502, HEAD)


def _tls() -> Iterator[Row]:
    for name, context in (
        ("a trusted certificate", trusted),
        ("a certificate of an unknown CA", unknown_ca),
        ("an expired certificate", expired),
        ("a certificate for another name", wrong_name),
        ("a certificate with a weak key", weak_key),
    ):
        yield Row(f"https with {name}", on(OK, context), "success", 200, NO_VERIFY, scheme="https")
    for name, context in (("TLS 1.2 alone", tls_1_2), ("TLS 1.3 alone", tls_1_3), ("a CBC suite alone", cbc)):
        yield Row(f"https with {name}", on(OK, context), "success", 200, TLS, scheme="https")
    for name, context in (
        ("TLS 1.1 alone", tls_1_1),
        ("a suite without forward secrecy", rsa_key_exchange),
        ("a client certificate demanded", client_certificate),
    ):
        yield Row(f"https with {name}", on(OK, context), "failure", 502, TLS, scheme="https")


def _https() -> Iterator[Row]:
    yield Row("https and status 503", on(answer(503, SECRET), trusted), "failure", 503, STATUS, scheme="https")
    yield Row("https and a redirect chain", on(chain(9, end=OK), trusted), "success", 200, TEN, scheme="https")
    absolute = chain(1, "https://{origin}/hop/{next}", OK)
    yield Row("https and an absolute redirect", on(absolute, trusted), "success", 200, FOLLOW, scheme="https")
    yield Row("https and a body of 5 MB", on(answer(200, secret(5_000_000)), trusted), "success", 200, LIMIT, scheme="https")
    yield Row("https and no answer", on(hang(), trusted), "failure", 504, DEADLINE, BRIEF, scheme="https")
    yield Row("https closed without a byte", on(raw(b""), trusted), "failure", 502, CLIENT, scheme="https")
    yield Row("https closed in the body", on(raw(LONG + SECRET), trusted), "errored", 502, THROWN_AWAY, scheme="https")
    yield Row("https reset in the headers", on(raw(LONG[:-2], "reset"), trusted), "failure", 502, CLIENT, scheme="https")
    yield Row("https closed without close_notify", on(truncate_tls, trusted), "success", 200, TLS, scheme="https")


def _handshakes() -> Iterator[Row]:
    plain = raw(b"HTTP/1.0 400 Bad Request\r\n\r\napp-secret")
    yield Row("https asked of a plain app", on(plain, at_once=True), "failure", 502, TLS, scheme="https")
    yield Row("https handshake that hangs", on(hang(), at_once=True), "failure", 504, DEADLINE, BRIEF, scheme="https")
    yield Row("https handshake closed at once", on(raw(b""), at_once=True), "failure", 502, TLS, scheme="https")
    yield Row("https handshake reset", on(raw(b"", "reset"), at_once=True), "failure", 502, TLS, scheme="https")
    yield Row("https refused", without_app(closed_port), "failure", 502, DIAL, scheme="https")
    yield Row("http asked of a TLS app", on(OK, trusted), "failure", 502, LINE)


def _names() -> Iterator[Row]:
    for addresses in (("127.0.0.1",), ("::1",), ("::1", "127.0.0.1"), ("127.0.0.1", "::1")):
        tried = " and then ".join(addresses)
        here = on(OK, host=addresses[-1])
        yield Row(f"localhost, which is {tried}", here, "success", 200, DIAL, host="localhost", addresses=addresses)
    both = ("::1", "127.0.0.1")
    yield Row("localhost, where nobody listens", without_app(closed_port), "failure", 502, DIAL, host="localhost", addresses=both)
    yield Row("::1", on(OK, host="::1"), "success", 200, DIAL, host="::1")


_SECTIONS = (
    _statuses,
    _redirects,
    _redirects_out_of_origin,
    _redirect_bodies,
    _silence,
    _resets,
    _informational,
    _bodies,
    _framing,
    _chunks,
    _lengths,
    _heads,
    _strange_status_lines,
    _headers,
    _tls,
    _https,
    _handshakes,
    _names,
)
ROWS = tuple([row for section in _SECTIONS for row in section()])
