"""healthproxy's image for tests: `build_image()` makes it, `podman()` runs it, in a storage of its own that is kept between runs.

Owns how docker/Dockerfile is built without a registry: stand-ins for its two bases (`base_images.sh`), a directory of wheels, and
podman's configuration. Touches none of the user's images, containers or settings. Needs root; the first time takes a minute.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from healthproxy import __version__

from .conftest import SEARCHED, find, require

PROJECT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "healthproxy"
RUN = Path("/run/healthproxy") / hashlib.sha256(bytes(CACHE)).hexdigest()[:8]  # belongs to one storage, and goes with a reboot
BASE_IMAGES = Path(__file__).with_name("base_images.sh")
BUILD, DOCKERFILE, REQUIREMENTS = PROJECT / "docker" / "build.sh", PROJECT / "docker" / "Dockerfile", PROJECT / "requirements.txt"
PROGRAMS = ("podman", "buildah", "runc", "mmdebstrap")
BASE_CHANGES = (
    "USER=65532",
    "WORKDIR=/home/nonroot",
    'ENTRYPOINT ["/usr/bin/python3.13"]',
    "ENV=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "ENV=LANG=C.UTF-8",
    "ENV=SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
)
"""What distroless sets in python3-debian13:nonroot."""
STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{cache}/containers"
runroot = "{run}"
"""
CONTAINERS = """\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]  # podman's own are more than some machines let root grant
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
tmp_dir = "{run}/libpod"
static_dir = "{cache}/containers/libpod"
volume_path = "{cache}/containers/volumes"
"""
PIP = """\
[global]
no-index = true
find-links = /wheels
"""
LEFT_BY_BUILDAH = "python3-debian13-working-container"
"""What buildah 1.28 forgets of a stage that is only copied from; nothing in it, but it keeps images from being removed."""
IMAGE = f"localhost/healthproxy:{__version__}"
"""Its name as podman has it; `healthproxy:VERSION`, as in k8s/, means the same."""


@functools.cache
def build_image() -> str:
    """Build docker/Dockerfile as it stands by docker/build.sh and return the image's name, for `podman()`.

    Once in a process, and not at all while nothing has changed. Skips the test where the machine lacks something.
    """
    with _one_at_a_time():
        _make_bases()
        if not _as_noted("image", _inputs(), IMAGE):
            build("podman")
            _note("image", _inputs())
    return IMAGE


def podman(*arguments: str, check: bool = True, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    """Run podman in the storage of the tests."""
    command = [find("podman", "podman"), *arguments]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=seconds, check=False)
    assert not check or done.returncode == 0, f"podman {' '.join(arguments)}: {done.stderr}"
    return done


def missing() -> str:
    """Return what this machine lacks to build and run the image, as a sentence; empty if nothing."""
    programs = [program for program in PROGRAMS if not shutil.which(program, path=SEARCHED)]
    if programs:
        return f"{' and '.join(programs)} not installed"
    return "" if os.geteuid() == 0 else "building and running containers takes root here"


@functools.cache
def environment() -> Mapping[str, str]:
    """Return the environment in which podman and buildah use the storage and the settings of the tests."""
    require(not missing(), missing(), "run `make e2e` as root to have it installed")
    CACHE.mkdir(parents=True, exist_ok=True)
    (CACHE / "storage.conf").write_text(STORAGE.format(cache=CACHE, run=RUN))
    (CACHE / "containers.conf").write_text(CONTAINERS.format(cache=CACHE, run=RUN))
    own = {"CONTAINERS_STORAGE_CONF": str(CACHE / "storage.conf"), "CONTAINERS_CONF": str(CACHE / "containers.conf")}
    return {**os.environ, "PATH": SEARCHED, **own}


