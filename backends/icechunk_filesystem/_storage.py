"""The operations of filesystem storage: direct, and in worker threads."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import ParamSpec, TypeVar

from icechunk_core.clock import Clock
from icechunk_core.contract import (
    Always,
    AtomicityScope,
    Buffer,
    ByteRange,
    Capabilities,
    Condition,
    DeleteResult,
    EndTurn,
    IfVersion,
    KeySpace,
    ObjectInfo,
    Version,
    hookimpl,
)
from icechunk_core.contract.errors import Closed, ReadOnly, StorageConfigError, Unsupported
from icechunk_core.ids import IdSource, SystemIds
from icechunk_filesystem._config import FilesystemConfig
from icechunk_filesystem._directories import Directories
from icechunk_filesystem._listing import walk
from icechunk_filesystem._locks import KeyLocks
from icechunk_filesystem._paths import KeyCodec
from icechunk_filesystem._probe import Abilities, on_network, probe
from icechunk_filesystem._reading import Reader
from icechunk_filesystem._syncing import Syncer
from icechunk_filesystem._system import System
from icechunk_filesystem._temporary import TemporaryFiles
from icechunk_filesystem._turns import Turns
from icechunk_filesystem._versions import VersionRecords, digest_of
from icechunk_filesystem._writing import Writer

__all__ = ["CAPABILITIES", "FilesystemStorage", "ThreadedFilesystemStorage", "make_storage"]

P = ParamSpec("P")
T = TypeVar("T")

CAPABILITIES = Capabilities(
    create=True,
    update=True,
    atomicity=AtomicityScope.PROCESS,
    may_suspend=False,
    durable=True,
    fork_safe=True,
    key_space=KeySpace.TREE,
)
"""What a local filesystem has; an opened storage tells what was found."""

_PAGE = 1000


def make_storage(config: FilesystemConfig) -> FilesystemStorage:
    """The backend object for a configuration.

    Raises
    ------
    StorageConfigError
        If the root is there but is no directory.
    """
    if os.path.lexists(config.root) and not os.path.isdir(config.root):
        raise StorageConfigError(f"{config.root!r} is not a directory")
    threaded = config.threaded == "yes" or (config.threaded == "auto" and on_network(config.root))
    return ThreadedFilesystemStorage(config) if threaded else FilesystemStorage(config)


class FilesystemStorage:
    """A directory, used where it is called: never suspends, so any thread can drive it."""

    may_suspend = False

    def __init__(
        self,
        config: FilesystemConfig,
        *,
        system: System | None = None,
        ids: IdSource | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._config = config
        self._system = system if system is not None else System(clock)
        self._ids: IdSource = ids if ids is not None else SystemIds()
        self._directories = Directories(config.root, self._system)
        self._codec = KeyCodec(verbatim=config.verbatim)
        records = VersionRecords(self._directories, self._system, self._ids)
        self._reader = Reader(self._directories, self._codec, records, keep_open=not self.may_suspend)
        self._writer = Writer(
            self._directories,
            self._codec,
            records,
            TemporaryFiles(self._directories, self._system, self._ids),
            KeyLocks(self._directories, config.lock_timeout),
            self._system,
            durable=config.durable,
        )
        self._syncer = Syncer(self._directories, self._codec, self._system)
        self._turns = Turns(self._directories)
        self._found: Abilities | None = None
        self._closed = False

    @hookimpl
    def capabilities(self) -> Capabilities:
        found = self._abilities()
        locked = found.lock
        create = locked or found.link
        return Capabilities(
            create=create,
            update=locked,
            atomicity=AtomicityScope.PROCESS if create else AtomicityScope.NONE,
            may_suspend=self.may_suspend,
            durable=self._config.durable,
            fork_safe=True,
            read_only=not found.writable,
            key_space=KeySpace.TREE,
        )

    @hookimpl
    async def get_range(
        self, key: str, byte_range: ByteRange, if_version: Version | None
    ) -> tuple[Buffer, ObjectInfo]:
        if self._closed:
            raise self._is_closed()
        return self._reader.get_range(key, byte_range, if_version)

    @hookimpl
    async def head(self, key: str) -> ObjectInfo:
        self._check_open()
        return self._reader.head(key)

    @hookimpl
    async def put(
        self, key: str, data: Sequence[Buffer], condition: Condition, metadata: Mapping[str, str] | None
    ) -> Version:
        return self._put(key, data, condition, metadata)

    @hookimpl
    async def list(self, prefix: str, start_after: str | None) -> AsyncIterator[ObjectInfo]:
        self._check_open()
        for info in walk(self._directories, self._codec, prefix, start_after):
            yield info
            self._check_open()

    @hookimpl
    async def delete(self, keys: Sequence[str]) -> Sequence[DeleteResult]:
        self._check_writable()
        self._reader.forget(keys)
        return self._delete(keys)

    @hookimpl
    async def sync(self, keys: Sequence[str]) -> None:
        self._check_writable()
        if self._config.durable:
            self._syncer.sync(keys)

    @hookimpl
    async def take_turn(self, key: str, seconds: float) -> EndTurn | None:
        self._check_writable()
        return self._turns.take(digest_of(key), seconds)

    @hookimpl
    async def close(self) -> None:
        self._closed = True
        self._reader.close()

    def _put(
        self, key: str, data: Sequence[Buffer], condition: Condition, metadata: Mapping[str, str] | None
    ) -> Version:
        self._check_writable()
        if metadata:
            raise Unsupported("a directory keeps no user metadata with its files", key=key)
        if type(condition) is Always:
            return self._writer.put(key, data)
        found = self._abilities()
        if not (found.lock or (found.link and not isinstance(condition, IfVersion))):
            raise Unsupported(
                f"the filesystem of {self._config.root!r} has no file locks"
                + ("" if found.link else " and no hard links"),
                key=key,
            )
        return self._writer.put_if(key, data, condition, link=found.link, lock=found.lock)

    def _delete(self, keys: Sequence[str]) -> Sequence[DeleteResult]:
        return self._writer.delete(keys, lock=self._abilities().lock)

    def _abilities(self) -> Abilities:
        if self._found is None:
            if self._config.read_only:
                self._found = Abilities(writable=False, link=False, lock=False)
            else:
                self._found = probe(self._config.root, self._system, self._ids)
        return self._found

    def _check_open(self) -> None:
        if self._closed:
            raise self._is_closed()

    def _check_writable(self) -> None:
        self._check_open()
        if not (self._found or self._abilities()).writable:
            reason = "was opened read-only" if self._config.read_only else "cannot be written by this user"
            raise ReadOnly(f"the directory {self._config.root!r} {reason}")

    def _is_closed(self) -> Closed:
        return Closed(f"the storage on {self._config.root!r} was closed; open it again")


class ThreadedFilesystemStorage(FilesystemStorage):
    """A directory, used in worker threads: for slow disks and network filesystems."""

    may_suspend = True
    _workers: ThreadPoolExecutor | None = None
    _workers_of = 0

    @hookimpl
    async def get_range(
        self, key: str, byte_range: ByteRange, if_version: Version | None
    ) -> tuple[Buffer, ObjectInfo]:
        self._check_open()
        return await self._in_thread(self._reader.get_range, key, byte_range, if_version)

    @hookimpl
    async def head(self, key: str) -> ObjectInfo:
        self._check_open()
        return await self._in_thread(self._reader.head, key)

    @hookimpl
    async def put(
        self, key: str, data: Sequence[Buffer], condition: Condition, metadata: Mapping[str, str] | None
    ) -> Version:
        self._check_open()
        return await self._in_thread(self._put, key, data, condition, metadata)

    @hookimpl
    async def list(self, prefix: str, start_after: str | None) -> AsyncIterator[ObjectInfo]:
        self._check_open()
        items = walk(self._directories, self._codec, prefix, start_after)
        while page := await self._in_thread(_page, items):
            for info in page:
                yield info
                self._check_open()

    @hookimpl
    async def delete(self, keys: Sequence[str]) -> Sequence[DeleteResult]:
        self._check_open()
        self._check_writable()
        return await self._in_thread(self._delete, keys)

    @hookimpl
    async def sync(self, keys: Sequence[str]) -> None:
        self._check_writable()
        if self._config.durable:
            await self._in_thread(self._syncer.sync, keys)

    @hookimpl
    async def take_turn(self, key: str, seconds: float) -> EndTurn | None:
        self._check_writable()
        # Not in a worker thread: those who wait would take them from whose turn it is.
        return await self._turns.take_async(digest_of(key), seconds)

    @hookimpl
    async def close(self) -> None:
        self._closed = True
        workers, self._workers = self._workers, None
        if workers is not None and self._workers_of == os.getpid():
            workers.shutdown(wait=False)

    async def _in_thread(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        workers = self._workers
        if workers is None or self._workers_of != os.getpid():
            # Threads do not survive a fork.
            workers = ThreadPoolExecutor(int(self._config.threads), "icechunk-filesystem")
            self._workers, self._workers_of = workers, os.getpid()
        return await asyncio.get_running_loop().run_in_executor(workers, lambda: call(*args, **kwargs))


def _page(items: Iterator[ObjectInfo]) -> list[ObjectInfo]:
    return list(islice(items, _PAGE))
