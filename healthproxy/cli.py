"""The command line: argv and environment in, exit status out; the only reader of the environment.

Each command's modules are imported when it is chosen, because `check` may run every few seconds.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

COMMANDS = ("serve", "check", "demo")


def main() -> NoReturn:
    """Run the command that the process was started with."""
    if sys.argv[1:2] != ["check"]:  # which has no verdict to give when it is stopped
        # As PID 1 a signal without a handler is lost, and imports take most of a start-up: until `serve` is ready, stop at once.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: os._exit(0))
    status = run(sys.argv[1:], dict(os.environ))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # the interpreter's own end would wait for a resolver that never answers


def run(arguments: list[str], environment: dict[str, str]) -> int:
    """Run a command and return its exit status; without a command, `serve`."""
    command = arguments[0] if arguments and arguments[0] in COMMANDS else "serve"
    rest = arguments[1:] if arguments and arguments[0] in COMMANDS else arguments
    if command == "check":
        from healthproxy.check import run_check

        return run_check(rest, environment)
    if command == "demo":
        from healthproxy.demo import run_demo

        return run_demo(rest)
    return _run_serve(rest, environment)


def _run_serve(arguments: list[str], environment: dict[str, str]) -> int:
    from healthproxy.options import parse_serve

    config = parse_serve(arguments, environment)
    if isinstance(config, int):
        return config
    from healthproxy.logs import set_up_logs
    from healthproxy.problems import StartError
    from healthproxy.server import serve

    set_up_logs(config.log_format, config.log_level)
    try:
        serve(config)
    except StartError as error:
        print(f"healthproxy: {error}", file=sys.stderr)
        return 1
    return 0
