"""Short ways to make, change and look at repositories; they work with the peer as well."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import zarr

FILL = -1


def create(ic: Any, root: Path, spec_version: int = 2, **options: Any) -> Any:
    """A new repository in a directory, made by either implementation."""
    storage = ic.local_filesystem_storage(str(root))
    return ic.Repository.create(storage, spec_version=getattr(ic.SpecVersion, f"v{spec_version}"), **options)


def reopen(ic: Any, root: Path, **options: Any) -> Any:
    """The repository in a directory, opened by either implementation."""
    return ic.Repository.open(ic.local_filesystem_storage(str(root)), **options)


def make_array(store: Any, name: str, size: int = 8, values: list[int] | None = None, **options: Any) -> Any:
    """An array of integers in chunks of one, the first ``values`` written."""
    array = zarr.create_array(
        store, name=name, shape=(size,), chunks=(1,), dtype="i4", fill_value=FILL, compressors=None, **options
    )
    if values:
        array[: len(values)] = np.array(values, dtype="i4")
    return array


def populate(repo: Any) -> Any:
    """``/g`` with ``a`` (0, 1, 2) and the group ``h``, and ``/b`` (7); committed."""
    session = repo.writable_session("main")
    zarr.create_group(session.store, path="g/h")
    make_array(session.store, "g/a", values=[0, 1, 2])
    make_array(session.store, "b", values=[7])
    session.commit("populated")
    return repo


def put(session: Any, path: str, at: int, value: int) -> None:
    """Write one element, which is one chunk."""
    zarr.open_array(session.store, path=path, mode="r+")[at] = value


def values(session: Any, path: str) -> Any:
    """All elements of an array."""
    found: Any = np.asarray(zarr.open_array(session.store, path=path, mode="r")[...]).tolist()
    return found


def paths(session: Any) -> list[str]:
    """Paths of all nodes, from the keys that the store lists."""

    async def collect() -> list[str]:
        keys = [key async for key in session.store.list()]
        return sorted("/" + key.removesuffix("zarr.json").strip("/") for key in keys if "zarr.json" in key)

    return asyncio.run(collect())


def delete_dir(session: Any, path: str) -> None:
    """Delete a node with all below it."""
    asyncio.run(session.store.delete_dir(path))


def tip(repo: Any) -> Any:
    """A session that reads ``main``."""
    return repo.readonly_session("main")
