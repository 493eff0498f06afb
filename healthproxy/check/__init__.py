"""`healthproxy check`: one probe from the command line, with the kubelet's rules; an exec probe and a container HEALTHCHECK.

Blocking sockets and the standard library's HTTP parser: it may run every few seconds, and aiohttp alone takes longer to import
than all of this (decision record 0008). The rules themselves are the sidecar's own. Knows nothing of the sidecar's parts.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Mapping
from typing import assert_never

from healthproxy import kubelet, values
from healthproxy.actions import SHORT_FORMS, parse_target
from healthproxy.check.connection import connect
from healthproxy.check.http import ask_http
from healthproxy.failures import explain
from healthproxy.probe import GRPC, Caller, HTTPGet, Outcome, Reason, Result, Target, TCPSocket, join_host_port
from healthproxy.problems import on_one_line


def run_check(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Probe once, print the verdict and return 0 for success, 1 for failure, 2 for misuse."""
    parser = argparse.ArgumentParser(
        prog="healthproxy check",
        description="Probe once as the kubelet would: exit 0 if it would conclude success, 1 if not.",
        epilog="Without a URL it asks the healthproxy in this container whether it serves (/-/ready on its open port).",
        allow_abbrev=False,
    )
    parser.add_argument("url", nargs="?", metavar="URL", help=SHORT_FORMS)
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
        print(error if options.url is None else on_one_line(f"{options.url}: {error}"), file=sys.stderr)
        return 2
    outcome = check(action, timeout)
    print(f"{_verdict(outcome)} ({outcome.duration * 1000:.1f} ms)")
    return 0 if outcome.result is Result.SUCCESS else 1


def check(action: Target, timeout: float) -> Outcome:
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
            return f"success: HTTP {outcome.code}" if outcome.code else f"success: {outcome.detail}"
        case Reason.REDIRECT:
            return f"success, with a warning: HTTP {outcome.code}, probe terminated redirects"
        case Reason.STATUS if outcome.code:
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


def _ask(action: Target, deadline: float) -> Outcome:
    caller = Caller(action.host, kubelet.USER_AGENT, kubelet.ACCEPT)
    match action:
        case HTTPGet():
            return ask_http(action, caller, deadline)
        case TCPSocket():
            with connect(action.endpoint, deadline):
                return Outcome(Reason.OK, "app accepted the connection")
        case GRPC():
            return _ask_grpc(action, caller, deadline)
        case _:
            assert_never(action)


def _ask_grpc(action: GRPC, caller: Caller, deadline: float) -> Outcome:
    from healthproxy.grpc_health import HealthCheck

    call = HealthCheck(action, caller)
    with connect(action.endpoint, deadline) as connection:
        connection.send(call.to_send())
        outcome = None
        while outcome is None:
            outcome = call.receive(connection.receive())
            with contextlib.suppress(ConnectionError):  # what the app said before it left is still to be read
                connection.send(call.to_send())
    return outcome
