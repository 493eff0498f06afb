"""`healthproxy check`: one probe from the command line, with the kubelet's rules; an exec probe and a container HEALTHCHECK.

Blocking sockets and the standard library's HTTP parser: it may run every few seconds, and aiohttp alone takes longer to import
than all of this (decision record 0008). The rules themselves are the sidecar's own. Knows nothing of the sidecar's parts.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import re
import socket
import ssl
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from healthproxy import kubelet, values
from healthproxy.failures import explain
from healthproxy.probe import Caller, HTTPGet, Outcome, ProbeError, Reason, Result, join_host_port
from healthproxy.stanza import parse_target
from healthproxy.tls import server_name, tls_context

_FOLD = re.compile(r"\r\n[ \t]+")
http.client._MAXLINE = http.client._MAXHEADERS = kubelet.MAX_HEAD  # type: ignore[attr-defined]  # noqa: SLF001 - bounds of Go


def run_check(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Probe once, print the verdict and return 0 for success, 1 for failure, 2 for misuse."""
    parser = argparse.ArgumentParser(
        prog="healthproxy check",
        description="Probe once as the kubelet would: exit 0 if it would conclude success, 1 if not.",
        epilog="Without a URL it asks the healthproxy in this container whether it serves (/-/ready on its open port).",
        allow_abbrev=False,
    )
    parser.add_argument("url", nargs="?", metavar="URL", help="http://HOST:PORT/PATH or https://…")
    parser.add_argument("--timeout", default="1", metavar="SECONDS", help="timeoutSeconds of the probe (default: 1)")
    parser.add_argument("--listen", metavar="ADDR", help="without a URL: where the open port listens, as given to serve")
    parser.add_argument("--config", metavar="FILE", help="without a URL: the config file given to serve")
    options = parser.parse_args(arguments)
    try:
        timeout = values.positive_seconds(options.timeout)
    except ValueError as error:
        print(f"--timeout: {error}", file=sys.stderr)
        return 2
    try:
        url = options.url or _own_url({"listen": options.listen, "config": options.config}, environment)
        action = parse_target(url)
    except ValueError as error:
        print(error if options.url is None else f"{options.url}: {error}", file=sys.stderr)
        return 2
    outcome = check(action, timeout)
    print(f"{_verdict(outcome)} ({outcome.duration * 1000:.1f} ms)")
    return 0 if outcome.result is Result.SUCCESS else 1


def check(action: HTTPGet, timeout: float) -> Outcome:
    """Ask once, in `timeout` seconds; every failure comes back as a value."""
    started = time.monotonic()
    try:
        outcome = _ask(action, started + timeout)
    except Exception as error:
        known = explain(error, timeout)
        if known is None:
            raise
        outcome = known
    return Outcome(outcome.reason, outcome.detail, outcome.code, time.monotonic() - started, outcome.body, outcome.content_type)


def _verdict(outcome: Outcome) -> str:
    """Write the verdict in the words of the kubelet's event, where it has any."""
    match outcome.reason:
        case Reason.OK:
            return f"success: HTTP {outcome.code}"
        case Reason.REDIRECT:
            return f"success, with a warning: HTTP {outcome.code}, probe terminated redirects"
        case Reason.STATUS:
            return f"failure: HTTP probe failed with statuscode: {outcome.code}"
    return f"failure: {outcome.detail}"


def _own_url(flags: Mapping[str, str | None], environment: Mapping[str, str]) -> str:
    """Return the URL of our own health. Raises ValueError where the configuration is refused."""
    from healthproxy.config import parse_config
    from healthproxy.problems import ConfigError

    try:
        listen = parse_config({name: value for name, value in flags.items() if value}, environment).listen
    except ConfigError as error:
        raise ValueError(str(error)) from None
    host = {"": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)
    return f"http://{join_host_port(host, listen.port)}/-/ready"


