"""How the kubelet asks over HTTP and how it judges the answer: bytes and decisions, no I/O.

Mirrors pkg/probe/http of Kubernetes 1.36 (request.go, http.go) and the parts of Go's net/http that show on the wire. Shared by
the sidecar's prober and by `healthproxy check`, which differ in how they read a socket. Must not open one, and must stay
importable in a few milliseconds.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import SplitResult, quote, unquote_to_bytes, urljoin, urlsplit

from healthproxy.probe import DEFAULT_PORT, GRPC, Caller, HTTPGet, ProbeError, Reason, join_host_port

USER_AGENT = "kube-probe/1.36"
ACCEPT = "*/*"
MAX_BODY = 10 * 1024
"""Bytes of an answer's body that are read; more is neither needed nor an error."""
MAX_REQUESTS = 10
"""Requests of one probe: the first one and nine redirects; the tenth redirect is a failure."""
MAX_HEAD = 1024 * 1024
"""Bytes of status line and headers, 1xx answers included; Go's client allows ten times as much."""
MAX_REDIRECT_BODY = 2 * 1024
"""Bytes of a followed redirect's body that are waited for."""

BROKEN_OFF = "connection closed before the answer was complete"
NOT_HTTP = "app did not answer in HTTP/1"
FRAME_HEAD = 9
"""Bytes by which an HTTP/2 server is known: the head of the frame with its settings, which it sends first."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HALF = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CONTROL_BUT_TAB = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_PATH_AS_IS = re.compile(r"(?:[A-Za-z0-9\-_.~!$&'()*+,/:;=@\[\]]|%[0-9A-Fa-f]{2})*")
_BAD_PORT = re.compile(r":[^\]:@]*[^\]:@0-9][^\]:@]*$")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NEVER_SENT = frozenset({"Host", "Content-Length", "Transfer-Encoding", "Trailer"})
"""Header fields that Go's client writes itself or not at all, whatever `httpHeaders` says."""
_LEFT_OUT = frozenset({("User-Agent", ""), ("Accept", ""), ("Connection", "close")})
"""Fields that mean "none": the empty ones, and the Connection that closes every request anyway."""


@dataclass(frozen=True, slots=True)
class Request:
    """One GET on its way to the app; `headers` are complete and in the order of the wire, after Host."""

    scheme: str
    authority: str
    """Host and port as the URL has them; an IPv6 address in brackets."""
    target: str
    """Path and query, encoded."""
    host_header: str
    headers: tuple[tuple[str, str], ...]
    referer: str = ""
    """The URL that redirected here; a configured Referer goes before it."""

    @property
    def url(self) -> str:
        """The absolute URL, as a Referer shows it."""
        return f"{self.scheme}://{self.authority}{self.target}"

    def encode(self) -> bytes:
        """Return the bytes the app reads."""
        lines = "".join([f"{name}: {value}\r\n" for name, value in self._fields()])
        head = f"GET {self.target} HTTP/1.1\r\nHost: {self.host_header}\r\n{lines}Connection: close\r\n\r\n"
        return head.encode(errors="surrogateescape")

    def _fields(self) -> Sequence[tuple[str, str]]:
        if not self.referer or "Referer" in dict(self.headers):
            return self.headers
        return sorted([*self.headers, ("Referer", self.referer)], key=_wire_order)


def is_token(name: str) -> bool:
    """Tell whether a header field may have this name (RFC 9110, 5.6.2)."""
    return _TOKEN.fullmatch(name) is not None


def has_control(text: str) -> bool:
    """Tell whether the text holds a control character, tab included."""
    return _CONTROL.search(text) is not None


def is_unicode(text: str) -> bool:
    """Tell whether the text can be sent; JSON can write halves of characters that cannot."""
    return not _HALF.search(text)


