"""SECURITY.md: each threat is shown by a test that exists, and each hostile test shows a threat."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_TABLE = re.search(r"\| threat \|.*\n\|[-|]+\n((?:\|.*\n)+)", (ROOT / "SECURITY.md").read_text())
assert _TABLE
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in _TABLE[1].splitlines()]


def named(row: list[str]) -> list[str]:
    return re.findall(r"`([^`]+)`", row[-1])


def place(name: str) -> Path:
    return ROOT / name if "/" in name else ROOT / "tests" / "hostile" / name


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_each_threat_is_shown_by_tests_that_exist(row):
    assert len(row) == 4
    assert named(row)
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for name in named(row):
        if name.startswith("make "):
            assert name.removeprefix("make ") in targets
        else:
            files = list(place(name).glob("test_*.py")) if name.endswith("/") else [place(name)]
            assert files
            assert all(
                re.search(r"^\s*(async )?def test_|^class Test\w+\(Promises\)", file.read_text(), re.MULTILINE) for file in files
            )


def test_each_hostile_test_shows_a_threat():
    assert set((ROOT / "tests" / "hostile").glob("test_*.py")) <= {place(name) for row in ROWS for name in named(row)}
