"""Small arrays in stores."""

from __future__ import annotations

from typing import Any

import numpy as np
import zarr
from zarr.core.buffer import cpu

from icechunk_core import IcechunkStore

__all__ = ["committed", "make_array", "values", "write", "write_chunk"]


def make_array(store: IcechunkStore, name: str = "x") -> zarr.Array[Any]:
    """An array of 4 integers in chunks of 1, all zero."""
    return zarr.create_array(
        store, name=name, shape=(4,), chunks=(1,), dtype="<i4", fill_value=0, compressors=None
    )


def write(store: IcechunkStore, at: int, value: int, name: str = "x") -> None:
    """Set one integer, which is one chunk."""
    zarr.open_array(store, path=name, mode="r+")[at] = value


def values(store: IcechunkStore, name: str = "x") -> list[int]:
    """All integers of an array."""
    return [int(value) for value in np.asarray(zarr.open_array(store, path=name, mode="r")[:])]


def committed(store: IcechunkStore, value: int) -> str:
    """Write the first integer and commit; gives the snapshot's id."""
    write(store, 0, value)
    return store.commit(f"value {value}")


def write_chunk(store: IcechunkStore, key: str = "x/c/0", data: bytes = b"1234") -> None:
    """Store the bytes of a chunk; zarr itself would not even try on a read-only store."""
    store.set_sync(key, cpu.Buffer.from_bytes(data))
