"""That only the parsers of aiohttp are loaded, and that nobody else is harmed by it."""

import subprocess
import sys

import pytest


def run(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_sidecar_loads_neither_client_nor_server_of_aiohttp_nor_the_package_itself():
    loaded = run("import sys, healthproxy.server\nprint(*[name for name in sys.modules if name.startswith('aiohttp')])").split()
    assert "aiohttp._http_parser" in loaded  # the one in C
    assert not {"aiohttp", "aiohttp.client", "aiohttp.connector", "aiohttp.web"} & set(loaded)


@pytest.mark.parametrize("order", ["healthproxy.parsers, aiohttp", "aiohttp, healthproxy.parsers"])
def test_all_of_aiohttp_can_be_imported_before_and_after(order):
    script = f"import {order}, aiohttp.web\nfrom aiohttp.http_parser import HttpRequestParser as same\n"
    said = "same is healthproxy.parsers.HttpRequestParser, aiohttp.ClientSession.__name__, aiohttp.web.Application.__name__"
    assert run(f"{script}print({said})") == "True ClientSession Application"
