"""Finds programs that packages from PyPI bring, wherever the tests were started from."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

from tests.e2e.conftest import require


def find_from_pypi(program: str, package: str, inside: str = "") -> str:
    """Return the path of a program: of the file `inside` a module if that is named, else of a script beside Python or in PATH.

    `inside` is for a program that another user must start, and whose script needs Python.
    """
    found = importlib.util.find_spec(program) if inside else None
    files = [str(Path(place, inside)) for place in (found.submodule_search_locations or () if found else ())]
    paths = [shutil.which(file) for file in files] + [shutil.which(program, path=Path(sys.prefix, "bin")), shutil.which(program)]
    path = next(filter(None, paths), None)
    require(path, f"{program} is not installed", f"run `make e2e-install`, or pip install {package}")
    assert path is not None
    return path
