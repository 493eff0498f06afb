"""Every kind of probe against the real thing in one pod: nginx by port, TLS and socket file, Redis, gRPC servers of grpcio in
clear, by TLS and by socket file, and an allOf and an anyOf over them all.

Owns what a user of several kinds sees: codes, bodies, log and metrics of members and aggregates while apps come and go.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme
from ruamel.yaml import YAML

from healthproxy.probe import Outcome

from .apps import GRPCHealth, Nginx, Place, RealApp, Redis, any_free_port
from .conftest import find
from .sidecar import ANYWHERE, BOUND_SECONDS, Sidecar, eventually, run_check, spawn

pytestmark = pytest.mark.e2e

SECURE_WEB, WEB, LOCAL_WEB, CACHE = "/secure-web", "/web", "/local-web", "/cache"
API, SECURE_API, LOCAL_API = "/api", "/secure-api", "/local-api"
MEMBERS = (WEB, SECURE_WEB, LOCAL_WEB, CACHE, API, SECURE_API, LOCAL_API)
SERVICE = "shop.Api"
CALLERS = 50
STAY_SECONDS = 0.6
"""Three times as long as the sidecar waits between two looks for the app."""

Apps = Mapping[str, RealApp]
"""The apps by the key of their probe."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Whoever signs the certificates of the pod."""
    return trustme.CA()


@pytest.fixture(scope="module")
def all_apps(nginx_binary: str, authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apps]:
    """An app for each member, all in one directory of one pod."""
    root = tmp_path_factory.mktemp("pod")
    redis = find("redis-server", "redis-server")
    authority.cert_pem.write_to_path(str(root / "ca.pem"))
    pem = root / "app.pem"
    authority.issue_cert("app.example", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(pem))

    def directory(key: str) -> Path:
        (root / key[1:]).mkdir()
        return root / key[1:]

    apps: dict[str, RealApp] = {
        WEB: Nginx(nginx_binary, directory(WEB), any_free_port()),
        SECURE_WEB: Nginx(nginx_binary, directory(SECURE_WEB), any_free_port(), pem),
        LOCAL_WEB: Nginx(nginx_binary, directory(LOCAL_WEB), root / "web.sock"),
        CACHE: Redis(redis, directory(CACHE), any_free_port()),
        API: GRPCHealth(directory(API), any_free_port()),
        SECURE_API: GRPCHealth(directory(SECURE_API), any_free_port(), pem),
        LOCAL_API: GRPCHealth(directory(LOCAL_API), root / "api.sock"),
    }
    try:
        yield apps
    finally:
        for app in apps.values():
            app.end()


@pytest.fixture
def apps(all_apps: Apps) -> Apps:
    """The same, all running and well."""
    with ThreadPoolExecutor(len(all_apps)) as at_once:
        list(at_once.map(RealApp.ensure, all_apps.values()))
    return all_apps


def place_of(app: RealApp) -> dict[str, object]:
    """Write where an app listens as a stanza has it."""
    return {"unixSocket": str(app.place)} if isinstance(app.place, Path) else {"port": app.place}


@pytest.fixture
def config(apps: Apps, tmp_path: Path) -> Path:
    """The YAML file of a sidecar that probes them all."""
    place = {key: place_of(app) for key, app in apps.items()}
    ca = str(next(iter(apps.values())).directory.parent / "ca.pem")
    probes: dict[str, object] = {
        WEB: {"httpGet": {"path": "/healthy", **place[WEB]}},
        SECURE_WEB: {"httpGet": {"path": "/healthy", "scheme": "HTTPS", **place[SECURE_WEB]}, "tls": {"ca": ca}},
        LOCAL_WEB: {"httpGet": {"path": "/healthy", **place[LOCAL_WEB]}},
        CACHE: {"tcpSocket": place[CACHE]},
        API: {"grpc": {"service": SERVICE, **place[API]}},
        SECURE_API: {"grpc": {"service": SERVICE, **place[SECURE_API]}, "tls": {"ca": ca, "serverName": "app.example"}},
        LOCAL_API: {"grpc": {"service": SERVICE, **place[LOCAL_API]}},
        "/all": {"allOf": list(MEMBERS)},
        "/any": {"anyOf": list(MEMBERS)},
    }
    path = tmp_path / "healthproxy.yaml"
    YAML().dump({"probes": probes}, path)
    return path


@pytest.fixture
def sidecar(config: Path) -> Iterator[Sidecar]:
    """The sidecar of the pod."""
    with spawn(*ANYWHERE, "--config", str(config)) as running:
        yield running.started()


def says(outcome: Outcome) -> tuple[int | None, str]:
    """Return status code and body of an answer that came in time for the kubelet."""
    assert outcome.duration < 1, "the kubelet would have given up"
    return outcome.code, outcome.body.decode()


