"""`healthproxy check` on the command line; its verdicts stand in the table of verdicts."""

import asyncio
import subprocess
import sys

import pytest

from healthproxy.actions import SHORT_FORMS
from healthproxy.check import run_check
from healthproxy.config import parse_config
from healthproxy.server import running
from tests import app


async def run(*arguments: str, **environment: str) -> int:
    """Run the command beside the servers of this process."""
    return await asyncio.to_thread(run_check, list(arguments), environment)


async def test_a_healthy_app_is_a_success_and_status_0(capsys):
    async with app.serving(app.answer(204)) as server:
        assert await run(f"http://127.0.0.1:{server.port}/healthy?x=1", "--timeout", "1") == 0
    assert capsys.readouterr().out.startswith("success: HTTP 204 (")
    assert server.requests == [
        f"GET /healthy?x=1 HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUser-Agent: kube-probe/1.36\r\nAccept: */*\r\n".encode()
        + b"Connection: close\r\n\r\n"
    ]


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (app.answer(503), "failure: HTTP probe failed with statuscode: 503 ("),
        (
            app.answer(302, headers=[("Location", "http://elsewhere.example/")]),
            "success, with a warning: HTTP 302, probe terminated redirects (",
        ),
        (app.hang(), "failure: no answer within 0.2 s ("),
        (app.raw(b"SSH-2.0-OpenSSH\r\n", then="close"), "failure: app did not answer in HTTP/1 ("),
    ],
)
async def test_the_verdict_is_told_in_the_words_of_the_kubelets_event(capsys, behaviour, said):
    async with app.serving(behaviour) as server:
        status = await run(f"http://127.0.0.1:{server.port}/", "--timeout", "0.2")
    out = capsys.readouterr().out
    assert out.startswith(said)
    assert status == (1 if out.startswith("failure") else 0)


async def test_without_a_url_it_asks_the_healthproxy_beside_it(capsys):
    flags = {"listen": "127.0.0.1:0", "admin_listen": "off", "probe": ["http://127.0.0.1:1/healthy"]}
    async with running(parse_config(flags, {})) as sidecar:
        address = str(sidecar.open_port[0])
        assert await run(HEALTHPROXY_LISTEN=address) == 0
        assert await run("--listen", address) == 0
    assert await run(HEALTHPROXY_LISTEN=address) == 1
    assert "failure: connection refused (" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["127.0.0.1:8080"], f"127.0.0.1:8080: is no target; write {SHORT_FORMS}\n"),
        (["http://h:1/", "--timeout", "0"], "--timeout: 0 is not positive; give seconds above 0\n"),
        (["--listen", "x"], "--listen: 'x' is no address; write HOST:PORT, [IPV6]:PORT or :PORT\n"),
    ],
)
async def test_misuse_is_status_2_and_says_what_to_do(capsys, arguments, said):
    assert await run(*arguments) == 2
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("arguments", [[], ["--explain"]])
def test_it_loads_neither_aiohttp_nor_asyncio_nor_prometheus(arguments):
    heavy = {"aiohttp", "asyncio", "prometheus_client", "ruamel", "logging", "h2"}
    heavy |= set() if arguments else {f"healthproxy.check.{name}" for name in ("timeline", "events", "explanation")}
    program = (
        f"import sys; from healthproxy.cli import run; run(['check', 'http://127.0.0.1:1/', *{arguments}], {{}});"
        f"sys.exit(' '.join({heavy} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stderr, done.returncode) == ("", 0)
