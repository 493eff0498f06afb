"""The pictures of the history page in the documentation: `python -m tests.e2e.screenshots DIRECTORY`, as root, in two minutes.

A real sidecar with real apps, shown by a real Chromium.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from .browser import Tab, chromium
from .conftest import find
from .states import World, world

POD = ["unshare", "--uts", "sh", "-c", 'hostname shop-7d9f && exec "$@"', "sh"]
"""Gives the sidecar a host name as a pod has it."""
BODY = b'{"status": "down", "database": "pool exhausted: 20 of 20 connections in use"}\n'
PACE_SECONDS = 0.2


def main(directory: Path) -> None:
    """Write them all."""
    directory.mkdir(parents=True, exist_ok=True)
    with world(1.0, POD) as apps, tempfile.TemporaryDirectory() as profile:
        with chromium(find("chromium", "chromium"), Path(profile)) as browser, browser.tab() as tab:
            _shoot(apps, tab, directory)


def _shoot(apps: World, tab: Tab, directory: Path) -> None:
    apps.be_healthy(180, PACE_SECONDS)
    tab.open(apps.url, dark=True, width=880, height=620)
    tab.shoot(directory / "healthy-dark.png")
    apps.be_slow(3)
    apps.be_healthy(100, PACE_SECONDS)
    apps.scan()
    apps.fail(16, PACE_SECONDS, BODY)
    tab.open(apps.url, width=880, height=780)
    tab.shoot(directory / "failing-light.png")
    tab.open(apps.url, dark=True, width=360, height=780)
    tab.shoot(directory / "failing-phone.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
