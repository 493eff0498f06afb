"""`healthproxy check`: one probe from the command line, with the kubelet's rules; an exec probe and a container HEALTHCHECK.

Blocking sockets and the standard library's HTTP parser: it may run every few seconds, and aiohttp alone takes longer to import
than all of this (decision record 0008). The rules themselves are the sidecar's own. Knows nothing of the sidecar's parts.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from typing import assert_never

from healthproxy import kubelet, values
from healthproxy.actions import SHORT_FORMS, parse_target
from healthproxy.check.connection import connect, prepare
from healthproxy.check.http import ask_http
from healthproxy.check.steps import Steps
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
    parser.add_argument("--explain", action="store_true", help="show every phase with its time, and the kubelet's event")
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
    if options.explain:
        return _explain(action, timeout)
    outcome = check(action, timeout)
    print(_verdict(outcome))
    return _status(outcome)


def check(action: Target, timeout: float, steps: Steps | None = None) -> Outcome:
    """Ask once, in `timeout` seconds; every failure comes back as a value. `steps` hears how it goes."""
    steps = steps or Steps()
    _prepare(action)
    started = time.monotonic()
    try:
        outcome = _ask(action, started + timeout, steps)
    except Exception as error:
        known = explain(error, timeout)
        if known is None:
            raise
        steps.fail(error)
        outcome = known
    return Outcome(outcome.reason, outcome.detail, outcome.code, time.monotonic() - started, outcome.body, outcome.content_type)


def _explain(action: Target, timeout: float) -> int:
    from healthproxy.check.explanation import write_explanation
    from healthproxy.check.timeline import Timeline

    timeline = Timeline()
    outcome = check(action, timeout, timeline)
    text = write_explanation(action, timeout, timeline, outcome, _verdict(outcome))
    # The app may have answered in characters that the terminal has not.
    sys.stdout.write(text.encode(sys.stdout.encoding, "backslashreplace").decode(sys.stdout.encoding))
    return _status(outcome)


def _status(outcome: Outcome) -> int:
    return 0 if outcome.result is Result.SUCCESS else 1


def _verdict(outcome: Outcome) -> str:
    """Write the verdict in the words of the kubelet's event, where it has any, and the time it took."""
    return f"{_words(outcome)} ({outcome.duration * 1000:.1f} ms)"


def _words(outcome: Outcome) -> str:
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


def _prepare(action: Target) -> None:
    """Load what the probe needs before its clock starts."""
    if isinstance(action, GRPC):
        import healthproxy.check.grpc  # noqa: F401 - h2 takes longer to load than many an app to answer
    prepare(action.endpoint)


def _ask(action: Target, deadline: float, steps: Steps) -> Outcome:
    caller = Caller(action.host, kubelet.USER_AGENT, kubelet.ACCEPT)
    match action:
        case HTTPGet():
            return ask_http(action, caller, deadline, steps)
        case TCPSocket():
            steps.ask(str(action))
            with connect(action.endpoint, deadline, steps):
                return Outcome(Reason.OK, "app accepted the connection")
        case GRPC():
            from healthproxy.check.grpc import ask_grpc

            steps.ask(str(action))
            return ask_grpc(action, caller, deadline, steps)
        case _:
            assert_never(action)
