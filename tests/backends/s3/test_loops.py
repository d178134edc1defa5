"""One client per event loop: closed in time, by whom ever; nothing is left open, in no process."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
from collections.abc import Coroutine
from typing import Any

import pytest

from icechunk_core.contract.errors import Closed
from icechunk_s3._loops import LoopClients
from tests.servers.s3 import S3Server


class Client:
    """Remembers where it was made and closed."""

    made: list[Client]

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.closed_in: list[asyncio.AbstractEventLoop] = []

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.closed_in.append(asyncio.get_running_loop())


@pytest.fixture
def made() -> list[Client]:
    """The clients made so far."""
    return []


@pytest.fixture
def clients(made: list[Client]) -> LoopClients[Client]:
    """What is tested, with an opener that takes a turn of the loop."""

    async def open_client() -> Client:
        await asyncio.sleep(0)
        made.append(Client())
        return made[-1]

    return LoopClients(open_client, "a bucket")


async def _together(clients: LoopClients[Client]) -> list[Client]:
    return await asyncio.gather(*(clients.get() for _ in range(10)))


def test_one_client_for_each_loop(clients: LoopClients[Client], made: list[Client]) -> None:
    """Many tasks of one loop share a client; each loop has its own, closed when that loop ends."""
    for number in range(3):
        assert len(set(map(id, asyncio.run(_together(clients))))) == 1
        assert len(made) == number + 1
    assert all(client.closed_in == [client.loop] for client in made)


async def test_close(clients: LoopClients[Client], made: list[Client]) -> None:
    """Closing closes the running loop's client, once; afterwards there is none."""
    await clients.get()
    await clients.close()
    await clients.close()
    assert made[0].closed_in == [asyncio.get_running_loop()]
    with pytest.raises(Closed, match="a bucket was closed; open it again"):
        await clients.get()


async def test_close_reaches_other_loops(clients: LoopClients[Client], made: list[Client]) -> None:
    """A client of another running loop is closed there."""
    used, closed = asyncio.Event(), asyncio.Event()
    here = asyncio.get_running_loop()

    async def elsewhere() -> None:
        await clients.get()
        here.call_soon_threadsafe(used.set)
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(closed.wait(), here))
        while not made[0].closed_in:
            await asyncio.sleep(0)

    other = asyncio.ensure_future(asyncio.to_thread(asyncio.run, elsewhere()))
    await used.wait()
    await clients.close()
    closed.set()
    await other
    assert made[0].closed_in == [made[0].loop]


async def test_forgotten_clients_are_closed(made: list[Client], clients: LoopClients[Client]) -> None:
    """Whoever drops a storage without closing it leaves nothing open."""
    del clients

    async def open_client() -> Client:
        made.append(Client())
        return made[-1]

    dropped = LoopClients(open_client, "a bucket")
    dropped.cycle = dropped  # type: ignore[attr-defined]  # only the collector finds it
    await dropped.get()
    del dropped
    gc.collect()
    for _ in range(5):
        await asyncio.sleep(0)
    assert made[0].closed_in == [made[0].loop]


async def test_a_failed_opening_is_tried_again() -> None:
    """The next caller opens a client where the first one could not."""
    attempts: list[int] = []

    async def open_client() -> Client:
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError
        return Client()

    clients = LoopClients(open_client, "a bucket")
    with pytest.raises(OSError):
        await clients.get()
    await clients.get()
    await clients.close()


PROGRAMS = {
    "forgotten in a loop of its own": """
        async def use():
            storage = open_it()
            await storage.put("key", b"x")
            print((await storage.get_range("key"))[0])
        asyncio.run(use())
    """,
    "forgotten in the library's own loop": """
        from icechunk_core.drive import run
        storage = open_it()
        run(storage.put("key", b"x"), may_suspend=True)
        print(run(storage.get_range("key"), may_suspend=True)[0])
    """,
    "in a loop that is never closed": """
        loop = asyncio.new_event_loop()
        storage = open_it()
        loop.run_until_complete(storage.put("key", b"x"))
        print(loop.run_until_complete(storage.get_range("key"))[0])
    """,
    "listed and left": """
        async def use():
            storage = open_it()
            await storage.put("key", b"x")
            async for info in storage.list():
                print(b"x")
                break
        asyncio.run(use())
    """,
    "in a forked child": """
        import os
        async def write(key):
            await storage.put(key, b"x")
            return (await storage.get_range(key))[0]
        storage = open_it()
        asyncio.run(write("parent"))
        loop = asyncio.new_event_loop()
        loop.run_until_complete(write("parent"))
        child = os.fork()
        if child == 0:
            asyncio.run(write("child"))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        loop.run_until_complete(write("parent"))
        print(asyncio.run(write("child")))
    """,
}


@pytest.mark.slow
@pytest.mark.parametrize("program", list(PROGRAMS.values()), ids=list(PROGRAMS))
def test_nothing_is_said_at_the_end(ministack: S3Server, program: str) -> None:
    """A program that closes nothing ends without a word: no unclosed session, no warning, no traceback."""
    options = {**ministack.options(), "bucket": ministack.new_bucket(), "scheme": "s3", "prefix": "p"}
    prelude = f"""
        import asyncio
        from icechunk_core.plugins import open_storage
        def open_it():
            return open_storage({options!r})
    """
    # The loop that a program does not close is its own; everything else would be ours.
    quiet = ["-W", "default", "-W", "ignore::DeprecationWarning", "-W", "ignore:unclosed event loop"]
    ended = subprocess.run(
        [sys.executable, *quiet, "-c", textwrap.dedent(prelude) + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "b'x'" in ended.stdout


def test_used_from_blocking_code(ministack: S3Server) -> None:
    """The blocking methods, and several loops in turn, share one storage object."""
    storage = ministack.storage(ministack.new_bucket(), "p")

    def use(operation: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run(operation)

    use(storage.put("key", b"x"))
    assert bytes(use(storage.get_range("key"))[0]) == b"x"
    assert storage.list_objects() == [("key", 1)]  # type: ignore[attr-defined]
    use(storage.close())
