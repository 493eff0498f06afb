"""Stands each attack once, for all the promises that it is held against."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .load import Siege, besieged
from .machine import cores_of_their_own


@pytest.fixture(scope="module", autouse=True)
def cores(request: pytest.FixtureRequest) -> Iterator[None]:
    """See to it that the heavy tests measure the sidecar, and not what else the machine does."""
    if request.node.get_closest_marker("e2e") is None:
        yield
        return
    with cores_of_their_own():
        yield


@pytest.fixture(scope="module")
def siege(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Siege]:
    """An attack that is just over."""
    with besieged(request.param, tmp_path_factory.mktemp("app")) as over:
        yield over