def becomes(sidecar: Sidecar, key: str, code: int) -> str:
    """Probe until the answer has this code, and return its body."""
    return says(eventually(lambda: sidecar.ask(key), lambda outcome: outcome.code == code))[1]


def all_well(sidecar: Sidecar) -> None:
    """Probe until everything is well."""
    for key in (*MEMBERS, "/all", "/any"):
        assert becomes(sidecar, key, 200) == ("ok\n")


def changes(sidecar: Sidecar) -> list[str]:
    """Return what the log said of probes so far, without the durations."""
    lines = [line.partition("probe ")[2] for line in sidecar.log.texts[1:]]
    return sorted([line.partition(" after ")[0].partition(", ")[0] for line in lines])


FIRST = [f"{key} succeeds for the first time" for key in (*MEMBERS, "/all", "/any")]
"""What the log says when everything was well at once."""


def logs(sidecar: Sidecar, *lines: str) -> None:
    """Wait until the log has said that all was well and then these changes, each once; it is written after the answer."""
    eventually(lambda: changes(sidecar), sorted([*FIRST, *lines]).__eq__)


def counted(sidecar: Sidecar) -> dict[tuple[str, str], float]:
    """Return the counters of requests by key and reason, those that are not 0."""
    found = {}
    for line in sidecar.metrics().splitlines():
        if line.startswith("healthproxy_probes_total{"):
            labels = dict(pair.split("=") for pair in line[line.index("{") + 1 : line.index("}")].split(","))
            found[labels["probe"].strip('"'), labels["reason"].strip('"')] = float(line.rpartition(" ")[2])
    return {key: value for key, value in found.items() if value}


def test_a_pod_in_which_everything_is_well(apps: Apps, sidecar: Sidecar) -> None:
    all_well(sidecar)
    assert set(counted(sidecar)) == {(key, "ok") for key in (*MEMBERS, "/all", "/any")}
    logs(sidecar)
    for key in (*MEMBERS, "/all", "/any"):
        assert sidecar.metric(f'healthproxy_probe_success{{probe="{key}"}}') == 1
        assert sidecar.metric(f'healthproxy_probe_duration_seconds_count{{probe="{key}",result="success"}}') > 0


@pytest.mark.parametrize("key", MEMBERS)
def test_an_app_that_dies_fails_its_own_key_and_all_of_them(key: str, apps: Apps, sidecar: Sidecar) -> None:
    all_well(sidecar)
    apps[key].end(signal.SIGKILL)
    why = "connection refused\n"  # a socket file, too, is still there when its app was killed
    assert becomes(sidecar, key, 502) == why
    assert becomes(sidecar, "/all", 502) == f"{key}: {why}"
    assert says(sidecar.ask("/any")) == (200, "ok\n")
    assert [says(sidecar.ask(other)) for other in MEMBERS if other != key] == [(200, "ok\n")] * (len(MEMBERS) - 1)
    counts = counted(sidecar)
    assert {name for name, reason in counts if reason != "ok"} == {key, "/all"}
    assert counts[key, "refused"] > 0
    assert counts["/all", "refused"] > 0
    apps[key].restart()
    all_well(sidecar)
    failing = (f"{key} fails: connection refused", f"/all fails: {key}: connection refused")
    logs(sidecar, *failing, f"{key} succeeds again", "/all succeeds again")


@pytest.mark.parametrize("key", [key for key in MEMBERS if key != CACHE])
def test_an_app_that_hangs_is_named_within_the_deadline(key: str, apps: Apps, sidecar: Sidecar) -> None:
    all_well(sidecar)
    apps[key].send(signal.SIGSTOP)
    why = "no answer within 0.9 s"

    def all_at_once() -> list[tuple[int | None, str]]:
        with ThreadPoolExecutor(3) as callers:
            return [says(outcome) for outcome in callers.map(sidecar.ask, (key, "/all", "/any"))]

    wanted = [(504, f"{why}\n"), (504, f"{key}: {why}\n"), (200, "ok\n")]
    assert eventually(all_at_once, lambda seen: seen[0] == wanted[0] and seen[1] == wanted[1]) == wanted
    apps[key].send(signal.SIGCONT)
    all_well(sidecar)
    logs(sidecar, f"{key} fails: {why}", f"/all fails: {key}: {why}", f"{key} succeeds again", "/all succeeds again")


def test_a_hung_app_still_accepts_and_that_is_all_that_tcp_asks(apps: Apps, sidecar: Sidecar) -> None:
    all_well(sidecar)
    apps[CACHE].send(signal.SIGSTOP)  # the kernel accepts in its place, as it would for the kubelet
    all_well(sidecar)
    apps[CACHE].send(signal.SIGCONT)
    logs(sidecar)


