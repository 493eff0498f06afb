"""Connections of the open port: bounded in number, size and time, whoever opens them."""

import asyncio
import contextlib
import errno
import gc
import logging
import resource
import socket
import struct
import time

import pytest

from healthproxy.connections import Bounds, Connection, Connections
from tests import app
from tests.sidecar import Caller, http_get, sidecar

HELD = {"header_timeout": "0.3"}
SILENT = 'healthproxy_refused_requests_total{reason="header_timeout"}'
EVICTED = 'healthproxy_refused_requests_total{reason="evicted"}'


async def hold(caller: Caller, number: int) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open connections and say nothing."""
    return [await caller.connect() for _ in range(number)]


def let_go(held: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
    for _, writer in held:
        writer.transport.abort()


async def test_a_caller_who_sends_nothing_is_closed_without_a_word_and_counted():
    with app.closed_port() as port:
        async with sidecar({"/healthy": http_get(port)}, **HELD) as caller:
            started = asyncio.get_running_loop().time()
            assert await caller.send(b"") == b""
            took = asyncio.get_running_loop().time() - started
            assert (await caller.metrics())[SILENT] == 1
    assert 0.3 <= took < 0.6


async def test_a_caller_who_sends_a_byte_now_and_then_has_no_more_time_than_one_who_sends_none():
    with app.closed_port() as port:
        async with sidecar({"/healthy": http_get(port)}, **HELD) as caller:
            reader, writer = await caller.connect()
            started = asyncio.get_running_loop().time()
            for byte in b"GET /healthy HTTP/1.1":
                writer.write(bytes([byte]))
                await asyncio.sleep(0.03)
                if reader.at_eof():
                    break
            took = asyncio.get_running_loop().time() - started
            writer.transport.abort()
            assert (await caller.metrics())[SILENT] == 1
    assert took < 0.5


async def test_whoever_has_been_silent_longest_loses_his_place_to_one_who_speaks():
    async with (
        app.serving(app.answer()) as server,
        sidecar({"/healthy": http_get(server.port)}, max_connections="8", header_timeout="5", min_interval="0") as caller,
    ):
        held = await hold(caller, 8)
        for _ in range(5):
            assert (await caller.get()).status == 200
        # The first probe took the first place; the other four found the place of the probe before them free again.
        assert await held[0][0].read() == b""
        metrics = await caller.metrics()
        assert (metrics[EVICTED], metrics["healthproxy_open_connections"]) == (1, 7)
        let_go(held)


async def test_a_flood_of_silent_connections_does_not_keep_a_probe_out():
    async with app.serving(app.answer()) as server:
        async with sidecar({"/healthy": http_get(server.port)}, max_connections="16", header_timeout="5") as caller:
            held = await hold(caller, 200)
            assert (await caller.get()).status == 200
            metrics = await caller.metrics()
            assert metrics["healthproxy_open_connections"] <= 16
            assert metrics[EVICTED] >= 184
            let_go(held)


async def test_when_everybody_waits_for_the_app_the_one_who_waits_longest_loses_his_place():
    async with app.serving(app.by_path({"/hung": app.hang(), "/well": app.answer()})) as server:
        table = {"/hung": http_get(server.port, "/hung"), "/well": http_get(server.port, "/well")}
        async with sidecar(table, max_connections="4") as caller:
            waiting = [asyncio.create_task(caller.send(b"GET /hung HTTP/1.0\r\n\r\n")) for _ in range(4)]
            while server.connections == 0 or (await caller.metrics())["healthproxy_open_connections"] < 4:
                await asyncio.sleep(0.005)
            assert (await caller.get("/well")).status == 200
            answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert sorted(answer[9:12] if isinstance(answer, bytes) else b"lost" for answer in answers) == [b"", b"504", b"504", b"504"]


async def test_who_loses_his_place_while_he_waits_is_told_the_last_outcome():
    async with app.serving(app.in_turn(app.answer(503), app.hang())) as server:
        async with sidecar({"/healthy": http_get(server.port)}, max_connections="4", min_interval="0.01") as caller:
            assert (await caller.get()).status == 503
            await asyncio.sleep(0.02)
            waiting = []
            for number in range(1, 7):
                waiting.append(asyncio.create_task(caller.get()))
                while (await caller.metrics())['healthproxy_shared_answers_total{probe="/healthy"}'] < number - 1:
                    await asyncio.sleep(0.001)
            answers = [answer.status for answer in await asyncio.gather(*waiting)]
            assert (await caller.metrics())[EVICTED] == 0
    assert answers == [503, 503, 504, 504, 504, 504]


async def test_a_source_that_takes_every_place_loses_its_own_and_not_another_sources():
    async with app.serving(app.by_path({"/slow": app.after(0.2, app.answer())})) as server:
        async with sidecar({"/slow": http_get(server.port, "/slow")}, listen=":0", max_connections="8") as kubelet:
            probe = asyncio.create_task(kubelet.get("/slow"))
            while server.connections == 0:
                await asyncio.sleep(0.001)
            flood = Caller("127.0.0.2", kubelet.open_port, kubelet.admin_port, source="127.0.0.2")
            crowd = [asyncio.create_task(flood.send(b"GET /slow HTTP/1.0\r\n\r\n")) for _ in range(50)]
            assert (await probe).status == 200
            assert (await kubelet.metrics())[EVICTED] >= 42
            await asyncio.gather(*crowd, return_exceptions=True)


async def test_a_connection_that_has_ended_is_gone_without_the_garbage_collector():
    connections = Connections(Bounds(8, 5.0), lambda connection: connection.refuse, lambda *_: None)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    gc.collect()  # what other tests left
    gc.disable()
    try:
        with connections.serving([listener]):
            with socket.create_connection(listener.getsockname()):
                while not connections:
                    await asyncio.sleep(0.001)
            while connections:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0)
            assert not [known for known in gc.get_objects() if isinstance(known, Connection)]
    finally:
        gc.enable()
        connections.stop_listening()


async def test_all_connections_are_forgotten_when_they_end():
    async with app.serving(app.answer()) as server, sidecar({"/healthy": http_get(server.port)}, **HELD) as caller:
        held = await hold(caller, 3)
        for request in (b"GET /healthy HTTP/1.0\r\n\r\n", b"GET /nothing HTTP/1.0\r\n\r\n", b"garbage\r\n\r\n"):
            await caller.send(request)
        let_go(held)
        async with asyncio.timeout(2):
            while (await caller.metrics())["healthproxy_open_connections"]:
                await asyncio.sleep(0.01)


async def test_a_refused_caller_reads_his_answer_though_he_still_sends():
    with app.closed_port() as port:
        async with sidecar({"/healthy": http_get(port)}, **HELD) as caller:
            reader, writer = await caller.connect()
            writer.write(b"POST /healthy HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n")
            for _ in range(50):
                writer.write(b"x" * 1000)
                await asyncio.sleep(0)
            assert (await reader.read()).startswith(b"HTTP/1.1 405 ")
            writer.transport.abort()


async def test_a_refused_caller_who_never_stops_sending_is_cut_off():
    with app.closed_port() as port:
        async with sidecar({"/healthy": http_get(port)}, header_timeout="5") as caller:
            _, writer = await caller.connect()
            writer.write(b"POST /healthy HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n")
            with pytest.raises(ConnectionError):
                async with asyncio.timeout(4):
                    while True:
                        writer.write(b"x" * 10_000)
                        await writer.drain()
            assert (await caller.metrics())["healthproxy_open_connections"] == 0


async def test_a_caller_who_resets_his_connection_leaves_nothing_behind():
    async with app.serving(app.after(0.02, app.answer())) as server, sidecar({"/healthy": http_get(server.port)}) as caller:
        for request in (b"", b"GET /hea", b"GET /healthy HTTP/1.0\r\n\r\n", b"GET /nothing HTTP/1.0\r\n\r\n"):
            _, writer = await caller.connect()
            writer.write(request)
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        async with asyncio.timeout(2):
            while (await caller.metrics())["healthproxy_open_connections"]:
                await asyncio.sleep(0.01)
        assert (await caller.get()).status == 200


async def test_however_many_wait_for_their_bytes_the_loop_has_one_descriptor_and_one_timer_for_them():
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    connections = Connections(Bounds(100, 5.0), lambda _: lambda _: None, lambda *_: None)
    with connections.serving([listener]), contextlib.ExitStack() as stack:
        before = len(loop._selector.get_map())  # type: ignore[attr-defined]
        for _ in range(50):
            stack.enter_context(socket.create_connection(listener.getsockname()))
        while len(connections) < 50:
            await asyncio.sleep(0)
        assert len(loop._selector.get_map()) == before  # type: ignore[attr-defined]
        assert len(loop._scheduled) == 1  # type: ignore[attr-defined]


async def test_after_a_bug_in_who_receives_his_bytes_a_callers_time_is_bounded_all_the_same(caplog):
    def on_open(connection: Connection):
        raise KeyError("bug")

    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    connections = Connections(Bounds(100, 0.05), on_open, lambda *_: None)
    with connections.serving([listener]), socket.create_connection(listener.getsockname()) as caller:
        caller.sendall(b"hello")
        while not connections:
            await asyncio.sleep(0.001)
        await until_nobody_is_left(connections)
    assert "bug" in caplog.text


async def test_callers_whose_answers_take_long_do_not_keep_the_loop_to_themselves():
    served: list[bytes] = []

    def on_open(connection: Connection):
        def receive(data: bytes) -> None:
            time.sleep(0.003)  # as a page of the admin port
            served.append(data)
            connection.finish(b"bye")

        return receive

    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(socket.create_connection(listener.getsockname())).sendall(b"hello")
        stack.enter_context(Connections(Bounds(100, 5.0), on_open, lambda *_: None).serving([listener]))
        in_turn = []
        while len(served) < 10:
            before = len(served)
            await asyncio.sleep(0)
            in_turn.append(len(served) - before)
    assert max(in_turn) == 1


@pytest.fixture
def _few_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("_few_files")
async def test_without_a_file_left_the_oldest_connection_makes_room_and_the_next_caller_is_served():
    served: list[bytes] = []
    refused: list[tuple[str, str]] = []

    def on_open(connection: Connection):
        def receive(data: bytes) -> None:
            served.append(data)
            connection.finish(b"bye")

        return receive

    connections = Connections(Bounds(100, 5.0), on_open, lambda *told: refused.append(told))
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    address = listener.getsockname()
    with connections.serving([listener]):
        silent = [socket.create_connection(address) for _ in range(5)]
        while len(connections) < 5:
            await asyncio.sleep(0.001)
        last = socket.create_connection(address)
        last.sendall(b"hello")
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (last.fileno(), hard))
        async with asyncio.timeout(2):
            while not served:
                await asyncio.sleep(0.001)
        assert served == [b"hello"]
        assert refused == [("evicted", "127.0.0.1")]
    for sock in (*silent, last):
        sock.close()


async def test_with_nobody_to_make_room_accepting_pauses_instead_of_spinning(caplog):
    caplog.set_level(logging.WARNING)
    connections = Connections(Bounds(100, 5.0), lambda _: lambda _: None, lambda *_: None)
    listener = _OutOfFiles()
    with connections.serving([listener]):
        await asyncio.sleep(0.03)
        assert listener.tries == 1
        assert "cannot accept a connection" in caplog.text
        await asyncio.sleep(0.04)
        assert listener.tries == 2


class _OutOfFiles(socket.socket):
    """A listener that is always readable and never has a descriptor to give: the one thing no real socket does at will."""

    def __init__(self) -> None:
        ours, self._theirs = socket.socketpair()
        self._theirs.send(b"x")
        super().__init__(fileno=ours.detach())
        self.tries = 0

    def accept(self):
        self.tries += 1
        raise OSError(errno.EMFILE, "Too many open files")

    def close(self) -> None:
        self._theirs.close()
        super().close()


LARGE = b"a" * 20_000_000
"""More than the kernel takes at once."""


@contextlib.contextmanager
def serving_a_large_answer(read_seconds: float):
    """Serve it to whoever sends anything; yield the connections and a caller who has."""

    def on_open(connection: Connection):
        def receive(_: bytes) -> None:
            connection.heard(lambda: None)
            connection.finish(LARGE)

        return receive

    connections = Connections(Bounds(8, 5.0, read_seconds), on_open, lambda *_: None)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    with connections.serving([listener]), socket.create_connection(listener.getsockname()) as caller:
        caller.sendall(b"hello")
        caller.setblocking(False)
        yield connections, caller


async def received(caller: socket.socket, wanted: int = len(LARGE) + 1) -> int:
    """Read to the end or until so much has come, and return how much that is."""
    count = 0
    async with asyncio.timeout(5):
        while count < wanted and (piece := await asyncio.get_running_loop().sock_recv(caller, 1 << 20)):
            count += len(piece)
    return count


async def until_nobody_is_left(connections: Connections) -> None:
    async with asyncio.timeout(5):
        while connections:
            await asyncio.sleep(0.001)


async def test_an_answer_larger_than_a_socket_holds_is_read_whole():
    with serving_a_large_answer(read_seconds=5) as (connections, caller):
        assert await received(caller) == len(LARGE)
        await until_nobody_is_left(connections)


async def test_who_does_not_read_a_large_answer_in_time_is_closed():
    with serving_a_large_answer(read_seconds=0.05) as (connections, caller):
        assert await received(caller, 1) > 0
        await until_nobody_is_left(connections)
        assert await received(caller) < len(LARGE)


async def test_who_leaves_while_he_reads_a_large_answer_is_forgotten():
    with serving_a_large_answer(read_seconds=5) as (connections, caller):
        assert await received(caller, 1) > 0
        caller.close()
        await until_nobody_is_left(connections)


async def test_without_time_to_read_it_an_answer_that_does_not_fit_ends_the_connection():
    with serving_a_large_answer(read_seconds=0) as (connections, caller):
        assert await received(caller) < len(LARGE)
        await until_nobody_is_left(connections)
