"""Stands each attack once, for all the promises that it is held against."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .load import Siege, besieged


@pytest.fixture(scope="module")
def siege(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Siege]:
    """An attack that is just over."""
    with besieged(request.param, tmp_path_factory.mktemp("app")) as over:
        yield over
