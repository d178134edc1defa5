"""Temporary files: every object is written whole beside the keys, then published in one step.

They live in ``<root>/.icechunk-core/tmp`` and are named ``<key digest>.<unique>.<kind>``.
What killed writers leave there disturbs nobody, and the first write of a later storage
removes it once it is a day old by the filesystem's clock.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from contextlib import suppress

from icechunk_core.contract import Buffer
from icechunk_core.ids import IdSource
from icechunk_filesystem._directories import Directories
from icechunk_filesystem._paths import HIDDEN
from icechunk_filesystem._system import System
from icechunk_filesystem._versions import stamp

__all__ = ["ABANDONED_AFTER_SECONDS", "PLAIN", "UNDER_LOCK", "TemporaryFiles"]

ABANDONED_AFTER_SECONDS = 24 * 3600

PLAIN = "a"
"""Kind of file that is published without the key's lock."""
UNDER_LOCK = "c"
"""Kind of file that is published under the key's lock."""

_STAMPS_OPEN_FILES = os.utime in os.supports_fd


class TemporaryFiles:
    """Writes temporary files of one storage."""

    def __init__(self, directories: Directories, system: System, ids: IdSource) -> None:
        self.directory = f"{HIDDEN}/tmp"
        self._directories = directories
        self._path = directories.absolute(self.directory)
        self._system = system
        self._ids = ids
        self._unique = ids.object_id().hex()
        self._count = itertools.count()
        self._cleaned = False

    def write(
        self, digest: str, data: Sequence[Buffer], kind: str, *, sync: bool
    ) -> tuple[str, os.stat_result]:
        """A complete file with the data, its path and status; its time carries random digits."""
        path, descriptor = self._create(digest, kind)
        closed = False
        try:
            system = self._system
            for buffer in data:
                self._write_all(descriptor, buffer)
            status = os.fstat(descriptor)
            mtime = stamp(status.st_mtime_ns, self._ids.uniform(), marked=kind == UNDER_LOCK)
            if _STAMPS_OPEN_FILES:
                system.set_mtime(descriptor, mtime)
                status = os.fstat(descriptor)
            if sync:
                system.sync_descriptor(descriptor, path)
            closed = True
            os.close(descriptor)
            if not _STAMPS_OPEN_FILES:
                # Windows sets the time once more when a written file is closed.
                system.set_mtime(path, mtime)
                status = os.lstat(path)
        except BaseException:
            if not closed:
                os.close(descriptor)
            self.discard(path)
            raise
        if not self._cleaned:
            self._clean(status.st_mtime_ns)
        return path, status

    def discard(self, path: str) -> None:
        """Remove a file that was not published."""
        with suppress(OSError):
            self._system.unlink(path)

    def withdraw(self, digest: str) -> None:
        """Remove the key's files that are about to be published without its lock.

        Their writers find them gone, start again, and take the lock.
        """
        for name in self._names():
            if name.startswith(f"{digest}.") and name.endswith(f".{PLAIN}"):
                with suppress(FileNotFoundError):
                    self._system.unlink(f"{self._path}/{name}")

    def _create(self, digest: str, kind: str) -> tuple[str, int]:
        while True:
            # The process id tells a forked child's files from its parent's.
            name = f"{digest}.{self._unique}{os.getpid():x}-{next(self._count):x}.{kind}"
            path = f"{self._path}/{name}"
            try:
                if self.directory not in self._directories.known:
                    self._directories.ensure(self.directory)
                return path, self._system.create(path)
            except FileExistsError:
                continue
            except FileNotFoundError:
                # The hidden directory was removed under us.
                self._directories.forget(self.directory)
                self._directories.ensure(self.directory)

    def _write_all(self, descriptor: int, buffer: Buffer) -> None:
        if isinstance(buffer, memoryview):
            buffer = buffer.cast("B") if buffer.c_contiguous else bytes(buffer)
        written = self._system.write(descriptor, buffer)
        if written < len(buffer):
            rest = memoryview(buffer)[written:]
            while rest:
                rest = rest[self._system.write(descriptor, rest) :]

    def _names(self) -> list[str]:
        try:
            return os.listdir(self._path)
        except FileNotFoundError:
            return []

    def _clean(self, now_ns: int) -> None:
        self._cleaned = True
        oldest = now_ns - ABANDONED_AFTER_SECONDS * 1_000_000_000
        for name in self._names():
            path = f"{self._path}/{name}"
            with suppress(OSError):
                if os.lstat(path).st_mtime_ns < oldest:
                    self._system.unlink(path)
