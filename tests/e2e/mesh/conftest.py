"""What the tests of the mesh share: the parts of a pod, made once, and pods that are gone when their test is over."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.e2e.conftest import require

from .callers import build_kubelet
from .pod import Mesh, Parts, Pod, running_pod

MakePod = Callable[..., Pod]


@pytest.fixture(scope="session")
def parts(nginx_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Parts:
    """The app, the kubelet's prober, compiled, and the authority of a mesh."""
    require(os.geteuid() == 0, "networks that are joined, with iptables inside, take root", "run as root")
    require(Path("/proc/net/if_inet6").exists(), "this machine's kernel has no IPv6", "boot it without ipv6.disable=1")
    return Parts(nginx_binary, build_kubelet(tmp_path_factory.mktemp("kubelet")), trustme.CA(organization_name="mesh"))


@pytest.fixture
def make_pod(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakePod]:
    """Make pods with `running_pod`: a mesh, healthproxy's flags, options."""
    with contextlib.ExitStack() as pods:

        def make(mesh: Mesh, *flags: str, **options: Any) -> Pod:
            return pods.enter_context(running_pod(parts, tmp_path_factory.mktemp("app"), mesh, *flags, **options))

        yield make
