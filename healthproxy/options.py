"""The options of `serve` as flags: derived from `Config`, never repeated. Text in, `Config` or an exit status out."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping

from healthproxy import __version__
from healthproxy.config import OPTIONS, Config, dump_config, flag, parse_config, suggest
from healthproxy.problems import ConfigError, on_one_line
from healthproxy.values import dump

USAGE = """\
commands: serve (default), check [URL], demo

Every option is also an environment variable (--min-interval is HEALTHPROXY_MIN_INTERVAL) and a key of the config
file (minInterval); flags go before the environment, the environment before the file. HEALTHPROXY_PROBES holds a whole
probe table as JSON, in the shape of the file's `probes`."""


def parse_serve(arguments: list[str], environment: Mapping[str, str]) -> Config | int:
    """Return the configuration, or the exit status where there is nothing to serve."""
    parser = _make_parser()
    flags, unknown = parser.parse_known_args(arguments)
    given = {name: value for name, value in vars(flags).items() if value is not None}
    known = ["--probe", "--config", "--check-config", "--version", "--help", *map(flag, OPTIONS)]
    problems = [on_one_line(f"{word}: unknown option; {suggest(word.partition('=')[0], known)}") for word in unknown]
    try:
        config = parse_config(given, environment)
    except ConfigError as error:
        problems += error.problems
    if problems:
        for problem in problems:
            print(problem, file=sys.stderr)
        return 2
    if flags.check_config:
        print(json.dumps(dump_config(config), indent=2))
        return 0
    return config


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="healthproxy",
        description="The sidecar that makes Kubernetes probes work behind any service mesh.",
        epilog=USAGE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"healthproxy {__version__}")
    parser.add_argument("--check-config", action="store_true", help="print the resolved configuration as JSON, exit 0 or 2")
    (probe,) = parse_config({}, {}).probes
    parser.add_argument("--config", metavar="FILE", help="JSON (*.json) or YAML")
    parser.add_argument(
        "--probe",
        action="append",
        metavar="[/KEY=]TARGET",
        help=f"one probe, may be repeated (default: {probe.key}={probe.action})",
    )
    for name, option in OPTIONS.items():
        default = dump(option.default)
        text = option.metadata["text"] + (f" (default: {default})" if default not in ([], False) else "")
        if isinstance(option.default, bool):
            parser.add_argument(flag(name), action="store_const", const=True, help=text)
        elif option.metadata["repeatable"]:
            parser.add_argument(flag(name), action="append", metavar="VALUE", help=text + "; may be repeated")
        else:
            parser.add_argument(flag(name), metavar="VALUE", help=text)
    return parser