@functools.lru_cache(maxsize=256)
def is_address(host: str) -> bool:
    """Tell whether the host is an IP address rather than a name."""
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Tell whether the host is this very pod by its loopback interface."""
    return ipaddress.ip_address(host).is_loopback if is_address(host) else host.lower() == "localhost"


def encode_target(path: str) -> str:
    """Turn `httpGet.path`, query included, into the request target that the kubelet sends: fragment dropped, escapes kept."""
    path = path.partition("#")[0]
    path, mark, query = path.partition("?")
    if not path.startswith("/"):
        path = "/" + path
    if not _PATH_AS_IS.fullmatch(path):
        raw = path.encode(errors="surrogateescape")
        decoded = raw if _BAD_ESCAPE.search(path) else unquote_to_bytes(raw)
        path = quote(decoded, safe="$&+,/:;=@-_.~")
    return path + mark + query


def authority(action: HTTPGet | GRPC, caller: Caller) -> str:
    """Return what the kubelet would call the app: host and port, and behind a socket file `localhost`."""
    return "localhost" if action.unix_socket else join_host_port(action.named_host or caller.host, action.port)


def first_request(action: HTTPGet, caller: Caller) -> Request:
    """Build the request that the kubelet would have sent to the app itself."""
    return _build_request(action, caller) if caller.headers else _remember_request(action, caller)


def _build_request(action: HTTPGet, caller: Caller) -> Request:
    fields: dict[str, list[str]] = {}
    for name, value in (*action.headers, *caller.headers):
        fields.setdefault(_canonical(name), []).append(value.strip(" \t"))
    fields.setdefault("User-Agent", [caller.user_agent or ""])
    fields.setdefault("Accept", [caller.accept or ""])
    place = authority(action, caller)
    host_header = fields.get("Host", [""])[0] or place
    headers = [
        (name, value)
        for name, values in fields.items()
        for value in (values[:1] if name == "User-Agent" else values)
        if name not in _NEVER_SENT and (name, value) not in _LEFT_OUT
    ]
    headers.sort(key=_wire_order)
    return Request(action.scheme, place, encode_target(action.path), host_header, tuple(headers))


_remember_request = functools.lru_cache(maxsize=256)(_build_request)  # not what callers wrote: it could be 4 MB


def next_request(request: Request, code: int, location: str) -> Request | None:
    """Say where a redirect leads; None where the probe ends with this answer.

    Only the origin of `request` is followed. The kubelet would also go to another port or scheme of the same host; on a port
    open to everyone that would let an answer of the app choose what we talk to.

    Raises ProbeError where the kubelet fails: a Location that is no URL.
    """
    if code not in _REDIRECTS or not location:
        return None
    try:
        there = _resolve(request.url, location)
        if there is None or not _same_origin(there, urlsplit(request.url)):
            return None
    except ValueError:
        raise ProbeError(Reason.PROTOCOL, "redirect to something that is no URL") from None
    return replace(
        request,
        authority=there.netloc,
        target=encode_target(there.path + ("?" + there.query if there.query else "")),
        host_header=there.netloc if urlsplit(location).scheme else request.host_header,
        referer=request.url,
    )


def check_head(code: int, fields: Iterable[tuple[str, str]]) -> None:
    """Hold an answer's head against what Go's client accepts, where the parsers at hand are laxer.

    Raises ProbeError for a status that is none, a header with control characters or without a proper name, a framing by anything
    but Content-Length or `Transfer-Encoding: chunked`, and Content-Lengths that contradict each other.
    """
    encodings, lengths, clean = [], set(), code >= 100
    for name, value in fields:
        clean = clean and name.isascii() and name.strip() != "" and not _CONTROL_BUT_TAB.search(value)
        if name.lower() == "transfer-encoding":
            encodings.append(value.lower())
        elif name.lower() == "content-length":
            lengths.add(value)
    by_length = not encodings and len(lengths) <= 1 and all(map(str.isdecimal, lengths))
    if not clean or not (by_length or encodings == ["chunked"]):
        raise ProbeError(Reason.PROTOCOL, NOT_HTTP)


def explain_no_http(start: bytes) -> str:
    """Say what an app speaks whose answer begins like this and is no HTTP/1."""
    speaks_http2 = start[3:FRAME_HEAD] == b"\x04\0\0\0\0\0"
    return "app speaks HTTP/2 only: if it is a gRPC app, probe it with grpc" if speaks_http2 else NOT_HTTP


def judge(code: int) -> Reason:
    """Turn the status of the last answer into the verdict's reason: 200–399 is a success, a 3xx one with a warning."""
    if 200 <= code < 300:
        return Reason.OK
    if 300 <= code < 400:
        return Reason.REDIRECT
    return Reason.STATUS


def _resolve(base: str, location: str) -> SplitResult | None:
    """Resolve a Location; None for an absolute URL without a host. Raises ValueError where Go finds no URL in it."""
    parts = urlsplit(location)
    path, bad_scheme = parts.path, ":" in parts.path.partition("/")[0] and not (parts.scheme or parts.netloc)
    if has_control(location) or _BAD_ESCAPE.search(path) or " " in parts.netloc or bad_scheme:
        raise ValueError(location)
    if parts.scheme and not parts.netloc:
        return None
    return urlsplit(urljoin(base, location))


def _same_origin(there: SplitResult, here: SplitResult) -> bool:
    """Compare host, scheme and port; a redirect that adds a user name is not to the app's own origin.

    Raises ValueError for a port that is none: a name anywhere, a number out of range on the host itself, as in Go.
    """
    if _BAD_PORT.search(there.netloc):
        raise ValueError(there.netloc)
    if there.hostname != here.hostname or there.username is not None:
        return False
    default = DEFAULT_PORT.get(there.scheme)
    return (there.scheme, there.port or default) == (here.scheme, here.port or default)


def _wire_order(field: tuple[str, str]) -> tuple[bool, str]:
    """Sort key of a header field: User-Agent first, the others by name."""
    return field[0] != "User-Agent", field[0]


def _canonical(name: str) -> str:
    """Write a header name as Go does: each part between hyphens capitalised."""
    return "-".join([part.capitalize() for part in name.split("-")])