def _ask(action: HTTPGet, deadline: float) -> Outcome:
    request = kubelet.first_request(action, Caller(action.host, kubelet.USER_AGENT, kubelet.ACCEPT))
    for _ in range(kubelet.MAX_REQUESTS):
        with _connect(action, deadline) as sock:
            sock.sendall(request.encode())
            reader = _Reader(_Incoming(sock, deadline))
            answer = _read_head(reader)
            # The parser decodes headers as Latin-1; what the app sent is bytes.
            location = answer.getheader("Location", "").encode("latin-1").decode(errors="surrogateescape")
            following = kubelet.next_request(request, answer.status, location)
            if following is None:
                body = _read_body(answer, reader, kubelet.MAX_BODY)
                content_type = answer.getheader("Content-Type", "")
                detail = f"app answered {answer.status}"
                return Outcome(kubelet.judge(answer.status), detail, answer.status, 0.0, body, content_type)
            if answer.length is None or answer.length <= kubelet.MAX_REDIRECT_BODY:
                with contextlib.suppress(ConnectionError, ProbeError):
                    _read_body(answer, reader, kubelet.MAX_REDIRECT_BODY)
            request = following
    raise ProbeError(Reason.PROTOCOL, f"stopped after {kubelet.MAX_REQUESTS} redirects")


@contextlib.contextmanager
def _connect(action: HTTPGet, deadline: float) -> Iterator[socket.socket]:
    """Connect to the first address that accepts, or raise what the first one said, as Go does."""
    errors = []
    for address in [action.host] if kubelet.is_address(action.host) else _resolve(action.host, deadline):
        with _new_socket(action, address) as sock:
            sock.settimeout(_left(deadline))
            try:
                sock.connect((address, action.port))
            except TimeoutError:
                raise
            except OSError as error:
                errors.append(error)
                continue
            if isinstance(sock, ssl.SSLSocket):
                sock.settimeout(_left(deadline))
                sock.do_handshake()
            yield sock
            return
    raise errors[0]


def _new_socket(action: HTTPGet, address: str) -> socket.socket:
    plain = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    if action.scheme == "http":
        return plain
    # Wrapped before it connects: up to 3.12 a socket that is reset while it is being wrapped is never closed.
    name = server_name(action) or None
    return tls_context(action.tls).wrap_socket(plain, server_hostname=name, do_handshake_on_connect=False)


def _resolve(host: str, deadline: float) -> list[str]:
    """Look up a name in a thread, for a resolver may take longer than the deadline."""
    from concurrent.futures import ThreadPoolExecutor

    look_up = ThreadPoolExecutor(max_workers=1).submit(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
    return [str(info[4][0]) for info in look_up.result(_left(deadline))]


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _Incoming(io.RawIOBase):
    """What the app sends, until the deadline."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline
        self.received = 0
        """Bytes."""
        self.ended = False
        """Whether the end of the connection has been read."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(_left(self._deadline))
        size = self._sock.recv_into(buffer)
        self.received += size
        self.ended = size == 0
        return size


class _Reader(io.BufferedReader):
    """Passes for a socket with the parser, and outlives each answer: 1xx answers come before the real one."""

    raw: _Incoming

    def makefile(self, _mode: str) -> io.BufferedReader:
        return self

    def close(self) -> None:
        pass


def _read_head(reader: _Reader) -> http.client.HTTPResponse:
    while True:
        answer = http.client.HTTPResponse(reader, method="GET")  # type: ignore[arg-type]  # all it asks of a socket
        try:
            answer.begin()
        except http.client.RemoteDisconnected:
            raise ProbeError(Reason.RESET, kubelet.BROKEN_OFF) from None
        except (http.client.HTTPException, ValueError):
            raise ProbeError(Reason.PROTOCOL, kubelet.NOT_HTTP) from None
        if reader.raw.ended:  # which the parser takes for the end of the headers
            raise ProbeError(Reason.RESET, kubelet.BROKEN_OFF)
        if answer.headers.defects:
            raise ProbeError(Reason.PROTOCOL, kubelet.NOT_HTTP)
        kubelet.check_head(answer.status, [(name, _FOLD.sub(" ", value)) for name, value in answer.getheaders()])
        if answer.status >= 200:
            return answer
        if answer.status == 101 or reader.raw.received > kubelet.MAX_HEAD:
            raise ProbeError(Reason.PROTOCOL, f"app answered {answer.status} in place of a real status")


def _read_body(answer: http.client.HTTPResponse, reader: _Reader, limit: int) -> bytes:
    try:
        body = answer.read(limit)
    except http.client.HTTPException:
        raise ProbeError(Reason.RESET, kubelet.BROKEN_OFF) from None
    if len(body) < limit and (answer.length or (answer.chunked and reader.raw.ended)):
        raise ProbeError(Reason.RESET, kubelet.BROKEN_OFF)
    return body
