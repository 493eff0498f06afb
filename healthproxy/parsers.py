"""aiohttp's HTTP parsers, without the rest of aiohttp. The only file that imports anything of it but the demo's app.

`import aiohttp` loads its client, its server and the machine's certificate authorities: a third of a start-up's CPU and 5 MB that
the sidecar never uses (decision record 0005). Here the package is only a place to find modules in while they are loaded.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def _package_not_run(name: str) -> Iterator[None]:
    """Have modules of a package loaded without its own `__init__`, if nobody else has loaded that."""
    spec = importlib.util.find_spec(name) if name not in sys.modules else None
    if spec is None:
        yield
        return
    sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        yield
    finally:
        del sys.modules[name]  # who needs all of it can still import it


with _package_not_run("aiohttp"):
    from aiohttp.base_protocol import BaseProtocol
    from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError
    from aiohttp.http_parser import HttpRequestParser, HttpResponseParser, RawRequestMessage, RawResponseMessage
    from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

__all__ = [
    "EMPTY_PAYLOAD",
    "BadHttpMethod",
    "BaseProtocol",
    "HttpProcessingError",
    "HttpRequestParser",
    "HttpResponseParser",
    "RawRequestMessage",
    "RawResponseMessage",
    "StreamReader",
]
