"""`healthproxy check --explain`: the phases that it shows, where a probe hung or failed, and the kubelet's event.

Whether Go's HTTP client really says so is asked in `tests/e2e/test_explain.py`.
"""

import asyncio
import os
import re
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass

import pytest

from healthproxy.check import run_check
from healthproxy.check.events import kubelet_event
from healthproxy.check.steps import Phase
from healthproxy.check.timeline import Timeline
from healthproxy.config import parse_config
from healthproxy.probe import GRPC, HTTPGet, Outcome, Reason, Target
from healthproxy.server import running
from tests.app import after, answer, chain, endless, hang, raw, redirect, serving
from tests.explained import AWAITED, CASES, FAILED, LIKE, NO, NONE, POD, TIMEOUT, hung
from tests.grpc_app import call, trailers_only
from tests.sidecar import sidecar


@dataclass
class Shown:
    """What was printed, taken apart."""

    status: int
    out: str
    rows: list[tuple[str, str]]
    """Phase and note, in order."""
    took: dict[str, float]
    """Milliseconds by phase, of those that were reached."""
    verdict: str
    body: str
    """As shown, on one line."""
    event: str
    """On one line, with its notes."""


def take_apart(status: int, out: str) -> Shown:
    table, _, rest = out.partition("\n\n")
    table = re.sub(r"\n {38}", " ", table)
    found = re.findall(r"^  (\S+(?: byte)?) +(?:[\d.]+ ms|-) +(?:([\d.]+) ms|-)(?:  (.*))?$", table, re.MULTILINE)
    parts = re.findall(r"^(\w+) +((?:.*\n)(?: {10}.*\n)*)", rest, re.MULTILINE)
    paragraphs = {label: " ".join(text.split()) for label, text in parts}
    took = {phase: float(time) for phase, time, _ in found if time}
    return Shown(
        status, out, [row[::2] for row in found], took, paragraphs["verdict"], paragraphs.get("body", ""), paragraphs["event"]
    )


@pytest.fixture
def explain(capsys):
    async def ask(target: str, timeout: float = TIMEOUT, **environment: str) -> Shown:
        arguments = ["--explain", "--timeout", str(timeout), *([target] if target else [])]
        status = await asyncio.to_thread(run_check, arguments, environment)
        return take_apart(status, capsys.readouterr().out)

    return ask


@pytest.fixture
def set_resolver(monkeypatch):
    """Have names resolve as a test says: to addresses, to none, or never."""

    def choose(*addresses: str, never: bool = False) -> None:
        def resolve(host, *rest, **options):
            if never:
                woken.wait()
            if not addresses:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return [info for address in addresses for info in system(address, *rest, **options)]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)

    system, woken = socket.getaddrinfo, threading.Event()
    yield choose
    woken.set()


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
async def test_every_phase_is_shown_with_what_came_of_it_and_so_is_the_event(case, explain):
    async with case.app() as where:
        target = case.target.format(port=where)
        shown = await explain(target, TIMEOUT if "hung" in str(case.rows) else 5)
    in_case = {"port": where, "target": target, "within": "200ms" if "hung" in str(case.rows) else "5s"}
    assert shown.rows == [(phase, note.replace("{port}", str(where))) for phase, note in case.rows.items()]
    assert shown.event == re.sub(r"\{(\w+)\}", lambda found: str(in_case[found[1]]), case.event)
    assert shown.verdict.startswith("success" if shown.status == 0 else "failure")
    assert shown.status == (0 if case.event.startswith(("none", "unknown: the kubelet would go", "Warning ProbeWarning")) else 1)


async def test_the_slow_phase_is_the_one_that_takes_the_time(explain):
    async with serving(after(0.05, answer())) as server:
        shown = await explain(f"http://127.0.0.1:{server.port}/", timeout=5)
    total = re.search(r"\((.*) ms\)", shown.verdict)
    assert total
    assert 45 < shown.took["first byte"] <= sum(shown.took.values()) <= float(total[1]) + 0.5
    assert shown.took["first byte"] > sum(time for phase, time in shown.took.items() if phase != "first byte")


async def test_each_redirect_has_phases_of_its_own(explain):
    async with serving(chain(2)) as server:
        shown = await explain(f"http://127.0.0.1:{server.port}/healthy", timeout=5)
    origin = f"127.0.0.1:{server.port}"
    assert re.findall(r"^GET .*$", shown.out, re.MULTILINE) == [
        f"GET http://{origin}/healthy",
        f"GET http://{origin}/hop/1",
        f"GET http://{origin}/hop/2",
    ]
    hops = [[("connect", origin), ("first byte", ""), ("headers", f"302, Location: /hop/{hop}")] for hop in (1, 2)]
    leads = [[*rows, ("body", f"leads to http://{origin}/hop/{hop}")] for hop, rows in enumerate(hops, 1)]
    assert shown.rows == [*leads[0], *leads[1], ("connect", origin), ("first byte", ""), ("headers", "200"), ("body", "2 bytes")]
    assert (shown.status, shown.event) == (0, NONE)


