"""Large ranges, read in parts side by side: one connection to Google does not fill a network."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from icechunk_core.contract import Buffer, ObjectInfo, Range, Version
from icechunk_core.contract.errors import VersionMismatch

__all__ = ["is_large", "read_in_parts"]

_WORTH = 4
"""Parts that a read must have to be split."""

ReadPart = Callable[[Range, Version | None], Awaitable[tuple[Buffer, ObjectInfo]]]


def is_large(wanted: Range, part: int) -> bool:
    """Whether a range is worth several requests of so many bytes."""
    return wanted.end - wanted.start > _WORTH * part


async def read_in_parts(
    read: ReadPart, wanted: Range, if_version: Version | None, *, size: int, parallel: int
) -> tuple[bytearray, ObjectInfo]:
    """A range of one version of an object.

    The first part tells the version, and the others insist on it. If the object is replaced meanwhile
    and any version will do, it is read again in one request.

    Parameters
    ----------
    read
        Reads one part; raises `VersionMismatch` if the object has another version than it is given.
    size, parallel
        Bytes of a part, and how many parts are under way at a time.
    """
    start = wanted.start
    first, info = await read(Range(start, start + size), if_version)
    end = min(wanted.end, info.size)
    data = bytearray(end - start)
    data[: len(first)] = first

    slots = asyncio.Semaphore(parallel)

    async def place(part: Range) -> None:
        async with slots:
            data[part.start - start : part.end - start], _ = await read(part, info.version)

    parts = [Range(at, min(at + size, end)) for at in range(start + len(first), end, size)]
    tasks = [asyncio.ensure_future(place(part)) for part in parts]
    try:
        await asyncio.gather(*tasks)
    except BaseException as error:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if if_version is None and isinstance(error, VersionMismatch):
            whole, info = await read(wanted, None)
            return bytearray(whole), info
        raise
    return data, info
