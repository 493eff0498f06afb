"""Bytes and ends of time, for many callers at once by one descriptor and one timer."""

import asyncio
import contextlib
import functools
import socket
import time
from collections.abc import Iterator

from healthproxy.waits import Deadlines, Readers, is_readable


@contextlib.contextmanager
def pairs(number: int) -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """Connect so many sockets with each other."""
    with contextlib.ExitStack() as stack:
        yield [tuple(map(stack.enter_context, socket.socketpair())) for _ in range(number)]  # type: ignore[misc]


@contextlib.contextmanager
def watched() -> Iterator[Readers]:
    readers = Readers()
    asyncio.get_running_loop().add_reader(readers, readers.read)
    yield readers
    asyncio.get_running_loop().remove_reader(readers)
    readers.close()


async def turns_of_the_loop() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_each_is_read_when_it_has_bytes_or_has_ended_and_no_other_is():
    heard: list[tuple[int, bytes]] = []
    with pairs(3) as sockets, watched() as readers:
        for number, (near, _) in enumerate(sockets):
            readers.add(near.fileno(), functools.partial(receive, near, number, heard))
        sockets[1][1].send(b"hello")
        await turns_of_the_loop()
        assert heard == [(1, b"hello")]
        sockets[2][1].shutdown(socket.SHUT_WR)
        await turns_of_the_loop()
    assert set(heard[1:]) == {(2, b"")}


def receive(sock: socket.socket, number: int, heard: list[tuple[int, bytes]]) -> None:
    heard.append((number, sock.recv(10)))


async def test_who_takes_long_to_serve_leaves_the_others_to_the_next_turn():
    served: list[int] = []

    def serve(near: socket.socket, number: int) -> None:
        near.recv(10)
        served.append(number)
        time.sleep(0.003)  # as a page of the admin port

    with pairs(3) as sockets, watched() as readers:
        for number, (near, far) in enumerate(sockets):
            readers.add(near.fileno(), functools.partial(serve, near, number))
            far.send(b"hello")
        for turn in range(1, 4):
            readers.read()
            assert len(served) == turn
    assert set(served) == {0, 1, 2}


async def test_one_that_is_left_alone_is_not_read_though_it_has_bytes():
    with pairs(1) as [(near, far)], watched() as readers:
        readers.add(near.fileno(), functools.partial(receive, near, 0, []))
        readers.remove(near.fileno())
        far.send(b"hello")
        await turns_of_the_loop()
        assert near.recv(10) == b"hello"


async def test_one_that_is_removed_by_the_one_before_it_is_not_read():
    read: list[int] = []
    with pairs(2) as sockets, watched() as readers:

        def end_all(number: int) -> None:
            read.append(number)
            for near, _ in sockets:
                readers.remove(near.fileno())

        for number, (near, far) in enumerate(sockets):
            readers.add(near.fileno(), functools.partial(end_all, number))
            far.send(b"hello")
        await turns_of_the_loop()
    assert len(read) == 1


async def test_more_than_one_turn_holds_are_all_read():
    heard: list[tuple[int, bytes]] = []
    with pairs(200) as sockets, watched() as readers:
        for number, (near, far) in enumerate(sockets):
            readers.add(near.fileno(), functools.partial(receive, near, number, heard))
            far.send(b"x")
        async with asyncio.timeout(2):
            while len(heard) < len(sockets):
                await asyncio.sleep(0)
    assert sorted(heard) == [(number, b"x") for number in range(200)]


async def test_each_deadline_ends_in_its_time_and_a_removed_one_never():
    clock = asyncio.get_running_loop().time
    over: dict[int, float] = {}
    deadlines = Deadlines(0.06)
    started: dict[int, float] = {}

    def end(number: int) -> None:
        deadlines.remove(number)
        over[number] = clock() - started[number]

    for number in range(4):
        started[number] = clock()
        deadlines.add(number, functools.partial(end, number))
        await asyncio.sleep(0.01)
    deadlines.remove(1)
    async with asyncio.timeout(2):
        while len(over) < 3:
            await asyncio.sleep(0.001)
    assert list(over) == [0, 2, 3]
    assert all(0.06 <= took < 0.3 for took in over.values())


async def test_with_nobody_left_no_timer_wakes_the_loop():
    deadlines = Deadlines(60)
    deadlines.add(1, lambda: None)
    deadlines.add(2, lambda: None)
    timer = deadlines._timer
    assert timer is not None
    deadlines.remove(1)
    deadlines.remove(1)  # does no harm
    assert not timer.cancelled()
    deadlines.remove(2)
    assert timer.cancelled()


def test_a_listener_is_readable_while_somebody_waits_to_be_accepted():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert not is_readable(listener)
        with socket.create_connection(listener.getsockname()):
            assert is_readable(listener)
