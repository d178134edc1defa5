"""Whatever the settings of packs, read ahead and caches, a session holds what was written to it."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from zarr.abc.store import RangeByteRequest
from zarr.core.buffer import cpu

import icechunk_core as ic
from icechunk_core.contract.wrappers import with_latency
from tests.interop.implementations import delete, get, put
from tests.packs.support import chunk, with_array
from tests.searching import examples

CHUNKS = 40
SIZES = (1, 2, 511, 512, 513, 599, 600, 601, 1_000, 1_001, 5_000, 5_001, 20_001)
"""At, just below and just above every limit that `opened` may set."""


def opened(random: Random) -> ic.Repository:
    """An empty repository with small limits, some of them zero, on a storage that suspends or not."""
    largest = random.choice([1, 513, 600, 1_000, 5_000])
    packs = ic.PackConfig(
        max_chunk_bytes=largest,
        target_bytes=max(largest, random.choice([1, 600, 1_000, 5_000, 20_000])),
        buffered_bytes=random.choice([0, 1, 1_000, 50_000]),
        over_read_bytes=random.choice([0, 1, 500, 5_000]),
        read_ahead_bytes=random.choice([0, 1, 700, 5_000]),
    )
    config = ic.RepositoryConfig(
        inline_chunk_threshold_bytes=random.choice([0, 512, 700]),
        caching=ic.CachingConfig(num_bytes_chunks=random.choice([0, 0, 1, 700, 5_000, 10**6])),
    )
    storage = ic.in_memory_storage()
    if random.random() < 0.5:
        storage = with_latency(storage, 0)
    return ic.Repository.create(storage, config, packs=packs if random.random() < 0.9 else False)


async def look(random: Random, session: ic.Session, model: dict[int, bytes]) -> None:
    """Read chunks and parts of them at the same time; one of the reads may be cancelled."""
    wanted = [random.randrange(CHUNKS) for _ in range(random.randrange(1, 20))]
    if random.random() < 0.5:
        wanted.sort()
    get_one = session.store.get
    reads = [asyncio.ensure_future(get_one(f"x/c/{n}", cpu.buffer_prototype)) for n in wanted]
    if random.random() < 0.3:
        await asyncio.sleep(0)
        random.choice(reads).cancel()
    for n, found in zip(wanted, await asyncio.gather(*reads, return_exceptions=True), strict=True):
        if not isinstance(found, asyncio.CancelledError):
            assert not isinstance(found, BaseException)
            assert (None if found is None else found.to_bytes()) == model.get(n)
    for n in wanted[:3]:
        if n in model:
            start = random.randrange(len(model[n]))
            part = RangeByteRequest(start, random.randrange(start, len(model[n])) + 1)
            value = await get_one(f"x/c/{n}", cpu.buffer_prototype, part)
            assert value is not None
            assert value.to_bytes() == model[n][part.start : part.end]


def change(random: Random, session: Any, model: dict[int, bytes]) -> None:
    """Write over chunks, delete some, read in between."""
    for _ in range(random.randrange(1, 30)):
        n, what = random.randrange(CHUNKS), random.random()
        if what < 0.6:
            model[n] = chunk(random.randrange(10**6), random.choice(SIZES))
            put(session, {f"x/c/{n}": model[n]})
        elif what < 0.7:
            delete(session, [f"x/c/{n}"])
            model.pop(n, None)
        else:
            asyncio.run(look(random, session, model))


def run_program(seed: int) -> None:
    """Change, commit, discard, fork and merge, repack and collect garbage; look at everything in between."""
    random = Random(seed)
    repo = opened(random)
    session: Any = with_array(repo)
    model: dict[int, bytes] = {}
    committed: dict[int, bytes] = {}
    for _ in range(random.randrange(2, 8)):
        change(random, session, model)
        what = random.random()
        if what < 0.5:
            session.commit("changes", allow_empty=True)
            committed = dict(model)
            if random.random() < 0.3:
                repo.repack("repacked", branch="main")
            if random.random() < 0.3:
                tip = repo.lookup_snapshot(repo.lookup_branch("main"))
                repo.garbage_collect(tip.written_at)
            session = repo.writable_session("main")
        elif what < 0.6:
            session.discard_changes()
            model = dict(committed)
        elif what < 0.75:
            fork = session.fork()
            change(random, fork, model)
            session.merge(fork)
        assert {n: get(session, f"x/c/{n}") for n in range(CHUNKS)} == {
            n: model.get(n) for n in range(CHUNKS)
        }


def test_any_settings() -> None:
    """Chunks at all limits, written, overwritten, deleted, read together and in part, whatever happens."""
    for seed in range(examples(25)):
        try:
            run_program(seed)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
