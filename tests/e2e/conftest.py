"""What the end-to-end tests need from the machine: finds it, and says plainly what is missing and how to get it.

A missing part skips the tests that need it; with `E2E_REQUIRED=1` it fails them instead, so that CI cannot pass by skipping.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from .sidecar import App

SEARCHED = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
"""Where programs are looked for: Debian keeps servers out of a user's PATH."""


def require(condition: object, what: str, how: str) -> None:
    """Go on only if the condition holds; `what` is missing, and `how` to get it."""
    if condition:
        return
    if os.environ.get("E2E_REQUIRED") == "1":
        pytest.fail(f"{what}; {how}", pytrace=False)
    pytest.skip(f"{what}; {how}")


def find(program: str, package: str) -> str:
    """Return the path of a program that a Debian package brings."""
    path = shutil.which(program, path=SEARCHED)
    require(path, f"{program} is not installed", f"run `make e2e` as root to have it installed, or apt-get install {package}")
    assert path is not None
    return path


def _works(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _first_that_works(commands: list[list[str]], what: str) -> list[str]:
    """Return the first command that can run another one."""
    found = next((command for command in commands if _works([*command, "true"])), None)
    require(found, f"this machine does not let us make {what}", "run as root, or allow unprivileged user namespaces")
    assert found is not None
    return found


@pytest.fixture(scope="session")
def nginx_binary() -> str:
    """The path of nginx."""
    return find("nginx", "nginx-light")


@pytest.fixture(scope="session")
def prometheus_binary() -> str:
    """The path of Prometheus."""
    return find("prometheus", "prometheus")


@pytest.fixture(scope="session")
def promtool_binary() -> str:
    """The path of Prometheus's own linter."""
    return find("promtool", "prometheus")


@pytest.fixture(scope="session")
def pid_namespace() -> list[str]:
    """The command that runs another one as PID 1; the other one dies with it."""
    unshare = find("unshare", "util-linux")
    pid = ["--pid", "--fork", "--kill-child"]
    return _first_that_works([[unshare, *pid], [unshare, "--user", "--map-root-user", *pid]], "a pid namespace")


def _network(script: str) -> list[str]:
    unshare = find("unshare", "util-linux")
    inside = ["--net", "sh", "-c", f'{find("ip", "iproute2")} link set lo up && {script} && exec "$@"', "sh"]
    return _first_that_works([[unshare, *inside], [unshare, "--user", "--map-root-user", *inside]], "a network namespace")


@pytest.fixture(scope="session")
def own_network() -> list[str]:
    """The command that runs another one in a network of its own, where every port is free; it goes with its last process."""
    return _network("true")


@pytest.fixture(scope="session")
def ipv4_only_network() -> list[str]:
    """The same without IPv6."""
    return _network("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6")


@pytest.fixture
def app() -> Iterator[App]:
    """An app that answers 200."""
    running = App()
    yield running
    running.end()
