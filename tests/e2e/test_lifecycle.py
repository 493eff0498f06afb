"""The life of a real process: start, signals at any moment, drain, end, and what it says meanwhile.

Owns everything between `exec` and exit status that no test inside one process can see.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import re
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from .conftest import find, require
from .sidecar import ANYWHERE, BOUND_SECONDS, App, Sidecar, eventually, refusing_port, run_check, spawn

pytestmark = pytest.mark.e2e

LOG_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (INFO|WARNING) +\S.*")
DELAYS_MS = (0, 5, 10, 20, 40, 80, 160, 320, 640)
"""Moments of a start-up: the interpreter's own, the imports, the ports, after the start line."""
DEAF_CPU_SECONDS = 0.1
"""CPU that Python may use before our handlers stand: it takes a quarter of that, and the imports that follow twice as much."""
AT_ONCE_SECONDS = 1.0
"""Bound for an end that nothing holds up; it takes a tenth of that, and a busy machine the rest."""


def target(port: int) -> str:
    """Write a probe of a port of loopback."""
    return f"/healthy=http://127.0.0.1:{port}/healthy"


def strange_lines(sidecar: Sidecar) -> list[str]:
    """Return what it printed beside log lines."""
    return sidecar.out.texts + [line for line in sidecar.log.texts if not LOG_LINE.fullmatch(line)]


@pytest.fixture
def sidecar(app: App) -> Iterator[Sidecar]:
    """A sidecar in front of an app that answers 200."""
    with spawn(*ANYWHERE, "--probe", app.probe) as running:
        yield running.started()


# Signals at any moment


def cpu_seconds(pid: int) -> float:
    """Return how much CPU a process has used, to a hundredth of a second."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def catches_sigterm(pid: int) -> bool:
    """Tell whether a process has a handler for SIGTERM."""
    caught = re.search(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert caught
    return bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("delay_ms", DELAYS_MS)
def test_sigterm_at_any_moment_of_the_start_ends_it_with_status_0(delay_ms: int) -> None:
    with refusing_port() as port, spawn(*ANYWHERE, "--probe", target(port)) as sidecar:
        time.sleep(delay_ms / 1000)  # the moment is the subject of this test
        pid = sidecar.process.pid
        before_our_code = not catches_sigterm(pid) and cpu_seconds(pid) < DEAF_CPU_SECONDS
        sidecar.stop()
        status = sidecar.wait(3)
    assert status == 0 or (before_our_code and status == -signal.SIGTERM)
    assert strange_lines(sidecar) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_that_do_not_stop_coming_end_it_with_status_0(number: signal.Signals) -> None:
    with refusing_port() as port, spawn(*ANYWHERE, "--probe", target(port)) as sidecar:
        sidecar.started()
        end = time.monotonic() + 3
        while sidecar.process.poll() is None and time.monotonic() < end:
            sidecar.stop(number)
            time.sleep(0.001)
        status = sidecar.wait()
    assert strange_lines(sidecar) == []
    assert status == 0


def test_a_check_that_is_told_to_stop_is_no_success(app: App) -> None:
    app.may_answer.clear()
    with spawn("check", f"http://127.0.0.1:{app.port}/healthy", "--timeout", "5") as check:
        assert app.asked.wait(BOUND_SECONDS)
        check.stop()
        assert check.wait(3) != 0


# As PID 1, for which the kernel drops every signal that has no handler


def child_of(sidecar: Sidecar) -> int:
    """Return the process that `unshare` forked, as this namespace numbers it."""
    pid = sidecar.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return int(eventually(children.read_text, bool).split()[0])


def test_pid_1_hears_sigterm_before_it_serves(pid_namespace: list[str]) -> None:
    with refusing_port() as port, spawn(*ANYWHERE, "--probe", target(port), prefix=pid_namespace) as sidecar:
        pid = child_of(sidecar)
        end = time.monotonic() + 3
        while sidecar.process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            time.sleep(0.02)
        assert sidecar.wait() == 0
    assert sidecar.out.texts + sidecar.log.texts == []


def test_pid_1_ends_at_a_single_sigterm_once_it_serves(pid_namespace: list[str]) -> None:
    with refusing_port() as port, spawn(*ANYWHERE, "--probe", target(port), prefix=pid_namespace) as sidecar:
        sidecar.started()
        os.kill(child_of(sidecar), signal.SIGTERM)
        assert sidecar.wait(3) == 0
    assert strange_lines(sidecar) == []


# Drain


def ask_and_wait(sidecar: Sidecar) -> socket.socket:
    """Send a probe and leave its answer for later."""
    caller = socket.create_connection(("127.0.0.1", sidecar.open_port), BOUND_SECONDS)
    caller.sendall(b"GET /healthy HTTP/1.1\r\nHost: pod\r\n\r\n")
    return caller


def read_to_end(caller: socket.socket) -> bytes:
    """Read until the other side has closed."""
    with caller.makefile("rb") as answer:
        return answer.read()


def is_open(port: int) -> bool:
    """Tell whether somebody listens on a port of loopback."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) != errno.ECONNREFUSED


