"""The commands as a user types them, in processes of their own."""

import json
import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from healthproxy import __version__

HEALTHPROXY = [sys.executable, "-m", "healthproxy"]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run healthproxy to its end."""
    return subprocess.run(
        [*HEALTHPROXY, *arguments], capture_output=True, text=True, timeout=30, env=clean(environment), check=False
    )


def clean(environment: dict[str, str]) -> dict[str, str]:
    """Return an environment with nothing of ours but what is given."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HEALTHPROXY_")} | environment


def test_the_version_is_told():
    assert run("--version").stdout == f"healthproxy {__version__}\n"


@pytest.mark.parametrize("command", [[], ["serve"]])
def test_help_lists_the_options_and_where_else_they_can_be_set(command):
    shown = run(*command, "--help")
    assert shown.returncode == 0
    assert "--min-interval is HEALTHPROXY_MIN_INTERVAL" in shown.stdout
    assert "open port; :PORT means every address, IPv6 and IPv4 (default: :15180)" in " ".join(shown.stdout.split())


@pytest.mark.parametrize("command", [[], ["serve"]])
def test_check_config_prints_what_was_resolved(command):
    shown = run(*command, "--check-config", "--drain-seconds", "7", HEALTHPROXY_MIN_INTERVAL="0.5")
    assert shown.returncode == 0
    resolved = json.loads(shown.stdout)
    assert (resolved["drainSeconds"], resolved["minInterval"], resolved["listen"]) == (7, 0.5, ":15180")
    assert resolved["probes"]["/healthy"]["httpGet"]["port"] == 8080


def test_a_bad_configuration_is_refused_with_every_problem_and_status_2():
    refused = run("--lisen", ":1", "--listen=80", "--probe", "x", HEALTHPROXY_DRAIN="1")
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert refused.stderr.splitlines() == [
        "--lisen: unknown option; did you mean --listen?",
        ":1: unknown option; remove it; `healthproxy --help` lists what there is",
        "HEALTHPROXY_DRAIN: unknown variable; did you mean HEALTHPROXY_DRAIN_SECONDS?",
        "--listen: '80' is no address; write HOST:PORT, [IPV6]:PORT or :PORT",
        "--probe x: is no target; write [/KEY=] and http://HOST:PORT/PATH, https://…, tcp://HOST:PORT, "
        "grpc://HOST:PORT/SERVICE, grpcs://… or http://unix:/FILE:/PATH",
    ]


def test_an_address_that_cannot_be_listened_on_is_one_clear_line_and_status_1():
    refused = run("--listen", "203.0.113.1:15180")
    assert refused.returncode == 1
    assert refused.stderr == (
        "healthproxy: --listen 203.0.113.1:15180: cannot listen: Cannot assign requested address; "
        "give another address, or free this one\n"
    )


def test_more_connections_than_open_files_are_refused():
    refused = run("--max-connections", "100000000", "--listen", "127.0.0.1:0", "--admin-listen", "off")
    assert refused.returncode == 1
    assert re.fullmatch(
        r"healthproxy: --max-connections 100000000: needs 100000192 open files and the limit is \d+; "
        r"raise the limit, or allow \d+ connections\n",
        refused.stderr,
    )


def test_serve_says_where_it_listens_and_ends_on_sigterm():
    arguments = [
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--log-format",
        "json",
        "--probe",
        "http://127.0.0.1:1/x",
    ]
    with subprocess.Popen([*HEALTHPROXY, *arguments], stderr=subprocess.PIPE, text=True, env=clean({})) as sidecar:
        assert sidecar.stderr is not None
        started = json.loads(sidecar.stderr.readline())
        sidecar.send_signal(signal.SIGTERM)
        rest = [json.loads(line)["event"] for line in sidecar.stderr]
        assert sidecar.wait(10) == 0
    assert started["event"] == "started"
    assert started["probes"] == {"/x": "http://127.0.0.1:1/x"}
    assert re.fullmatch(r"127\.0\.0\.1:\d+", started["open_port"][0])
    assert rest == ["draining", "stopped"]


def test_the_demo_shows_the_main_job_and_ends_cleanly_on_ctrl_c():
    with subprocess.Popen(
        [*HEALTHPROXY, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean({})
    ) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        lines = iter(demo.stdout.readline, "")
        shown = [next(lines) for _ in range(19)]
        demo.send_signal(signal.SIGINT)
        shown += lines
        errors = demo.stderr.read()
        assert demo.wait(10) == 0
    text = "".join(shown)
    assert "curl -i http://127.0.0.1:" in text
    assert "/socket   -> http://unix:/" in text
    assert re.search(r"  1        200    200     200       200    200    200     0\.\d+   ok\n", text)
    assert text.endswith('The demo has ended. Next: README.md, "Add it to your pod".\n')
    first = sorted(re.findall(r"INFO    probe (\S+) succeeds for the first time, 0\.\d s after start\n", errors))
    assert (first, len(first)) == (["/all", "/any", "/grpc", "/healthy", "/socket", "/tcp"], errors.count("\n"))


def test_a_check_that_is_stopped_is_no_success():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with subprocess.Popen([*HEALTHPROXY, "check", target, "--timeout", "10"], stdout=subprocess.DEVNULL) as checking:
            connection, _ = silent.accept()
            checking.send_signal(signal.SIGTERM)
            assert checking.wait(5) == -signal.SIGTERM
            connection.close()