async def test_the_tenth_redirect_is_named_as_go_names_it(explain):
    async with serving(chain(10)) as server:
        shown = await explain(f"http://127.0.0.1:{server.port}/healthy", timeout=5)
    assert (shown.status, shown.event) == (1, FAILED + 'Get "/hop/10": stopped after 10 redirects')


async def test_a_redirect_whose_body_hangs_is_told_by_where_it_leads(explain):
    start = b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 9\r\n\r\n"
    async with serving(raw(start, "hang")) as server:
        shown = await explain(f"http://127.0.0.1:{server.port}/healthy")
    there = f"http://127.0.0.1:{server.port}/there"
    assert shown.rows[-1] == ("body", f"leads to {there}, {hung('end of the body')}")
    assert shown.event == f'{FAILED}Get "{there}": {AWAITED}{POD}'


@pytest.mark.parametrize(
    ("answered", "said"),
    [(b"", "EOF"), (b"\x15\x03\x03\x00\x02\x02\x28", "remote error: tls: ")],  # alert 40
)
async def test_a_handshake_that_the_app_ends_is_told_as_go_tells_it(explain, answered, said):
    async def take_hello(reader, writer, request):
        await reader.read(65536)
        await raw(answered)(reader, writer, request)

    async with serving(take_hello, at_once=True) as server:
        shown = await explain(f"https://127.0.0.1:{server.port}/", timeout=5)
    assert shown.event.startswith(f'{LIKE}Get "https://127.0.0.1:{server.port}/": {said}')


async def test_every_address_that_was_tried_is_shown(explain, set_resolver):
    set_resolver("::1", "127.0.0.1")
    async with serving() as server:
        shown = await explain(f"http://shop:{server.port}/", timeout=5)
    assert shown.rows[:3] == [
        ("resolve", "shop, ::1, 127.0.0.1"),
        ("connect", f"[::1]:{server.port}, failed: connection refused"),
        ("connect", f"127.0.0.1:{server.port}"),
    ]
    assert shown.status == 0


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("http://shop:1/", 'Get "http://shop:1/": dial tcp [::1]:1: connect: '),
        ("tcp://shop:1", "dial tcp [::1]:1: connect: "),
        ("grpc://shop:1", 'timeout: failed to connect service "shop:1" within 5s: context deadline exceeded'),
    ],
)
async def test_where_no_address_accepts_the_first_one_is_named(explain, set_resolver, target, said):
    set_resolver("::1", "127.0.0.1")
    shown = await explain(target, timeout=5)
    assert [note.partition(",")[0] for phase, note in shown.rows if phase == "connect"] == ["[::1]:1", "127.0.0.1:1"]
    assert shown.event.startswith(FAILED + said)


@pytest.mark.parametrize("scheme", ["http", "https", "tcp", "grpc"])
@pytest.mark.parametrize("never", [False, True])
async def test_a_name_that_does_not_resolve(explain, set_resolver, scheme, never):
    set_resolver(never=never)
    path = "/" if scheme.startswith("http") else ""
    shown = await explain(f"{scheme}://shop:1{path}")
    phases = {
        "http": ["connect", "first byte", "headers", "body"],
        "https": ["connect", "TLS", "first byte", "headers", "body"],
        "tcp": ["connect"],
        "grpc": ["connect", "greeting", "answer"],
    }[scheme]
    failure = hung("address") if never else "failed: cannot resolve the app's host name"
    assert shown.rows == [("resolve", f"shop, {failure}"), *[(phase, NO) for phase in phases]]
    assert shown.event.startswith(FAILED + "timeout: failed to connect" if scheme == "grpc" else LIKE)
    assert never or scheme == "grpc" or "dial tcp: lookup shop: no such host" in shown.event


async def test_without_a_url_it_explains_how_the_sidecar_itself_answers(explain):
    flags = {"listen": "127.0.0.1:0", "admin_listen": "off", "probe": ["http://127.0.0.1:1/healthy"]}
    async with running(parse_config(flags, {})) as serving_:
        address = str(serving_.open_port[0])
        shown = await explain("", timeout=5, HEALTHPROXY_LISTEN=address)
    assert shown.out.startswith(f"GET http://{address}/-/ready\n")
    assert (shown.status, shown.event) == (0, NONE)


HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\n\x00\u202e\u200b<script>".encode() + b"\xff\xfe\x9b31m"