def test_any_is_well_until_the_last_one_has_gone(apps: Apps, sidecar: Sidecar) -> None:
    all_well(sidecar)
    for key in MEMBERS:
        assert says(sidecar.ask("/any")) == (200, "ok\n")
        apps[key].end(signal.SIGTERM)
        becomes(sidecar, key, 502)
    told = [line.partition(": ") for line in becomes(sidecar, "/any", 502).strip().split("; ")]
    assert {what: keys.split(", ") for keys, _, what in told} == {
        "connection refused": [key for key in MEMBERS if key != LOCAL_WEB],
        "no socket of the app at this path": [LOCAL_WEB],  # nginx tidies up
    }
    apps[API].restart()
    assert becomes(sidecar, "/any", 200) == "ok\n"
    eventually(lambda: changes(sidecar).count("/any succeeds again"), (1).__eq__)


@pytest.mark.parametrize("key", [API, SECURE_API, LOCAL_API])
def test_a_grpc_app_that_says_it_is_not_serving(key: str, apps: Apps, sidecar: Sidecar) -> None:
    all_well(sidecar)
    app = apps[key]
    assert isinstance(app, GRPCHealth)
    app.say("NOT_SERVING")
    assert becomes(sidecar, key, 503) == "app answered NOT_SERVING\n"
    assert becomes(sidecar, "/all", 503) == f"{key}: app answered NOT_SERVING\n"
    assert says(sidecar.ask("/any")) == (200, "ok\n")
    counts = counted(sidecar)
    assert {name for name, reason in counts if reason == "not_serving"} == {key, "/all"}
    app.say("SERVING")
    all_well(sidecar)
    failing = (f"{key} fails: app answered NOT_SERVING", f"/all fails: {key}: app answered NOT_SERVING")
    logs(sidecar, *failing, f"{key} succeeds again", "/all succeeds again")


def test_failures_of_several_kinds_are_all_named_and_told_as_503(apps: Apps, config: Path) -> None:
    apps[WEB].end()
    app = apps[API]
    assert isinstance(app, GRPCHealth)
    app.say("NOT_SERVING")
    with spawn(*ANYWHERE, "--min-interval", "5", "--config", str(config)) as sidecar:
        sidecar.started()
        assert says(sidecar.ask(WEB))[0] == 502
        assert says(sidecar.ask(API))[0] == 503
        # Both are known now; a first failure alone would have settled it without waiting for the second.
        assert says(sidecar.ask("/all")) == (503, f"{WEB}: connection refused; {API}: app answered NOT_SERVING\n")
        assert says(sidecar.ask("/any")) == (200, "ok\n")
    app.say("SERVING")


def test_callers_of_members_and_aggregates_at_once_are_one_request_to_each_app(apps: Apps, config: Path) -> None:
    keys = (*MEMBERS, "/all", "/any")
    bounds = ("--max-connections", "512", "--min-interval", "5", "--header-timeout", "9")
    with spawn(*ANYWHERE, *bounds, "--config", str(config)) as sidecar:
        sidecar.started()
        before = {key: app.requests() for key, app in apps.items()}
        callers = []
        for key in keys * CALLERS:
            caller = socket.create_connection(("127.0.0.1", sidecar.open_port), BOUND_SECONDS)
            caller.sendall(f"GET {key} HTTP/1.1\r\nHost: pod\r\n\r".encode())
            callers.append(caller)
        for caller in callers:
            caller.sendall(b"\n")
        for caller in callers:
            with caller, caller.makefile("rb") as answer:
                assert answer.read().startswith(b"HTTP/1.1 200 ")
        assert counted(sidecar) == dict.fromkeys([(key, "ok") for key in keys], 1)
        for key in keys:
            aggregates = 2 if key in MEMBERS else 0
            assert sidecar.metric(f'healthproxy_shared_answers_total{{probe="{key}"}}') == CALLERS + aggregates - 1
        for key, app in apps.items():
            eventually(app.requests, before[key].__lt__)  # nginx writes its log after it has answered
            assert app.requests() == before[key] + 1


# Draining


