"""Listing, measuring and deleting by prefix.

A directory (a normalized prefix, see `normalize_directory`) may hold three things: the
metadata and chunks of a node, the nodes below it, and, if it lies under the ``c`` of an
array, chunks. The functions here ask the session for exactly those.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

import numpy as np

from icechunk_core.store.keys import (
    METADATA_NAME,
    chunk_key,
    metadata_key,
    node_path,
    normalize_directory,
    parse_chunk_directory,
)

if TYPE_CHECKING:
    from icechunk_core.store.session_protocol import ChunkBatch, Coords, StoreSession

__all__ = ["delete_under", "has_keys", "keys_under", "keys_with_prefix", "names_in", "size_under"]

# Keys are made so many at a time: who stops early has not paid for all, who goes on pays little for each.
_KEYS_AT_ONCE = 4096


async def keys_under(session: StoreSession, directory: str) -> AsyncGenerator[list[str], None]:
    """All keys in a directory and below it, in batches."""
    async for node in session.nodes(node_path(directory)):
        yield [metadata_key(node.path)]
        if node.is_array:
            async with aclosing(_chunk_keys(session, node.path, ())) as batches:
                async for keys in batches:
                    yield keys
    held = await _chunks_held(session, directory)
    if held is not None:
        async with aclosing(_chunk_keys(session, *held)) as batches:
            async for keys in batches:
                yield keys


async def keys_with_prefix(session: StoreSession, prefix: str) -> AsyncGenerator[list[str], None]:
    """All keys that begin with ``prefix`` as a string, in batches; ``"a"`` matches ``"ab/zarr.json"`` too."""
    directory, _, _ = prefix.rpartition("/")
    start = prefix.lstrip("/")
    async with aclosing(keys_under(session, normalize_directory(directory))) as batches:
        async for keys in batches:
            yield [key for key in keys if key.startswith(start)]


async def names_in(session: StoreSession, directory: str) -> AsyncGenerator[str, None]:
    """Names of keys, nodes and chunk directories directly in a directory.

    Costs what it returns for groups; listing the coordinates of an array reads its
    manifests. A directory that is no node, but has nodes below it, is not shown in the
    one above it; it can itself be listed.
    """
    path = node_path(directory)
    seen: set[str] = set()  # a node below an array may be named as its chunk directories are
    node = await session.get_node(path)
    if node is not None:
        seen.add(METADATA_NAME)
        yield METADATA_NAME
        if node.is_array and await _has_chunks(session, path, ()):
            seen.add("c")
            yield "c"
    async for child in session.children(path):
        name = child.path.rpartition("/")[2]
        if name not in seen:
            seen.add(name)
            yield name
    held = await _chunks_held(session, directory)
    if held is not None:
        async for coordinate in _next_coordinates(session, *held):
            name = str(coordinate)
            if name not in seen:
                seen.add(name)
                yield name


async def has_keys(session: StoreSession, directory: str) -> bool:
    """Whether there is any key in a directory or below it."""
    async with aclosing(keys_under(session, directory)) as batches:
        async for keys in batches:
            if keys:
                return True
    return False


async def size_under(session: StoreSession, directory: str) -> int:
    """Bytes of all values in a directory and below it."""
    total = 0
    async for node in session.nodes(node_path(directory)):
        total += len(node.user_data)
        if node.is_array:
            total += await _chunks_size(session, node.path, ())
    held = await _chunks_held(session, directory)
    if held is not None:
        total += await _chunks_size(session, *held)
    return total


async def delete_under(session: StoreSession, directory: str) -> None:
    """Delete all in a directory and below it, at a cost that follows what is deleted."""
    if directory == "":
        await session.clear()
        return
    doomed = [(node.path, node.is_array) async for node in session.nodes(node_path(directory))]
    group = None
    for path, is_array in doomed:
        if group is not None and path.startswith(group):
            continue  # went with the group
        await session.delete_node(path)
        if not is_array:
            group = path + "/"
    held = await _chunks_held(session, directory)
    if held is not None:
        path, prefix = held
        rows = [row async for batch in session.chunk_coords(path, prefix) for row in _rows(batch)]
        for coords in rows:
            await session.delete_chunk(path, coords)


# --- chunks of one array


async def _chunks_held(session: StoreSession, directory: str) -> tuple[str, Coords] | None:
    """The array and leading coordinates whose chunks lie in a directory, if that can be."""
    parsed = parse_chunk_directory(directory)
    if parsed is None:
        return None
    path, prefix = parsed
    node = await session.get_node(path)
    if node is None or node.array is None or len(prefix) >= len(node.array.shape):
        return None
    return path, prefix


def _rows(batch: ChunkBatch) -> list[Coords]:
    """Coordinates of a batch as tuples."""
    rows = batch.tolist() if isinstance(batch, np.ndarray) else batch
    return [tuple(row) for row in rows]


async def _chunk_keys(session: StoreSession, path: str, prefix: Coords) -> AsyncGenerator[list[str], None]:
    start = chunk_key(path, ()).replace("%", "%%")
    async for batch in session.chunk_coords(path, prefix):
        for first in range(0, len(batch), _KEYS_AT_ONCE):
            rows = _rows(batch[first : first + _KEYS_AT_ONCE])
            form = start + "/%d" * len(rows[0])
            yield [form % row for row in rows]


async def _has_chunks(session: StoreSession, path: str, prefix: Coords) -> bool:
    async with aclosing(_batches(session, path, prefix)) as batches:
        async for batch in batches:
            if len(batch):
                return True
    return False


async def _batches(session: StoreSession, path: str, prefix: Coords) -> AsyncGenerator[ChunkBatch, None]:
    """Batches of coordinates; closable, so that a listing that stops early leaves nothing open."""
    async for batch in session.chunk_coords(path, prefix):
        yield batch


async def _next_coordinates(session: StoreSession, path: str, prefix: Coords) -> AsyncGenerator[int, None]:
    """The distinct coordinates that follow ``prefix``."""
    at = len(prefix)
    seen: set[int] = set()
    async for batch in session.chunk_coords(path, prefix):
        if not len(batch):
            continue
        for coordinate in np.unique(np.asarray(batch)[:, at]).tolist():
            if coordinate not in seen:
                seen.add(coordinate)
                yield coordinate


async def _chunks_size(session: StoreSession, path: str, prefix: Coords) -> int:
    total = 0
    async for batch in session.chunk_coords(path, prefix):
        for coords in _rows(batch):
            total += await session.chunk_size(path, coords) or 0
    return total
