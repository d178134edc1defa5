"""One lock per key, between the threads of a process and between processes.

Between processes it is a lock of the operating system (`filelock`), which the system
itself frees when its holder dies. Lock files stay where they are; there are at most 256
of them, and keys whose digests begin alike share one.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import filelock

from icechunk_core.contract.errors import Unavailable, Unsupported
from icechunk_filesystem._directories import Directories
from icechunk_filesystem._paths import HIDDEN

__all__ = ["KeyLocks", "native_lock"]

_POLL_SECONDS = 0.001

_guard = threading.Lock()
_in_process: weakref.WeakValueDictionary[str, _Lock] = weakref.WeakValueDictionary()


class _Lock:
    """A thread lock that can be weakly referred to on every Python."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


def _after_fork_in_child() -> None:
    # Threads that hold these locks do not exist in the child.
    global _guard, _in_process
    _guard = threading.Lock()
    _in_process = weakref.WeakValueDictionary()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def native_lock(path: str, timeout: float) -> filelock.BaseFileLock:
    """A lock of the operating system on that file, not yet taken."""
    return filelock.FileLock(path, timeout=timeout, thread_local=False)


class KeyLocks:
    """The locks of one storage."""

    def __init__(self, directories: Directories, timeout: float) -> None:
        self._directory = f"{HIDDEN}/locks"
        self._directories = directories
        self._path = directories.absolute(self._directory)
        self._timeout = timeout

    def name_of(self, digest: str) -> str:
        """The lock of a key, by the key's digest; keys of the same name share it."""
        return digest[:2]

    @contextmanager
    def hold(self, digest: str, key: str) -> Iterator[None]:
        """Be the only writer of the key.

        Raises
        ------
        Unavailable
            If other writers hold it longer than the timeout.
        Unsupported
            If the filesystem has no locks.
        """
        path = f"{self._path}/{self.name_of(digest)}.lock"
        with _guard:
            mine = _in_process.get(path)
            if mine is None:
                mine = _in_process[path] = _Lock()
        # First among the threads of this process: they wait in a queue, only one of them polls.
        if not mine.lock.acquire(timeout=self._timeout):
            raise self._gave_up(key)
        try:
            self._directories.ensure(self._directory)
            lock = native_lock(path, self._timeout)
            try:
                lock.acquire(poll_interval=_POLL_SECONDS)
            except filelock.Timeout:
                raise self._gave_up(key) from None
            try:
                if isinstance(lock, filelock.SoftFileLock):
                    # A lock that nobody frees when its holder dies is none.
                    raise Unsupported("the filesystem has no file locks", key=key)
                yield
            finally:
                lock.release()
        finally:
            mine.lock.release()

    def _gave_up(self, key: str) -> Unavailable:
        return Unavailable(
            f"object {key!r}: other writers held its lock for {self._timeout:g} s; nothing was written. "
            "Repeat, or raise the option 'lock_timeout'",
            key=key,
        )
