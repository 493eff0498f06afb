"""The parts together: the story that the README tells, and what must hold at start and at the end."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from healthproxy.config import parse_config
from healthproxy.problems import StartError
from healthproxy.server import running
from healthproxy.sockets import listening
from healthproxy.values import Address
from tests import app
from tests.sidecar import Caller, http_get, sidecar

MINE = (
    "healthproxy_probes_total",
    "healthproxy_app_responses_total",
    "healthproxy_probe_success",
    "healthproxy_probe_consecutive",
)


async def shown(caller: Caller) -> list[str]:
    """Return the counts that are not 0, as /metrics writes them."""
    return [f"{name} {value}" for name, value in (await caller.metrics()).items() if name.startswith(MINE) and value]


async def test_the_story_of_the_readme(caplog):
    caplog.set_level("INFO")
    async with app.serving(app.answer(200)) as server:
        async with sidecar({"/healthy": http_get(server.port)}, min_interval="0") as caller:
            assert (await caller.get()).status == 200
            assert await shown(caller) == [
                'healthproxy_probes_total{probe="/healthy",reason="ok",result="success"} 1.0',
                'healthproxy_app_responses_total{code="200",probe="/healthy"} 1.0',
                'healthproxy_probe_success{probe="/healthy"} 1.0',
            ]
            server.behaviour = app.hang()
            assert (await caller.get()).status == 504
            server.behaviour = app.answer(503)
            assert (await caller.get()).status == 503
            await server.stop()
            assert (await caller.get()).status == 502
            assert await shown(caller) == [
                'healthproxy_probes_total{probe="/healthy",reason="ok",result="success"} 1.0',
                'healthproxy_probes_total{probe="/healthy",reason="status",result="failure"} 1.0',
                'healthproxy_probes_total{probe="/healthy",reason="refused",result="failure"} 1.0',
                'healthproxy_probes_total{probe="/healthy",reason="timeout",result="failure"} 1.0',
                'healthproxy_app_responses_total{code="200",probe="/healthy"} 1.0',
                'healthproxy_app_responses_total{code="503",probe="/healthy"} 1.0',
                'healthproxy_probe_consecutive_failures{probe="/healthy"} 3.0',
            ]
            server.behaviour = app.answer(200)
            await server.start()
            assert (await caller.get()).status == 200
    told = [message for message in caplog.messages if message.startswith("probe")]
    assert told[0].startswith("probe /healthy succeeds for the first time, 0.")
    assert told[1] == "probe /healthy fails: no answer within 0.3 s"
    assert told[2].startswith("probe /healthy succeeds again after 0.")
    assert len(told) == 3


async def test_the_duration_of_a_failure_is_measured_as_well():
    async with app.serving(app.hang()) as server, sidecar({"/healthy": http_get(server.port)}) as caller:
        await caller.get()
        metrics = await caller.metrics()
    series = 'healthproxy_probe_duration_seconds_{}{{{}probe="/healthy",result="failure"}}'
    assert metrics[series.format("count", "")] == 1
    assert 0.3 <= metrics[series.format("sum", "")] < 0.4
    assert (metrics[series.format("bucket", 'le="0.25",')], metrics[series.format("bucket", 'le="0.5",')]) == (0, 1)


async def test_probes_of_one_sidecar_are_counted_apart():
    async with app.serving(app.by_path({"/a": app.answer(200), "/b": app.answer(500)})) as server:
        async with sidecar({"/a": http_get(server.port, "/a"), "/b": http_get(server.port, "/b")}) as caller:
            answers = await asyncio.gather(caller.get("/a"), caller.get("/b"))
            metrics = await caller.metrics()
    assert [answer.status for answer in answers] == [200, 500]
    assert (metrics['healthproxy_probe_success{probe="/a"}'], metrics['healthproxy_probe_success{probe="/b"}']) == (1, 0)


@pytest.mark.parametrize(
    ("path", "status"), [(b"/", 200), (b"/livez", 200), (b"/readyz", 200), (b"/metrics", 200), (b"/healthy", 404)]
)
async def test_the_admin_port_serves_metrics_and_own_health_and_no_probe(path, status):
    async with app.serving(app.answer()) as server, sidecar({"/healthy": http_get(server.port)}) as caller:
        answer = await caller.send(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", caller.admin_port)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert server.connections == 0


async def test_the_admin_port_can_be_off():
    with app.closed_port() as port:
        config = parse_config({"listen": "127.0.0.1:0", "admin_listen": "off", "probe": [f"http://127.0.0.1:{port}/"]}, {})
        async with running(config) as serving:
            assert serving.admin_port == ()


async def test_a_request_under_way_at_the_end_is_still_answered():
    async with app.serving(app.after(0.1, app.answer())) as server:
        async with sidecar({"/healthy": http_get(server.port)}) as caller:
            asking = asyncio.create_task(caller.get())
            while server.connections == 0:
                await asyncio.sleep(0.001)
        assert (await asking).status == 200


async def test_nobody_is_accepted_after_the_end():
    with app.closed_port() as port:
        async with sidecar({"/healthy": http_get(port)}) as caller:
            pass
        with pytest.raises(ConnectionRefusedError):
            await caller.get()


def test_every_address_means_both_families_on_one_port():
    with listening("--listen", Address("", 0)) as sockets:
        names = [sock.getsockname()[:2] for sock in sockets]
    assert [name[0] for name in names] == ["0.0.0.0", "::"]
    assert names[0][1] == names[1][1]


def test_a_port_that_is_taken_is_told_by_option_and_address():
    with listening("--listen", Address("127.0.0.1", 0)) as (taken,):
        address = Address("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(StartError) as caught, listening("--admin-listen", address):
            pass
    said = f"--admin-listen {address}: cannot listen: Address already in use; give another address, or free this one"
    assert str(caught.value) == said


def test_a_host_that_does_not_resolve_is_told():
    with (
        pytest.raises(StartError, match=r"--listen nowhere\.invalid:1: cannot listen: "),
        listening("--listen", Address("nowhere.invalid", 1)),
    ):
        pass


@pytest.mark.parametrize("second", [False, True])
def test_it_drains_until_the_app_has_gone_or_a_second_signal_comes(second):
    program = (
        "import socket, subprocess, sys; app = socket.create_server(('127.0.0.1', 0));"
        "print(app.getsockname()[1], flush=True); sys.stdin.read()"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEALTHPROXY_")}
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        target = f"http://127.0.0.1:{server.stdout.readline().strip()}/healthy"
        flags = ["--listen", "127.0.0.1:0", "--admin-listen", "off", "--probe", target, "--log-format", "json"]
        command = [sys.executable, "-m", "healthproxy", *flags]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as proxy:
            assert proxy.stderr is not None
            lines = map(json.loads, proxy.stderr)
            assert next(lines)["event"] == "started"
            proxy.send_signal(signal.SIGTERM)
            assert next(lines)["event"] == "draining"
            with pytest.raises(subprocess.TimeoutExpired):
                proxy.wait(0.5)
            if second:
                proxy.send_signal(signal.SIGTERM)
            else:
                server.communicate()
            assert next(lines)["message"] == ("stopped: a second signal" if second else "stopped: the app has gone")
            assert proxy.wait(2) == 0


async def test_an_idle_caller_is_let_go_at_the_end():
    with app.closed_port() as port:
        async with sidecar({"/healthy": http_get(port)}, header_timeout="60") as caller:
            reader, writer = await caller.connect()
            while (await caller.metrics())["healthproxy_open_connections"] < 1:
                await asyncio.sleep(0.001)
        async with asyncio.timeout(2):
            assert await reader.read() == b""
        writer.close()


def test_the_start_of_the_process_is_known():
    program = "import time; from healthproxy.process import process_start; print(time.monotonic() - process_start())"
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 0 <= float(done.stdout) <= time.monotonic() - started + 0.02
