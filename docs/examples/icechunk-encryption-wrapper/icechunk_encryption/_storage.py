"""Around a storage: what is put is encrypted, what is read is decrypted, sizes are those of the plaintext."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from attrs import evolve, frozen

from icechunk_core.contract import (
    Buffer,
    ByteRange,
    From,
    ObjectInfo,
    Range,
    Storage,
    Version,
    resolve_range,
)
from icechunk_core.contract.errors import Corrupt, InvalidRange, Unsupported, VersionMismatch
from icechunk_encryption._frames import (
    FRAME,
    HEADER,
    Cipher,
    encrypt,
    frames_around,
    largest_plaintext,
    open_header,
    plain_size,
)
from icechunk_encryption._keys import Keys

__all__ = ["encrypted"]

_TRIES = 3
_HEADERS_KEPT = 10_000
_ANY_SIZE = 1 << 62


def encrypted(storage: Storage, keys: Keys) -> Storage:
    """The storage with everything in it encrypted."""
    able = storage.capabilities
    largest = able.max_object_size
    wrapper = _Encrypted(storage, keys)
    hooks: dict[str, Any] = {
        "get_range": wrapper.get_range,
        "put": wrapper.put,
        "head": wrapper.head,
        "list": wrapper.list,
    }
    if "copy" in storage.hook_names:
        hooks["copy"] = wrapper.copy
    return storage.with_hooks(
        evolve(
            able,
            # A frame's tag covers the object's name: the core copies by reading and writing.
            copy=False,
            suffix_range=True,
            # No two writes have the same bytes, so that even hashes of the content are unique.
            unique_versions=True,
            max_object_size=None if largest is None else largest_plaintext(largest),
        ),
        **hooks,
    )


@frozen
class _Opened:
    """A header that was read, and of which version of the object."""

    version: Version
    cipher: Cipher


class _Encrypted:
    """The hooks. Arguments that the contract may get later are handed on as ``rest``."""

    def __init__(self, storage: Storage, keys: Keys) -> None:
        self._keys = keys
        self._get, self._put = storage.hook("get_range"), storage.hook("put")
        self._head, self._list = storage.hook("head"), storage.hook("list")
        # Saves a request for each further part of an object. Only ever used for the version that the
        # header was read from, which the storage compares.
        self._opened: dict[str, _Opened] = {}

    async def put(self, key: str, data: Sequence[Buffer], *rest: Any) -> Version:
        version: Version = await self._put(key, encrypt(self._keys, key, data), *rest)
        return version

    async def head(self, key: str, *rest: Any) -> ObjectInfo:
        info: ObjectInfo = await self._head(key, *rest)
        size = plain_size(info.size)
        if size is None:
            raise Corrupt("not encrypted by this wrapper, or cut off", object_name=key)
        return evolve(info, size=size)

    async def list(self, *arguments: Any) -> AsyncGenerator[ObjectInfo, None]:
        async with aclosing(self._list(*arguments)) as items:
            async for info in items:
                # Something else among the objects is no reason to list none; who reads it is told.
                yield evolve(info, size=plain_size(info.size) or 0)

    async def copy(self, *_: Any) -> Version:
        raise Unsupported("encrypted objects are copied by reading and writing them")

    async def get_range(
        self, key: str, byte_range: ByteRange, if_version: Version | None, *rest: Any
    ) -> tuple[Buffer, ObjectInfo]:
        if byte_range is None or (isinstance(byte_range, From) and 0 <= byte_range.offset < FRAME):
            return await self._whole(key, byte_range, if_version, rest)
        resolve_range(byte_range, _ANY_SIZE, key=key)  # refuses ranges that no object has
        for _ in range(_TRIES):
            remembered = key in self._opened
            try:
                return await self._part(key, byte_range, if_version, rest)
            except (VersionMismatch, InvalidRange) as error:
                self._opened.pop(key, None)
                # What was remembered may be of another version, and that one of another size.
                if not remembered and (if_version is not None or isinstance(error, InvalidRange)):
                    raise
        # Overwritten again and again between two requests: one request for all of it has one version.
        return await self._whole(key, byte_range, if_version, rest)

    async def _whole(
        self, key: str, byte_range: ByteRange, if_version: Version | None, rest: tuple[Any, ...]
    ) -> tuple[Buffer, ObjectInfo]:
        data, info = await self._get(key, None, if_version, *rest)
        stored = memoryview(data)
        cipher = open_header(self._keys, key, bytes(stored[:HEADER]), len(stored))
        start, end = resolve_range(byte_range, cipher.length, key=key)
        return _joined(key, cipher.decrypt(stored[HEADER:], 0), start, end), evolve(info, size=cipher.length)

    async def _part(
        self, key: str, byte_range: ByteRange, if_version: Version | None, rest: tuple[Any, ...]
    ) -> tuple[Buffer, ObjectInfo]:
        known = self._opened.get(key)
        if known is None or if_version not in (None, known.version):
            at_once = isinstance(byte_range, Range) and byte_range.start < FRAME
            end = frames_around(0, byte_range.end)[2] if at_once and isinstance(byte_range, Range) else HEADER
            stored, info = await self._begin(key, Range(0, end), if_version, rest)
            cipher = open_header(self._keys, key, bytes(stored[:HEADER]), info.size)
            self._remember(key, info, cipher)
            if at_once:
                start, end = resolve_range(byte_range, cipher.length, key=key)
                return _joined(key, cipher.decrypt(stored[HEADER:], 0), start, end), evolve(
                    info, size=cipher.length
                )
            version = info.version
        else:
            cipher, version = known.cipher, known.version
        start, end = resolve_range(byte_range, cipher.length, key=key)
        first, begin, stop = frames_around(start, end)
        data, info = await self._get(key, Range(begin, stop), version, *rest)
        plain = cipher.decrypt(memoryview(data), first)
        return _joined(key, plain, start - first * FRAME, end - first * FRAME), evolve(
            info, size=cipher.length
        )

    async def _begin(
        self, key: str, byte_range: Range, if_version: Version | None, rest: tuple[Any, ...]
    ) -> tuple[memoryview, ObjectInfo]:
        try:
            data, info = await self._get(key, byte_range, if_version, *rest)
        except InvalidRange as error:
            raise Corrupt("empty, and so not encrypted by this wrapper", object_name=key) from error
        return memoryview(data), info

    def _remember(self, key: str, info: ObjectInfo, cipher: Cipher) -> None:
        if info.version is None:
            return
        if len(self._opened) >= _HEADERS_KEPT:
            # No lock: a forked child could inherit it locked. Whoever comes second starts anew too.
            self._opened = {}
        self._opened[key] = _Opened(info.version, cipher)


def _joined(key: str, frames: Sequence[bytes], start: int, end: int) -> Buffer:
    data = frames[0] if len(frames) == 1 else b"".join(frames)
    if len(data) < end:
        raise Corrupt("the storage gave less of it than it was asked for", object_name=key)
    return data if start == 0 and end == len(data) else memoryview(data)[start:end]
