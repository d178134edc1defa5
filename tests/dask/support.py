"""Repositories and workers for the tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import icechunk_core as ic
from tests.maintenance.support import keys

__all__ = ["Dropping", "Recording", "die", "objects_of", "processes", "threaded"]


@contextmanager
def processes(count: int = 1) -> Iterator[ProcessPoolExecutor]:
    """Workers that share nothing with this process."""
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        yield pool


def objects_of(root: Path) -> set[str]:
    """The keys of a repository in a directory."""
    return keys(root)


class _Beside(Executor):
    """Runs calls one by one on a thread, but is no pool of threads: it could be anywhere."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run it."""
        return self._thread.submit(fn, *args, **kwargs)


class Recording(_Beside):
    """Keeps what it was asked to call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run it, and remember it."""
        self.calls.append((fn, *args))
        return super().submit(fn, *args, **kwargs)


class Dropping(_Beside):
    """Cancels the first calls, as an executor does that lost what it was sent."""

    def __init__(self, drops: int) -> None:
        super().__init__()
        self.drops = drops

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Drop it, or run it."""
        if self.drops:
            self.drops -= 1
            dropped: Future[Any] = Future()
            dropped.cancel()
            dropped.set_running_or_notify_cancel()
            return dropped
        return super().submit(fn, *args, **kwargs)


def die(argument: Any) -> None:
    """What a process does that runs out of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def threaded(root: Path) -> ic.Repository:
    """The repository in a directory on a storage that suspends, as a network storage does."""
    return ic.Repository.open(f"file://{root}?threaded=true")
