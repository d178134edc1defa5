"""What worker processes do with forks that were sent to them."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from tests.session.support import put

__all__ = ["processes", "write_to_fork", "write_to_store"]


def processes(count: int) -> ProcessPoolExecutor:
    """Workers that share nothing with this process."""
    return ProcessPoolExecutor(count, mp_context=get_context("spawn"))


def write_to_fork(fork: Any, path: str, at: int, value: int) -> Any:
    """Write one element; gives the fork back."""
    put(fork, path, at, value)
    return fork


def write_to_store(store: Any, path: str, at: int, value: int) -> Any:
    """Write one element through a store; gives its session back."""
    put(store.session, path, at, value)
    return store.session