def build(tool: str) -> None:
    """Run docker/build.sh with the stand-ins and without a network."""
    wheels = _wheels()
    bases = [word for name, reference in bases_of().items() for word in ("--build-arg", f"{name}={reference}")]
    mounts = ["--volume", f"{wheels}:/wheels:ro", "--volume", f"{wheels}/pip.conf:/etc/pip.conf:ro"]
    command = ["sh", str(BUILD), "--isolation", "chroot", "--pull-never", *bases, *mounts]
    done = subprocess.run(command, env={**environment(), "TOOL": tool}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"docker/build.sh failed\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    left = podman("ps", "--all", "--external", "--format", "{{.Names}}", "--filter", f"name={LEFT_BY_BUILDAH}").stdout.split()
    if left:
        podman("rm", "--force", *left)
    podman("image", "prune", "--force", check=False)  # what had this name before, unless somebody still runs it


def bases_of() -> dict[str, str]:
    """Return what the Dockerfile starts from, by the argument's name, without the digests, which a stand-in cannot have."""
    return dict(re.findall(r"^ARG (\w+)=(\S+:\S+)@sha256:[0-9a-f]{64}$", DOCKERFILE.read_text(), re.MULTILINE))


def download(directory: Path, machine: str) -> None:
    """Fetch the locked dependencies as wheels for Debian 13 on a machine of this kind, `x86_64` or `aarch64`."""
    platforms = [word for libc in ("_2_41", "_2_28", "_2_17", "2014") for word in ("--platform", f"manylinux{libc}_{machine}")]
    python = ["--implementation", "cp", "--python-version", "3.13", "--abi", "cp313", "--abi", "abi3", "--abi", "none"]
    locked = ["--require-hashes", "--no-deps", "--only-binary=:all:", "--requirement", str(REQUIREMENTS)]
    command = [sys.executable, "-m", "pip", "--quiet", "download", *platforms, *python, *locked, "--dest", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"wheels for {machine}: {done.stderr}"


def _make_bases() -> None:
    """Make the stand-ins, unless they are there already and were made in the same way."""
    bases = bases_of()
    recipe = repr((bases, BASE_CHANGES)).encode() + BASE_IMAGES.read_bytes()
    if _as_noted("bases", recipe, *bases.values()):
        return
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(["sh", str(BASE_IMAGES), directory], env=environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{BASE_IMAGES.name} failed: {done.stderr}"
        podman("import", "--quiet", f"{directory}/build.tar", bases["PYTHON"])
        changes = [word for change in BASE_CHANGES for word in ("--change", change)]
        podman("import", "--quiet", *changes, f"{directory}/run.tar", bases["BASE"])
    _note("bases", recipe)


def _inputs() -> bytes:
    """Return all that the image is made from."""
    context = [DOCKERFILE, BUILD, REQUIREMENTS, *(PROJECT / name for name in (".dockerignore", "LICENSE", "docker/healthproxy"))]
    context += sorted(path for path in (PROJECT / "healthproxy").rglob("*") if path.is_file() and path.suffix != ".pyc")
    revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=PROJECT, capture_output=True, check=False).stdout  # in its labels
    bases = b"".join([podman("image", "inspect", name, "--format", "{{.Id}}").stdout.encode() for name in bases_of().values()])
    return revision + bases + b"".join([str(path).encode() + path.read_bytes() for path in context])


def _as_noted(name: str, recipe: bytes, *images: str) -> bool:
    """Tell whether images are there and were made by this recipe."""
    note = CACHE / f"{name}.made"
    there = note.exists() and note.read_text() == hashlib.sha256(recipe).hexdigest()
    return there and all(podman("image", "exists", image, check=False).returncode == 0 for image in images)


def _note(name: str, recipe: bytes) -> None:
    (CACHE / f"{name}.made").write_text(hashlib.sha256(recipe).hexdigest())


def _wheels() -> Path:
    """Return a directory with the locked dependencies and a pip.conf that knows no other place."""
    name = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:16]
    wheels = CACHE / "wheels" / name
    if not wheels.exists():
        shutil.rmtree(wheels.parent, ignore_errors=True)  # those of another lock
        wheels.parent.mkdir()
        with tempfile.TemporaryDirectory(dir=CACHE) as directory:
            download(Path(directory, name), platform.machine())
            Path(directory, name, "pip.conf").write_text(PIP)
            Path(directory, name).rename(wheels)
    return wheels


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Keep other test runs on this machine from making the same things."""
    environment()
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
