"""The image that docker/ builds, run as Kubernetes would run it and seen from outside.

Its two bases are stand-ins of the same Debian packages (`image.py`), so nothing here speaks for files that are only in the real
ones. What the image adds to them, and how it behaves, is real.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from healthproxy import __version__

from .conftest import find
from .container import FILES, MEMORY_MIB, PIDS, Container, created, running, start, stop
from .image import BUILD, DOCKERFILE, PROJECT, bases_of, build, build_image, download, podman
from .sidecar import ANYWHERE, BOUND_SECONDS, App, Sidecar, eventually, run_check

pytestmark = pytest.mark.e2e

HOST = ("--network", "host")
NONE = ("--network", "none")
ADDED = {"usr/bin/env", "usr/local/bin/healthproxy"}
"""What the image adds to its base that can be executed."""
ATTACKER = PROJECT / "tests" / "hostile" / "attacker.py"
ATTACKS = ("silent", "drip", "unread", "kept", "half-closed", "reset", "asked-and-reset", "storm")
CALLERS = 1000
ATTACK_SECONDS = 5


@pytest.fixture(scope="module")
def image() -> str:
    """The image's name."""
    return build_image()


@pytest.fixture(scope="module")
def settings(image: str) -> dict[str, Any]:
    """What the image says of itself."""
    return dict(json.loads(podman("image", "inspect", image).stdout)[0])


@dataclass(frozen=True, slots=True)
class Pod:
    """An app and the image with its defaults, in a network of their own."""

    container: Container
    enter: list[str]
    """The command that runs another one in that network."""
    healthy: Path
    """The app answers 200 while this exists."""


