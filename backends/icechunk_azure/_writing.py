"""Writes: small objects in one request, large ones as blocks that are committed under the condition."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from icechunk_azure._errors import BLOCKS_GONE, Failed
from icechunk_azure._parallel import in_parallel
from icechunk_azure._reading import Run
from icechunk_azure._wire import PutOptions, Wire
from icechunk_core.contract import Buffer, as_one, joined
from icechunk_core.contract.errors import RateLimited
from icechunk_core.ids import IdSource

__all__ = ["Writer"]

_ATTEMPTS = 4
_MOST_BLOCKS = 50_000


class Writer:
    """Writes blobs, whole or not at all.

    Parameters
    ----------
    single_put
        Bytes up to which an object is one request.
    block_size, parallel
        Bytes of a block, and blocks of one object that are under way at once.
    """

    def __init__(self, run: Run, ids: IdSource, single_put: int, block_size: int, parallel: int) -> None:
        self._run = run
        self._ids = ids
        self._single_put = single_put
        self._block_size = block_size
        self._parallel = parallel

    async def write(self, name: str, key: str, data: Sequence[Buffer], options: PutOptions) -> str:
        """Write a blob under the conditions; its ETag.

        Raises
        ------
        AlreadyExists, VersionMismatch
            The condition does not hold.
        """
        size = sum(memoryview(buffer).nbytes for buffer in data)
        if size > self._single_put:
            return await self._blocks(name, key, data, size, options)
        body = as_one(data)
        repeatable = not options.conditions.any
        return await self._run(lambda wire: wire.put(name, key, body, options), repeatable=repeatable)

    async def _blocks(
        self, name: str, key: str, data: Sequence[Buffer], size: int, options: PutOptions
    ) -> str:
        """Stage blocks in parallel, then commit them in one conditional request.

        Staged blocks belong to the blob's name, and any write of that name discards them all. Then
        the object is staged anew: the condition decides on the next commit who was first.
        """
        block_size = max(self._block_size, -(-size // _MOST_BLOCKS))
        for attempt in range(_ATTEMPTS):
            nonce = self._ids.object_id().hex()
            blocks = list(_divided(data, block_size))
            names = [_block_id(number, nonce) for number in range(len(blocks))]
            stage = [self._stage(name, key, *each) for each in zip(names, blocks, strict=True)]
            await in_parallel(stage, self._parallel)
            try:
                return await self._run(
                    partial(_commit, name=name, key=key, blocks=names, options=options),
                    repeatable=not options.conditions.any,
                )
            except _BlocksGone:
                if attempt == _ATTEMPTS - 1:
                    break
        raise RateLimited(
            f"object {key!r}: other writers discarded the blocks of this one {_ATTEMPTS} times; repeat",
            key=key,
        )

    def _stage(
        self, name: str, key: str, block: str, parts: list[memoryview]
    ) -> Callable[[], Awaitable[None]]:
        async def stage() -> None:
            body = joined(parts)
            await self._run(lambda wire: wire.stage(name, key, block, body))

        return stage


class _BlocksGone(Exception):
    """The staged blocks are not there any more."""


async def _commit(wire: Wire, name: str, key: str, blocks: Sequence[str], options: PutOptions) -> str:
    try:
        return await wire.commit(name, key, blocks, options)
    except Failed as failed:
        if failed.code == BLOCKS_GONE:
            raise _BlocksGone from failed
        raise


def _block_id(number: int, nonce: str) -> str:
    """The id of a block: those of one blob are equally long, and unique to this upload."""
    return base64.b64encode(f"{nonce}-{number:06d}".encode()).decode()


def _divided(data: Sequence[Buffer], block_size: int) -> list[list[memoryview]]:
    """The buffers as blocks of one size, each a list of slices; nothing is copied."""
    blocks: list[list[memoryview]] = [[]]
    room = block_size
    for buffer in data:
        view = memoryview(buffer).cast("B")
        while len(view):
            if room == 0:
                blocks.append([])
                room = block_size
            piece, view = view[:room], view[room:]
            blocks[-1].append(piece)
            room -= len(piece)
    return blocks
