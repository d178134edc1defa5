"""What the processes of the race tests run; importable, so that they can be spawned."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from icechunk_core.contract import IF_ABSENT, Buffer, IfVersion, Storage
from icechunk_core.contract.errors import AlreadyExists, NotFound, StorageError, VersionMismatch
from tests.backends.filesystem.support import now, open_at

SIZE = 40_000


def whole(number: int) -> bytes:
    """A body that shows whether it is in one piece: many copies of one number."""
    return number.to_bytes(8, "big") * (SIZE // 8)


def number_of(data: Buffer) -> int:
    """The number of a body; an error if it is not in one piece."""
    number = int.from_bytes(bytes(data[:8]), "big")
    if bytes(data) != whole(number):
        raise AssertionError(f"half an object: {len(data)} bytes")
    return number


def increment(storage: Storage, key: str) -> int:
    """Add one to the counter under a key by compare-and-swap; its new value."""
    while True:
        data, info = now(storage.get_range(key))
        assert info.version is not None
        number = number_of(data) + 1
        try:
            now(storage.put(key, whole(number), IfVersion(info.version)))
        except VersionMismatch:
            continue
        return number


def count(root: str, key: str, times: int, options: dict[str, Any]) -> list[int]:
    """Increment a counter; the values that this process reached."""
    storage = open_at(root, **options)
    return [increment(storage, key) for _ in range(times)]


def create(root: str, keys: list[str], identity: int) -> list[str]:
    """Try to create each key; those that this process created."""
    storage = open_at(root)
    won = []
    for key in keys:
        try:
            now(storage.put(key, whole(identity), IF_ABSENT))
        except AlreadyExists:
            continue
        won.append(key)
    return won


def count_for_ever(root: str, key: str, log: str) -> None:
    """Increment a counter and note every acknowledged value, until killed."""
    storage = open_at(root)
    with open(log, "ab", buffering=0) as acknowledged:
        while True:
            acknowledged.write(f"{increment(storage, key)}\n".encode())


def overwrite_for_ever(root: str, key: str) -> None:
    """Write the key again and again, until killed."""
    storage = open_at(root)
    number = os.getpid()
    while True:
        now(storage.put(key, whole(number)))
        number += 1


def watch(root: str, keys: list[str], times: int) -> int:
    """Read the keys many times; how many reads found an object. Half an object is an error."""
    storage = open_at(root)
    found = 0
    for turn in range(times):
        try:
            data, info = now(storage.get_range(keys[turn % len(keys)]))
        except NotFound:
            continue
        assert info.size == len(data) == SIZE
        number_of(data)
        found += 1
    return found


def count_in_threads_mode(root: str, key: str, times: int) -> int:
    """Increment a counter through a threaded storage, several at once."""
    storage = open_at(root, threaded=True)

    async def one() -> None:
        while True:
            data, info = await storage.get_range(key)
            assert info.version is not None
            try:
                await storage.put(key, whole(number_of(data) + 1), IfVersion(info.version))
            except VersionMismatch:
                continue
            return

    async def main() -> None:
        await asyncio.gather(*[one() for _ in range(times)])
        await storage.close()

    asyncio.run(main())
    return times


def temporary_files(root: Path) -> list[Path]:
    """What writers have under way, or left behind."""
    return list((root / ".icechunk-core" / "tmp").glob("*"))


def as_nobody(root: str, key: str) -> list[tuple[bool, str]]:
    """Write and read as a user without rights; per call: is it declared read-only, the error's kind."""
    storage = open_at(root)
    if os.geteuid() == 0:
        os.setuid(65534)
    outcomes = []
    for opened in (storage, open_at(root)):
        for call in (opened.put(key, b"x"), opened.get_range(key), opened.put(key, b"x", IF_ABSENT)):
            try:
                now(call)
                kind = ""
            except StorageError as error:
                kind = error.kind
            outcomes.append((opened.capabilities.read_only, kind))
    return outcomes