@pytest.fixture(scope="module")
def pod(image: str, own_network: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    """A pod that serves."""
    directory = tmp_path_factory.mktemp("app")
    (directory / "healthy").touch()
    server = ["-m", "http.server", "8080", "--bind", "127.0.0.1", "--directory", str(directory)]
    with subprocess.Popen([*own_network, sys.executable, *server], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as app:
        enter = [find("nsenter", "util-linux"), "--target", str(app.pid), "--net"]
        try:
            eventually(lambda: run_check("http://127.0.0.1:8080/healthy", enter)[0], lambda status: status == 0)
            with running(options=("--network", f"ns:/proc/{app.pid}/ns/net")) as (_, container):
                yield Pod(container, enter, directory / "healthy")
        finally:
            app.kill()


# What it is made of


def test_both_bases_are_pinned_by_digest() -> None:
    text = DOCKERFILE.read_text()
    assert bases_of().keys() == {"PYTHON", "BASE"}
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["${BASE}", "${PYTHON}", "base"]


def test_the_dockerfile_is_clean() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    assert hadolint.exists(), "run `make e2e-install`"
    done = subprocess.run([hadolint, "--failure-threshold", "style", DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_it_says_of_itself(settings: dict[str, Any]) -> None:
    config = settings["Config"]
    assert config["User"] == "65532"  # a number: runAsNonRoot cannot judge a name
    assert config["Entrypoint"][-1] == "healthproxy"
    assert not config.get("Cmd")
    assert config["ExposedPorts"].keys() == {"15180/tcp", "15190/tcp"}
    assert settings["Healthcheck"]["Test"] == ["CMD", "healthproxy", "check"]
    labels = config["Labels"]
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|unknown", labels["org.opencontainers.image.revision"])
    assert labels["org.opencontainers.image.base.name"] == bases_of()["BASE"]


def test_it_adds_the_package_its_dependencies_and_bytecode(settings: dict[str, Any]) -> None:
    layer = Path(settings["GraphDriver"]["Data"]["UpperDir"])
    files = {str(path.relative_to(layer)) for path in layer.rglob("*") if path.is_file()}
    packages = "usr/local/lib/python3.13/dist-packages/"
    assert {name for name in files if os.access(layer / name, os.X_OK) and not name.endswith(".so")} == ADDED
    ours = {
        name.removeprefix(packages) for name in files if name.startswith(f"{packages}healthproxy/") and "__pycache__" not in name
    }
    assert ours == {
        str(path.relative_to(PROJECT))
        for path in (PROJECT / "healthproxy").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    rest = {name for name in files if not name.startswith(packages)} - ADDED
    assert {name for name in rest if not name.endswith(".pyc")} == {"usr/share/doc/healthproxy/copyright"}
    assert all(not (layer / name).stat().st_mode & 0o022 for name in files)


LOADED = """
import importlib.util, os, pkgutil, sys, healthproxy, ruamel.yaml
for module in pkgutil.walk_packages(healthproxy.__path__, "healthproxy."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
unchecked = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little")
names = [name for name in (getattr(module, "__cached__", None) for module in list(sys.modules.values())) if name]
print(len(names), [name for name in names if not os.path.exists(name) or open(name, "rb").read(8) != unchecked])
"""
"""Loads all of healthproxy; tells how many files of bytecode that takes, and which are not there or not for this Python."""


def test_all_that_it_can_load_is_compiled(image: str) -> None:
    said = podman("run", "--rm", "--read-only", *NONE, "--entrypoint", "/usr/bin/python3", image, "-I", "-c", LOADED).stdout
    number, missing = said.split(maxsplit=1)
    assert missing.strip() == "[]"
    assert int(number) > 300


def test_building_it_again_with_another_tool_gives_the_same_files(settings: dict[str, Any]) -> None:
    build("buildah")
    again = json.loads(podman("image", "inspect", build_image()).stdout)[0]
    assert again["RootFS"] == settings["RootFS"]
    assert again["Config"] == settings["Config"]
    assert again["Created"] == settings["Created"]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_no_architecture_needs_a_compiler(machine: str, tmp_path: Path) -> None:
    download(tmp_path, machine)
    assert len(list(tmp_path.glob("*.whl"))) == len(list(tmp_path.iterdir())) > 10


def test_without_a_tool_that_works_it_says_what_to_do() -> None:
    done = subprocess.run(["sh", BUILD], env={**os.environ, "TOOL": "nothing"}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "nothing works here; install podman or buildah, or start docker" in done.stderr


# In a pod


def test_it_answers_the_probe_of_an_app_that_shares_its_network(pod: Pod) -> None:
    def verdict() -> tuple[int, str]:
        return run_check("http://127.0.0.1:15180/healthy", pod.enter)

    assert verdict()[0] == 0
    pod.healthy.unlink()
    assert "404" in eventually(verdict, lambda seen: seen[0] == 1)[1]
    pod.healthy.touch()
    eventually(verdict, lambda seen: seen[0] == 0)


def test_it_runs_as_a_numbered_user_without_any_privilege(pod: Pod) -> None:
    status = pod.container.status()
    assert status["Uid"].split() == status["Gid"].split() == ["65532"] * 4
    assert {int(value, 16) for name, value in status.items() if name.startswith("Cap")} == {0}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert status["NSpid"].split()[-1] == "1"


def test_its_limits_are_those_of_the_manifests_and_it_stays_far_below(pod: Pod) -> None:
    memory = pod.container.memory()
    assert memory.limit == MEMORY_MIB
    assert memory.peak < MEMORY_MIB * 0.75
    assert pod.container.most_processes() == PIDS
    assert pod.container.status()["Threads"] == "1"
    limits = Path(f"/proc/{pod.container.pid}/limits").read_text()
    assert re.search(rf"^Max open files +{FILES} +{FILES} ", limits, re.MULTILINE)


WRITABLE = """
import os
kernels = ("/proc", "/sys", "/dev")
places = [os.path.join(top, name) for top, dirs, files in os.walk("/") if not top.startswith(kernels) for name in dirs + files]
print(len(places), [place for place in places if not place.startswith(kernels) and os.access(place, os.W_OK)])
"""


def test_there_is_no_place_where_it_could_write(pod: Pod) -> None:
    number, writable = pod.container.run("/usr/bin/python3", "-I", "-c", WRITABLE).stdout.split(maxsplit=1)
    assert int(number) > 1000
    assert writable.strip() == "[]"


def test_the_health_check_of_the_image_tells_whether_it_serves(pod: Pod, settings: dict[str, Any]) -> None:
    _, *command = settings["Healthcheck"]["Test"]
    assert pod.container.run(*command).returncode == 0
    os.kill(pod.container.pid, signal.SIGSTOP)
    try:
        assert pod.container.run(*command).returncode == 1
    finally:
        os.kill(pod.container.pid, signal.SIGCONT)
    assert pod.container.run(*command).returncode == 0


@pytest.mark.parametrize("program", ["sh", "bash", "dash", "busybox", "apt", "apt-get", "dpkg", "pip", "curl", "cat", "ls"])
def test_there_is_no_shell_and_no_package_manager(pod: Pod, program: str) -> None:
    done = pod.container.run(program, "--version")
    assert done.returncode == 127
    assert "not found" in done.stderr


# From its start to its end


def test_it_writes_nothing_even_where_it_could(image: str) -> None:
    with created(options=(*NONE, "--read-only=false")) as container:
        before = podman("diff", container.name).stdout
        start(container)
        eventually(lambda: container.run("healthproxy", "check").returncode, lambda status: status == 0)
        assert stop(container) == 0
        assert podman("diff", container.name).stdout == before


@pytest.mark.parametrize("milliseconds", [0, 5, 10, 20, 50, 100, 200, 500])
def test_sigterm_is_obeyed_from_the_moment_python_starts(image: str, milliseconds: int) -> None:
    with created(options=NONE) as container:
        start(container)
        time.sleep(milliseconds / 1000)  # the moment is what is tested
        assert stop(container) == 0


def test_bad_configuration_ends_it_with_every_problem_at_once(image: str) -> None:
    bad = ("--probe", "ftp://nowhere", "--listen", "nonsense", "--timeout-offset", "-1")
    done = podman("run", "--rm", *NONE, "--env", "HEALTHPROXY_MIN_INTERVAL=soon", image, *bad, check=False)
    assert done.returncode == 2
    for where in ("--probe", "--listen", "--timeout-offset", "HEALTHPROXY_MIN_INTERVAL"):
        assert where in done.stderr


@contextlib.contextmanager
def attacking(*ports: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Attack ports in every way at once."""
    with contextlib.ExitStack() as stack:
        attackers = []
        for port in ports:
            for attack in ATTACKS:
                words = [attack, str(port), "--seconds", str(ATTACK_SECONDS), "--number", str(CALLERS)]
                command = [find("nice", "coreutils"), sys.executable, str(ATTACKER), *words]
                attacker = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
                stack.callback(attacker.kill)
                attackers.append(attacker)
        yield attackers


def opened(attacker: subprocess.Popen[str]) -> int:
    """Wait for the end of an attacker and return how many connections it had."""
    return int(json.loads(attacker.communicate(timeout=6 * BOUND_SECONDS)[0].splitlines()[-1])["opened"])


def test_all_attacks_at_once_do_not_make_it_run_out_of_memory(image: str, app: App) -> None:
    with running(*ANYWHERE, "--probe", app.probe, options=HOST) as (sidecar, container):
        assert sidecar.ask().code == 200
        before = container.memory()
        with attacking(sidecar.open_port, sidecar.admin_port) as attackers:
            connections = sum(map(opened, attackers))
        after = container.memory()
        print(f"\nFIGURES {connections} connections; MiB {before.now:.1f} -> {after.now:.1f}, at most {after.peak:.1f}")
        assert connections > len(attackers) * CALLERS
        assert after.killed == 0
        assert after.peak < MEMORY_MIB
        assert_serves(sidecar)


def assert_serves(sidecar: Sidecar) -> None:
    """See that it forwards probes and is measured, a moment after an attack."""
    eventually(sidecar.ask, lambda outcome: outcome.code == 200)
    assert eventually(lambda: sidecar.metric("healthproxy_open_connections"), lambda number: number == 0) == 0
