"""What other processes do with a store that was sent to them."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import zarr

from icechunk_core import IcechunkStore
from tests.classic.helpers import make_array, values, write

__all__ = ["add_array", "in_processes", "show", "use_error", "write_chunk_of"]


def write_chunk_of(store: IcechunkStore, at: int, value: int) -> bytes:
    """Set one integer; gives the changes."""
    write(store, at, value)
    return store.change_set_bytes()


def add_array(store: IcechunkStore, name: str, value: int) -> bytes:
    """Make an array with a first integer; gives the changes."""
    make_array(store, name)
    write(store, 0, value, name)
    return store.change_set_bytes()


def show(store: IcechunkStore) -> tuple[bool, bool, list[int]]:
    """Whether the store is read-only, whether it has changes, and what is in its array."""
    return store.read_only, store.has_uncommitted_changes, values(store)


def use_error(pickled: bytes) -> str:
    """What using a pickled store says."""
    store = pickle.loads(pickled)
    try:
        zarr.open_group(store, mode="r")
    except Exception as error:
        return str(error)
    return ""


def in_processes(function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The results of the calls, each in one of two fresh processes."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        return [future.result() for future in [pool.submit(function, *call) for call in calls]]