@pytest.mark.parametrize(
    ("behaviour", "scheme"),
    [
        pytest.param(answer(503, HOSTILE), "http", id="body"),
        pytest.param(answer(302, HOSTILE, [("Location", "http://elsewhere.example/")]), "http", id="body in the event"),
        pytest.param(answer(200, HOSTILE * 500_000), "http", id="body of 18 MB"),
        pytest.param(endless(chunk=HOSTILE * 100), "http", id="body without end"),
        pytest.param(redirect("http://elsewhere.example/\x9b31m" + "\u202e" * 9), "http", id="Location"),
        pytest.param(redirect("/" + "n\u202e" * 20_000), "http", id="Location of 80 KB that is followed"),
        pytest.param(redirect("/%zz" + "n" * 900_000), "http", id="Location of 900 KB that is no URL"),
        pytest.param(call(trailers_only("5", ("grpc-message", b"%1b[2J\xff%00" + b"n" * 30_000))), "grpc", id="gRPC message"),
        pytest.param(call(trailers_only("12", ("grpc-message", b"%1b[2J%e2%80%ae%0a"))), "grpc", id="gRPC message in UTF-8"),
    ],
)
async def test_whatever_the_app_sends_is_escaped_and_bounded(explain, behaviour, scheme):
    async with serving(behaviour) as server:
        shown = await explain(f"{scheme}://127.0.0.1:{server.port}/", timeout=5)
    assert [char for char in shown.out if not char.isprintable() and char != "\n"] == []
    assert max(map(len, shown.out.splitlines())) <= 100
    assert len(shown.out) < 8000


@pytest.mark.parametrize(
    ("body", "shown_as"),
    [
        (b"", ""),
        (b"nicht verf\xc3\xbcgbar \xff\n", "nicht verfügbar \\xff\\n"),
        (b"n" * 200, "n" * 200),
        (b"n" * 300, "n" * 200 + "... (the first 200 of 300 bytes)"),
        (b"n" * 30_000, "n" * 200 + "... (the first 200 of 10240 bytes or more)"),
    ],
)
async def test_the_body_is_shown_by_its_first_bytes(explain, body, shown_as):
    async with serving(answer(503, body)) as server:
        shown = await explain(f"http://127.0.0.1:{server.port}/", timeout=5)
    assert re.sub("(?<=n) (?=n)", "", shown.body) == shown_as


async def test_a_terminal_that_lacks_the_apps_characters_gets_them_escaped():
    async with serving(answer(200, "verfügbar".encode())) as server:
        command = [sys.executable, "-m", "healthproxy", "check", "--explain", f"http://127.0.0.1:{server.port}/"]
        environment = os.environ | {"PYTHONIOENCODING": "ascii"}
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, env=environment, timeout=30, check=False)
    assert b"\nbody      verf\\xfcgbar\n" in done.stdout
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("behaviour", [answer(200), answer(503), answer(404), redirect("/%zz"), raw(b""), hang()])
async def test_what_the_kubelet_reads_through_healthproxy_is_what_a_healthproxy_answers(tmp_path, explain, behaviour):
    path = str(tmp_path / "app.sock")
    stanza = {"httpGet": {"unixSocket": path}, "timeoutSeconds": TIMEOUT}
    async with serving(behaviour, socket_file=path), sidecar({"/healthy": stanza}) as caller:
        status = (await caller.get()).status
        shown = await explain(f"http://unix:{path}:/")
    note = " (asked through healthproxy, for the kubelet reaches no socket file)"
    assert shown.event == (NONE if status == 200 else f"{FAILED}HTTP probe failed with statuscode: {status}{note}")


def event_after(action: Target, timeout: float, *phases: Phase) -> str:
    """Return the event of a probe that hung in the last of some phases."""
    timeline = Timeline()
    timeline.ask("GET https://127.0.0.1:1/")
    for phase in phases:
        timeline.begin(phase)
    timeline.fail(TimeoutError())
    return kubelet_event(action, timeout, timeline, Outcome(Reason.TIMEOUT, "")).text


@pytest.mark.parametrize(
    ("timeout", "written"),
    [(0.25, "250ms"), (1, "1s"), (1.5, "1.5s"), (30, "30s"), (60, "1m0s"), (90, "1m30s"), (3600, "1h0m0s"), (3723, "1h2m3s")],
)
def test_a_timeout_is_written_as_go_writes_it(timeout, written):
    assert event_after(GRPC(1), timeout, "greeting", "answer").endswith(f"did not complete within {written}")


def test_a_handshake_of_more_than_ten_seconds_is_given_up_by_go_itself():
    action = HTTPGet(1, scheme="https")
    assert event_after(action, 9, "connect", "TLS").endswith(AWAITED)
    assert event_after(action, 15, "connect", "TLS").endswith("net/http: TLS handshake timeout")
    assert event_after(action, 15, "connect", "first byte").endswith(AWAITED)


def test_help_names_it(capsys):
    with pytest.raises(SystemExit):
        run_check(["--help"], {})
    assert "--explain" in capsys.readouterr().out
