"""The files of a cache: blocks of objects, each with a checksum, written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen
from filelock import FileLock, Timeout

from icechunk_core.clock import Clock, SystemClock
from icechunk_core.contract.errors import StorageConfigError
from icechunk_core.ids import SystemIds

__all__ = ["BLOCK", "Block", "BlockFiles"]

BLOCK = 256 << 10
"""Bytes of an object in one file; the last one has less."""

_PREFIX = struct.Struct(">8sII")  # magic, checksum of what follows it, length of the description
_MAGIC = b"ICCACHE1"
_ON_DISK = 4096  # files take whole pages
_PAUSE_S = 60.0
_FRESH_US = 60_000_000
_ABANDONED_US = 3_600_000_000

_log = logging.getLogger("icechunk_cache")


@frozen
class Block:
    """What one file holds: a block of an object, and what the storage said about that object."""

    about: Mapping[str, Any]
    data: memoryview


class BlockFiles:
    """A directory of blocks, shared by threads and processes, of bounded size.

    Parameters
    ----------
    directory
        Made if it is not there, for this user only.
    size
        Bytes that the files may take.
    """

    def __init__(self, directory: Path, size: int, *, clock: Clock | None = None) -> None:
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StorageConfigError(
                f"cannot make the cache directory {directory} ({type(error).__name__}); "
                "choose another one with the option 'cached.directory'"
            ) from error
        self._directory, self._size = directory, size
        self._clock = clock if clock is not None else SystemClock()
        # What this process wrote since the files were last counted. Begins as if that were due.
        self._added = size
        self._resume = 0.0

    def path(self, place: str, key: str, number: int) -> Path:
        """The file of a block of an object in a storage."""
        name = hashlib.sha256(f"{place}\0{key}".encode("utf-8", "surrogatepass")).hexdigest()
        return self._directory / name[:2] / f"{name[2:42]}.{number}"

    def read(self, place: str, key: str, number: int) -> Block | None:
        """A block, or ``None`` if it is not there, or not as it was written: then its file goes."""
        path = self.path(place, key, number)
        try:
            with path.open("rb", buffering=0) as file:
                content = file.read()
                age_us = self._clock.now_us() - os.fstat(file.fileno()).st_mtime_ns // 1000
            block = _parsed(content, key, number)
            if block is None:
                _log.warning("the cached file %s is damaged, and is removed", path)
                path.unlink(missing_ok=True)
            elif age_us > _FRESH_US:
                os.utime(path)  # the oldest go first
        except OSError:
            return None
        return block

    def write(self, place: str, key: str, number: int, about: Mapping[str, Any], data: memoryview) -> None:
        """Keep a block. A failure, such as a full disk, only means that nothing is kept for a while."""
        if self._clock.monotonic() < self._resume:
            return
        path = self.path(place, key, number)
        temporary = path.with_name(f"{SystemIds().write_id()}.tmp")
        text = json.dumps({**about, "key": key, "block": number}).encode()
        checksum = zlib.crc32(data, zlib.crc32(text))
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with temporary.open("xb", buffering=0) as file:
                content = b"".join((_PREFIX.pack(_MAGIC, checksum, len(text)), text, data))
                if file.write(content) != len(content):
                    raise OSError("the disk took only a part of the file")
            temporary.replace(path)
        except OSError as error:
            self._resume = self._clock.monotonic() + _PAUSE_S
            _log.warning(
                "nothing is cached in %s for %.0f s: %s", self._directory, _PAUSE_S, error.strerror or error
            )
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            return
        self._added += _taken(len(content))

    def forget(self, place: str, key: str) -> None:
        """Remove all blocks of an object."""
        first = self.path(place, key, 0)
        with contextlib.suppress(OSError), os.scandir(first.parent) as entries:
            for entry in entries:
                if entry.name.startswith(f"{first.stem}."):
                    os.unlink(entry.path)

    @property
    def is_due(self) -> bool:
        """Whether `make_room` should be called: this process has added a 32nd of the size."""
        return self._added * 32 >= self._size

    def make_room(self) -> None:
        """Remove what was used longest ago, if the files take more than 7/8 of the size: down to 3/4.

        One process does so at a time; others go on.
        """
        try:
            with FileLock(self._directory / "lock", timeout=0):
                self._added = 0
                self._remove_oldest()
        except (Timeout, OSError):
            return

    def _remove_oldest(self) -> None:
        files = list(self._found())
        total = sum(size for _, size, _ in files)
        if total * 8 <= self._size * 7:
            return
        for _, size, path in sorted(files):
            if total * 4 <= self._size * 3:
                break
            with contextlib.suppress(OSError):
                os.unlink(path)
            total -= size

    def _found(self) -> Iterator[tuple[int, int, str]]:
        """Time of last use, bytes on disk and path of each block. Removes what killed writers left."""
        now_us = self._clock.now_us()
        for folder in self._directory.iterdir():
            if not folder.is_dir():
                continue
            for entry in os.scandir(folder):
                try:
                    status = entry.stat()
                    if entry.name.endswith(".tmp") and now_us - status.st_mtime_ns // 1000 > _ABANDONED_US:
                        os.unlink(entry.path)
                        continue
                except OSError:
                    continue  # somebody else removed it
                yield status.st_mtime_ns, _taken(status.st_size), entry.path


def _taken(size: int) -> int:
    return -(-size // _ON_DISK) * _ON_DISK


def _parsed(content: bytes, key: str, number: int) -> Block | None:
    if len(content) < _PREFIX.size:
        return None
    magic, checksum, length = _PREFIX.unpack_from(content)
    rest = memoryview(content)[_PREFIX.size :]
    if magic != _MAGIC or zlib.crc32(rest) != checksum or length > len(rest):
        return None
    about = json.loads(bytes(rest[:length]))
    if about.pop("key") != key or about.pop("block") != number:
        return None
    return Block(about, rest[length:])