@pytest.mark.parametrize(
    ("last", "number", "left_behind"),
    [
        (CACHE, signal.SIGKILL, False),
        (API, signal.SIGKILL, False),
        (LOCAL_WEB, signal.SIGTERM, False),
        (LOCAL_WEB, signal.SIGKILL, True),
        (LOCAL_API, signal.SIGKILL, True),
    ],
)
def test_drain_ends_when_the_last_of_the_apps_has_gone(
    last: str, number: signal.Signals, left_behind: bool, apps: Apps, sidecar: Sidecar
) -> None:
    all_well(sidecar)
    sidecar.stop()
    sidecar.log.next_with("draining")
    for key in MEMBERS:
        if key != last:
            apps[key].end(signal.SIGKILL)
    with pytest.raises(subprocess.TimeoutExpired):
        sidecar.process.wait(STAY_SECONDS)
    assert says(sidecar.ask("/any")) == (200, "ok\n")
    apps[last].end(number)
    place = apps[last].place
    assert (isinstance(place, Path) and place.exists()) == left_behind
    assert sidecar.wait(2) == 0
    assert sidecar.log.texts[-1].endswith("stopped: the app has gone")


# What a wrong kind of probe says


def wrong_kind(target: str) -> tuple[int | None, str]:
    """Ask a sidecar once whose only probe has this target."""
    with spawn(*ANYWHERE, "--probe", f"/wrong={target}") as sidecar:
        return says(sidecar.started().ask("/wrong"))


def test_a_grpc_port_probed_with_http_is_told_so(apps: Apps) -> None:
    why = "app speaks HTTP/2 only: if it is a gRPC app, probe it with grpc"
    assert wrong_kind(f"http://127.0.0.1:{apps[API].place}/healthy") == (502, f"{why}\n")
    assert wrong_kind(f"http://unix:{apps[LOCAL_API].place}:/healthy") == (502, f"{why}\n")
    status, text = run_check(f"http://127.0.0.1:{apps[API].place}/healthy")
    assert (status, why in text) == (1, True)


def test_a_grpc_port_with_tls_probed_with_https_fails(apps: Apps) -> None:
    # grpcio ends the handshake well and then the connection, so nothing tells what it speaks.
    code, text = wrong_kind(f"https://127.0.0.1:{apps[SECURE_API].place}/healthy")
    assert (code, text.startswith("connection ")) == (502, True)


def test_an_http_port_probed_with_grpc_is_told_so(apps: Apps) -> None:
    assert wrong_kind(f"grpc://127.0.0.1:{apps[WEB].place}") == (502, "app answered in HTTP/1, not in gRPC\n")
    why = "TLS failed: app does not offer what this probe speaks: HTTP/1.1 for httpGet, HTTP/2 for grpc"
    assert wrong_kind(f"grpcs://127.0.0.1:{apps[SECURE_WEB].place}") == (502, f"{why}\n")


# What is loaded


IMPORT = re.compile(r"import '([\w.]+)' # ")


def loaded_after(probes: Mapping[str, object], keys: tuple[str, ...], directory: Path) -> set[str]:
    """Return every module that a sidecar imported until it had answered for these keys and ended; Python itself lists them."""
    path = directory / "config.json"
    path.write_text(json.dumps({"probes": probes, "minInterval": 0}))
    with spawn(*ANYWHERE, "--drain-seconds", "0", "--config", str(path), environment={"PYTHONVERBOSE": "1"}) as sidecar:
        sidecar.started()
        assert [sidecar.ask(key).code for key in keys] == [200] * len(keys)
        sidecar.metrics()
        maps = Path(f"/proc/{sidecar.process.pid}/maps").read_text()
        sidecar.stop()
        assert sidecar.wait() == 0
    loaded = {found[1] for line in sidecar.log.texts if (found := IMPORT.match(line))}
    assert "/h2/" not in maps  # it has no compiled part that could come in another way
    return loaded


def test_h2_is_loaded_by_those_who_probe_grpc_and_by_nobody_else(apps: Apps, tmp_path: Path) -> None:
    place: dict[str, Place] = {key: app.place for key, app in apps.items()}
    probes: dict[str, object] = {
        WEB: {"httpGet": {"path": "/healthy", "port": place[WEB]}},
        SECURE_WEB: {"httpGet": {"path": "/healthy", "port": place[SECURE_WEB], "scheme": "HTTPS"}},
        LOCAL_WEB: {"httpGet": {"path": "/healthy", "unixSocket": str(place[LOCAL_WEB])}},
        CACHE: {"tcpSocket": {"port": place[CACHE]}},
    }
    members = tuple(probes)
    probes |= {"/all": {"allOf": [*members]}, "/any": {"anyOf": [*members]}}
    of_grpc = {"h2", "hpack", "hyperframe", "healthproxy.grpc_health", "healthproxy.probers.grpc"}
    without = loaded_after(probes, (*members, "/all", "/any"), tmp_path)
    assert {"healthproxy.probers.tcp", "aiohttp.http_parser"} <= without  # else the list would prove nothing
    assert without.isdisjoint(of_grpc)
    api = {API: {"grpc": {"port": place[API], "service": SERVICE}}}
    assert of_grpc <= loaded_after(probes | api, (API,), tmp_path)