def test_drain_answers_truthfully_until_the_app_has_gone(app: App, sidecar: Sidecar) -> None:
    assert sidecar.ask().code == 200
    sidecar.stop()
    sidecar.log.next_with("draining")
    assert sidecar.ask().code == 200
    app.status = 503
    eventually(sidecar.ask, lambda outcome: outcome.code == 503)
    app.go()
    assert sidecar.wait(AT_ONCE_SECONDS) == 0
    assert sidecar.log.next_with("stopped").text.endswith("stopped: the app has gone")


def test_drain_ends_after_drain_seconds_while_the_app_stays(app: App) -> None:
    with spawn(*ANYWHERE, "--probe", app.probe, "--drain-seconds", "1") as sidecar:
        sidecar.started().stop()
        told = sidecar.log.next_with("draining").at
        assert sidecar.wait() == 0
        stopped = sidecar.log.next_with("stopped: the app stayed").at
    assert 0.9 < stopped - told < 1.5


def test_a_second_sigterm_ends_the_drain_at_once(sidecar: Sidecar) -> None:
    sidecar.stop()
    sidecar.log.next_with("draining")
    sidecar.stop()
    assert sidecar.wait(AT_ONCE_SECONDS) == 0
    assert sidecar.log.next_with("stopped").text.endswith("stopped: a second signal")


def test_a_request_in_flight_at_the_end_is_answered(app: App, sidecar: Sidecar) -> None:
    app.may_answer.clear()
    with ask_and_wait(sidecar) as caller:
        assert app.asked.wait(BOUND_SECONDS)
        sidecar.stop()
        app.go()
        eventually(lambda: is_open(sidecar.open_port), lambda still: not still)
        app.may_answer.set()
        answer = read_to_end(caller)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\nok\n")
    assert sidecar.wait(AT_ONCE_SECONDS) == 0


def test_a_request_to_a_hung_app_at_the_end_is_answered_504(app: App, sidecar: Sidecar) -> None:
    app.may_answer.clear()
    with ask_and_wait(sidecar) as caller:
        assert app.asked.wait(BOUND_SECONDS)
        sidecar.stop()
        sidecar.log.next_with("draining")
        sidecar.stop()
        answer = read_to_end(caller)
    assert answer.startswith(b"HTTP/1.1 504 ")
    assert sidecar.wait(AT_ONCE_SECONDS) == 0


def test_connections_that_nobody_uses_do_not_hold_up_the_end(app: App, sidecar: Sidecar) -> None:
    silent = socket.create_connection(("127.0.0.1", sidecar.open_port), BOUND_SECONDS)
    scraper = socket.create_connection(("127.0.0.1", sidecar.admin_port), BOUND_SECONDS)
    with silent, scraper:
        scraper.sendall(b"GET /livez HTTP/1.1\r\nHost: pod\r\n\r\n")  # kept alive, as Prometheus does
        assert scraper.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")
        app.go()
        sidecar.stop()
        assert sidecar.wait(AT_ONCE_SECONDS) == 0
    assert strange_lines(sidecar) == []


SILENT_RESOLVER = """
import os, socket, sys
resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
resolver.bind(("127.0.0.1", 53))
resolver.set_inheritable(True)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Runs a command that inherits a resolver's socket and never reads from it."""


