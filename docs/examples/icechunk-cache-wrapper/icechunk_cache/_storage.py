"""Around a storage: objects that never change are kept on disk, in blocks, as they are read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
from attrs import frozen

from icechunk_cache._files import BLOCK, Block, BlockFiles
from icechunk_cache._immutable import may_be_cached, never_changes
from icechunk_cache.plugin import CacheConfig
from icechunk_core.clock import datetime_from_us, us_from_datetime
from icechunk_core.contract import (
    Buffer,
    ByteRange,
    DeleteResult,
    ObjectInfo,
    Range,
    Storage,
    Version,
    resolve_range,
)
from icechunk_core.contract.errors import VersionMismatch

__all__ = ["cached"]

_NOT_A_PLACE = frozenset({"user_agent", "headers"})
"""Options that say who asks, not where."""


def cached(storage: Storage, config: CacheConfig) -> Storage:
    """The storage with a cache in front of it."""
    wrapper = _Cached(storage, BlockFiles(config.directory, config.size), config.size // 4)
    hooks: dict[str, Any] = {
        "get_range": wrapper.get_range,
        "put": wrapper.put,
        "delete": wrapper.delete,
    }
    if "copy" in storage.hook_names:
        hooks["copy"] = wrapper.copy
    return storage.with_hooks(**hooks)


@frozen
class _Known:
    """What the storage said about an object, as it stands in the files."""

    about: Mapping[str, Any]

    @classmethod
    def of(cls, info: ObjectInfo) -> _Known:
        version = None if info.version is None else info.version.token
        modified = us_from_datetime(info.last_modified)
        return cls(
            {
                "size": info.size,
                "version": version,
                "modified": modified,
                "metadata": dict(info.metadata),
                "etag": info.etag,
            }
        )

    @property
    def size(self) -> int:
        size: int = self.about["size"]
        return size

    @property
    def version(self) -> Version | None:
        token = self.about["version"]
        return None if token is None else Version(token)

    def info(self, key: str) -> ObjectInfo:
        modified = datetime_from_us(self.about["modified"])
        return ObjectInfo(key, self.size, self.version, modified, self.about["metadata"], self.about["etag"])


class _Cached:
    """The hooks. Arguments that the contract may get later are handed on as ``rest``."""

    def __init__(self, storage: Storage, files: BlockFiles, largest: int) -> None:
        self._storage, self._files, self._largest = storage, files, largest
        self._place = _place_of(storage)
        self._get = storage.hook("get_range")

    async def get_range(
        self, key: str, byte_range: ByteRange, if_version: Version | None, *rest: Any
    ) -> tuple[Buffer, ObjectInfo]:
        if not may_be_cached(key):
            return await self._ask(key, byte_range, if_version, rest)
        blocks = self._cached_blocks(key, byte_range)
        known = _same_object(blocks.values())
        if blocks and (known is None or if_version not in (None, known.version)):
            return await self._ask(key, byte_range, if_version, rest)
        if known is None:
            return await self._first(key, byte_range, if_version, rest)
        start, end = resolve_range(byte_range, known.size, key=key)
        missing = [number for number in _numbers(start, end) if number not in blocks]
        if missing:
            span = Range(missing[0] * BLOCK, (missing[-1] + 1) * BLOCK)
            try:
                data, info = await self._get(key, span, known.version, *rest)
            except VersionMismatch:
                self._files.forget(self._place, key)
                return await self._ask(key, byte_range, if_version, rest)
            blocks.update(self._kept(key, span.start, memoryview(data), _Known.of(info)))
            await self._make_room()
        return _cut(blocks, start, end), known.info(key)

    async def put(self, key: str, *arguments: Any) -> Version:
        version: Version = await self._storage.hook("put")(key, *arguments)
        self._forget([key])
        return version

    async def copy(self, source: str, target: str, *rest: Any) -> Version:
        version: Version = await self._storage.hook("copy")(source, target, *rest)
        self._forget([target])
        return version

    async def delete(self, keys: Sequence[str], *rest: Any) -> Sequence[DeleteResult]:
        self._forget(keys)
        results: Sequence[DeleteResult] = await self._storage.hook("delete")(keys, *rest)
        return results

    def _forget(self, keys: Iterable[str]) -> None:
        for key in filter(may_be_cached, keys):
            self._files.forget(self._place, key)

    async def _ask(
        self, key: str, byte_range: ByteRange, if_version: Version | None, rest: tuple[Any, ...]
    ) -> tuple[Buffer, ObjectInfo]:
        answer: tuple[Buffer, ObjectInfo] = await self._get(key, byte_range, if_version, *rest)
        return answer

    async def _first(
        self, key: str, byte_range: ByteRange, if_version: Version | None, rest: tuple[Any, ...]
    ) -> tuple[Buffer, ObjectInfo]:
        """Read an object of which nothing is here: whole blocks, in one request."""
        if byte_range is None:
            span = None
        elif isinstance(byte_range, Range) and 0 <= byte_range.start < byte_range.end:
            span = Range(byte_range.start // BLOCK * BLOCK, -(-byte_range.end // BLOCK) * BLOCK)
        else:
            return await self._ask(key, byte_range, if_version, rest)
        data, info = await self._ask(key, span, if_version, rest)
        begin = 0 if span is None else span.start
        start, end = resolve_range(byte_range, info.size, key=key)
        view = memoryview(data)
        if info.size <= self._largest:
            self._kept(key, begin, view, _Known.of(info))
            await self._make_room()
        return (data if byte_range is None else view[start - begin : end - begin]), info

    def _cached_blocks(self, key: str, byte_range: ByteRange) -> dict[int, Block]:
        """The blocks that are here, as far as can be told without the object's size."""
        blocks: dict[int, Block] = {}
        number, last = 0, None
        if isinstance(byte_range, Range) and 0 <= byte_range.start < byte_range.end:
            number, last = byte_range.start // BLOCK, (byte_range.end - 1) // BLOCK
        while last is None or number <= last:
            block = self._files.read(self._place, key, number)
            if block is not None:
                blocks[number] = block
                end = (int(block.about["size"]) - 1) // BLOCK
                last = end if last is None else min(last, end)
            elif last is None:
                break
            number += 1
        return blocks

    def _kept(self, key: str, begin: int, data: memoryview, known: _Known) -> dict[int, Block]:
        """Write whole blocks, of which the first begins at ``begin``; gives them."""
        found: dict[int, Block] = {}
        keep = never_changes(key, b"" if begin else bytes(data[:64]))
        for at in range(0, max(1, len(data)), BLOCK):
            number, part = (begin + at) // BLOCK, data[at : at + BLOCK]
            found[number] = Block(known.about, part)
            if keep:
                self._files.write(self._place, key, number, known.about, part)
        return found

    async def _make_room(self) -> None:
        if not self._files.is_due:
            return
        if self._storage.may_suspend:
            await asyncio.to_thread(self._files.make_room)
        else:
            self._files.make_room()


def _numbers(start: int, end: int) -> range:
    return range(start // BLOCK, max(start, end - 1) // BLOCK + 1)


def _same_object(blocks: Iterable[Block]) -> _Known | None:
    """What all blocks say of their object; ``None`` if they are of different versions, or there are none."""
    known = [block.about for block in blocks]
    return _Known(known[0]) if known and all(each == known[0] for each in known) else None


def _cut(blocks: Mapping[int, Block], start: int, end: int) -> Buffer:
    numbers = _numbers(start, end)
    first = numbers[0] * BLOCK
    if len(numbers) == 1:
        return blocks[numbers[0]].data[start - first : end - first]
    return memoryview(b"".join(blocks[number].data for number in numbers))[start - first : end - first]


def _place_of(storage: Storage) -> str:
    """What tells the objects of one storage from those of another: its configuration, without secrets."""
    config = storage.config
    shown: dict[str, Any] = {}
    if config is not None and attrs.has(type(config)):
        shown = {
            each.name: getattr(config, each.name)
            for each in attrs.fields(type(config))
            if each.repr and each.name not in _NOT_A_PLACE
        }
    return repr((storage.plugin, shown, storage.layers))
