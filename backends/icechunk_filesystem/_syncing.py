"""Making files that were written survive power loss, several at once.

The disk serves waiting syncs together: eight take little longer than two. Nothing refers to these files
before all of them and their directories are synced, so the order does not matter.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from icechunk_filesystem._directories import Directories
from icechunk_filesystem._errors import translated
from icechunk_filesystem._paths import KeyCodec
from icechunk_filesystem._system import System

__all__ = ["Syncer"]

T = TypeVar("T")

_THREADS = 8

_guard = threading.Lock()
_workers: ThreadPoolExecutor | None = None


def _after_fork_in_child() -> None:
    # The parent's threads do not exist here.
    global _guard, _workers
    _guard = threading.Lock()
    _workers = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


class Syncer:
    """Syncs the objects of one storage."""

    def __init__(self, directories: Directories, codec: KeyCodec, system: System) -> None:
        self._base = directories.root.rstrip("/") + "/"
        self._directories = directories
        self._codec = codec
        self._system = system

    def sync(self, keys: Sequence[str]) -> None:
        """Each file, and each directory above one of them, once.

        Raises
        ------
        StorageError
            If the system could not sync one of them.
        """
        targets = {self._codec.path(key): key for key in keys}
        files = [_started(self._sync_file, key, target) for target, key in targets.items()]
        try:
            self._directories.sync({target.rpartition("/")[0] for target in targets}, each=_each)
        except OSError as error:
            raise translated(error, None) from error
        finally:
            wait(files)
        _raise_first(files)

    def _sync_file(self, key: str, target: str) -> None:
        try:
            self._system.sync_file(self._base + target)
        except OSError as error:
            raise translated(error, key, reading=True) from error


def _each(call: Callable[[T], None], items: Iterable[T]) -> None:
    """Call for each item, in threads; the first error is raised when all are through."""
    running = [_started(call, item) for item in items]
    wait(running)
    _raise_first(running)


def _raise_first(done: Iterable[Future[None]]) -> None:
    for each in done:
        each.result()


def _started(call: Callable[..., None], *arguments: object) -> Future[None]:
    global _workers
    try:
        with _guard:
            if _workers is None:
                _workers = ThreadPoolExecutor(_THREADS, "icechunk-filesystem-sync")
            return _workers.submit(call, *arguments)
    except RuntimeError:  # the interpreter is about to end, and starts no more threads
        done: Future[None] = Future()
        try:
            call(*arguments)
        except Exception as error:
            done.set_exception(error)
        else:
            done.set_result(None)
        return done