def test_a_silent_resolver_does_not_hold_up_the_end(own_network: list[str], tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    mounted = ["--mount", "sh", "-c", f'mount --bind {tmp_path}/resolv.conf /etc/resolv.conf && exec "$@"', "sh"]
    prefix = [*own_network, find("unshare", "util-linux"), *mounted, sys.executable, "-c", SILENT_RESOLVER]
    with spawn("--probe", "/healthy=http://app.example:8080/healthy", prefix=prefix) as sidecar:
        sidecar.started()
        verdict = run_check("http://127.0.0.1:15180/healthy", enter(sidecar, own_network))[1]
        require("504" in verdict, "names are not resolved through /etc/resolv.conf", "put `hosts: files dns` into nsswitch.conf")
        sidecar.stop()
        sidecar.log.next_with("draining")
        sidecar.stop()
        assert sidecar.wait(3) == 0


# What the machine must give


@pytest.mark.parametrize("option", ["--listen", "--admin-listen"])
@pytest.mark.parametrize("host", ["127.0.0.1", ""])
def test_a_taken_port_is_one_clear_line_and_status_1(option: str, host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        address = f"{host}:{holder.getsockname()[1]}"
        with spawn(*ANYWHERE, option, address) as sidecar:
            assert sidecar.wait() == 1
    text = f"healthproxy: {option} {address}: cannot listen: Address already in use; give another address, or free this one"
    assert sidecar.out.texts + sidecar.log.texts == [text]


@pytest.mark.parametrize("option", ["--listen", "--admin-listen"])
def test_an_address_of_another_machine_is_one_clear_line_and_status_1(option: str) -> None:
    with spawn(*ANYWHERE, option, "203.0.113.1:15180") as sidecar:
        assert sidecar.wait() == 1
    why = "cannot listen: Cannot assign requested address; give another address, or free this one"
    assert sidecar.out.texts + sidecar.log.texts == [f"healthproxy: {option} 203.0.113.1:15180: {why}"]


def enter(sidecar: Sidecar, network: list[str]) -> list[str]:
    """Return a command that runs another one in the network that a sidecar was started in."""
    user = ["--user", "--preserve-credentials"] if "--user" in network else []
    return [find("nsenter", "util-linux"), "--target", str(sidecar.process.pid), "--net", *user]


def test_without_arguments_it_serves_ipv4_and_ipv6(own_network: list[str]) -> None:
    require(Path("/proc/net/if_inet6").exists(), "this machine's kernel has no IPv6", "boot it without ipv6.disable=1")
    with spawn(prefix=own_network) as sidecar:
        sidecar.started()
        assert sidecar.open_addresses == ["0.0.0.0:15180", "[::]:15180"]
        assert sidecar.admin_addresses == ["0.0.0.0:15190", "[::]:15190"]
        for url in ("http://127.0.0.1:15180/-/ready", "http://[::1]:15180/-/ready", "http://[::1]:15190/metrics"):
            assert run_check(url, enter(sidecar, own_network))[0] == 0


def test_with_ipv6_switched_off_it_serves_ipv4(ipv4_only_network: list[str]) -> None:
    with spawn(prefix=ipv4_only_network) as sidecar:
        sidecar.started()
        assert sidecar.open_addresses[0] == "0.0.0.0:15180"  # the kernel may still grant [::], where nobody will ever call
        for url in ("http://127.0.0.1:15180/-/ready", "http://127.0.0.1:15190/metrics"):
            assert run_check(url, enter(sidecar, ipv4_only_network))[0] == 0


NO_IPV6_SOCKETS = """
import ctypes, os, struct, sys
call, family, failure = int(sys.argv[1]), 10, 0x50000 | 97  # AF_INET6, SECCOMP_RET_ERRNO | EAFNOSUPPORT
program = ((0x20, 0, 0, 0), (0x15, 0, 3, call), (0x20, 0, 0, 16), (0x15, 0, 1, family), (6, 0, 0, failure), (6, 0, 0, 0x7FFF0000))
filters = ctypes.create_string_buffer(b"".join([struct.pack("HBBI", *step) for step in program]))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, struct.pack("HP", len(program), ctypes.addressof(filters))) == 0  # PR_SET_SECCOMP, by filter
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Runs a command for which socket() knows no IPv6, as on a kernel that was booted with ipv6.disable=1."""


def test_on_a_kernel_without_ipv6_it_serves_ipv4(own_network: list[str]) -> None:
    call = {"x86_64": 41, "aarch64": 198}.get(platform.machine())
    require(call, "the number of the system call `socket` is not known here", "run on x86_64 or aarch64")
    with spawn(prefix=[*own_network, sys.executable, "-c", NO_IPV6_SOCKETS, str(call)]) as sidecar:
        sidecar.started()
        assert sidecar.open_addresses == ["0.0.0.0:15180"]
        assert sidecar.admin_addresses == ["0.0.0.0:15190"]
        assert run_check("http://127.0.0.1:15180/-/ready", enter(sidecar, own_network))[0] == 0


def limit_files(limit: str) -> list[str]:
    """Return a command that runs another one under a limit of open files, written as `ulimit` takes it."""
    return ["sh", "-c", f'ulimit {limit} && exec "$@"', "sh"]


def test_the_soft_limit_of_open_files_is_raised_to_the_hard_one() -> None:
    with refusing_port() as port, spawn(*ANYWHERE, "--probe", target(port), prefix=limit_files("-S -n 64")) as sidecar:
        sidecar.started()
        soft, hard = resource.prlimit(sidecar.process.pid, resource.RLIMIT_NOFILE)
        assert soft == hard > 64
        with contextlib.ExitStack() as silent:
            for _ in range(100):
                silent.enter_context(socket.create_connection(("127.0.0.1", sidecar.open_port), BOUND_SECONDS))
            assert sidecar.ask("/-/ready").code == 200


def test_more_connections_than_the_hard_limit_can_hold_are_refused_with_the_number_that_fits() -> None:
    files = limit_files("-n 500")
    with spawn(*ANYWHERE, "--max-connections", "400", prefix=files) as sidecar:
        assert sidecar.wait() == 1
    assert len(sidecar.log.texts) == 1
    line = re.fullmatch(
        r"healthproxy: --max-connections 400: needs \d+ open files and the limit is 500; "
        r"raise the limit, or allow (\d+) connections",
        sidecar.log.texts[0],
    )
    assert line
    with spawn(*ANYWHERE, "--max-connections", line[1], prefix=files) as sidecar:
        sidecar.started()


# What it says


def test_the_start_line_names_the_bound_addresses_and_every_probe(app: App) -> None:
    probes = ("--probe", app.probe, "--probe", f"http://127.0.0.1:{app.port}/deep?full=1")
    with spawn(*ANYWHERE, *probes) as sidecar:
        sidecar.started()
        addresses = f"open port 127.0.0.1:{sidecar.open_port}; admin port 127.0.0.1:{sidecar.admin_port}; "
        table = ", ".join([f"{key} -> http://127.0.0.1:{app.port}{key}" for key in ("/healthy", "/deep?full=1")])
        assert sidecar.start_line.endswith(addresses + table)
        assert sidecar.ask("/deep?full=1").code == 200
        assert "healthproxy_build_info" in sidecar.metrics()


def test_a_probe_that_goes_on_succeeding_writes_no_line(app: App) -> None:
    with spawn(*ANYWHERE, "--probe", app.probe, "--min-interval", "0") as sidecar:
        sidecar.started()
        assert [sidecar.ask().code for _ in range(21)] == [200] * 21
        assert app.requests == 21
        app.go()
        sidecar.stop()
        assert sidecar.wait() == 0
    words = ("open port", "probe /healthy succeeds for the first time", "draining", "stopped")
    assert len(sidecar.log.texts) == len(words)
    assert all(word in line for word, line in zip(words, sidecar.log.texts, strict=True))


def test_json_logs_are_one_object_on_each_line(app: App) -> None:
    with spawn(*ANYWHERE, "--probe", app.probe, "--min-interval", "0", environment={"HEALTHPROXY_LOG_FORMAT": "json"}) as sidecar:
        sidecar.started()
        for app.status in (503, 200, 500, 200):
            assert sidecar.ask().code == app.status
        app.go()
        sidecar.stop()
        assert sidecar.wait() == 0
    lines = [json.loads(line) for line in sidecar.log.texts]
    assert [line["event"] for line in lines] == [
        *("started", "failing", "first_success", "failing", "recovered"),
        *("draining", "stopped"),
    ]
    assert lines[0]["open_port"] == [f"127.0.0.1:{sidecar.open_port}"]
    assert lines[0]["probes"] == {"/healthy": f"http://127.0.0.1:{app.port}/healthy"}
    for line in lines:
        assert datetime.fromisoformat(line["time"]).tzinfo
        assert line["level"] == ("warning" if line["event"] == "failing" else "info")
        assert line["message"]
