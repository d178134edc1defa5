"""A session in dictionaries: a small real implementation of the store's session protocol.

It knows nothing of snapshots, manifests or storage, so that tests of the store alone say
something about the store alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from typing import Any

import attrs

from icechunk_core.assets.later import LATER, Later
from icechunk_core.contract import Buffer, ByteRange, resolve_range
from icechunk_core.errors import ErrorKind, InvalidInputError, NodeNotFoundError, ReadOnlyError

BATCH = 3


@attrs.frozen
class FakeArray:
    shape: tuple[int, ...]
    num_chunks: tuple[int, ...]


@attrs.frozen
class FakeNode:
    path: str
    user_data: bytes
    array: FakeArray | None

    @property
    def is_array(self) -> bool:
        return self.array is not None


def parse_node(path: str, data: bytes) -> FakeNode:
    try:
        document = json.loads(data)
        node_type = document["node_type"]
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidInputError(f"bad metadata: {error}", kind=ErrorKind.BAD_METADATA) from None
    if node_type == "group":
        return FakeNode(path, data, None)
    shape = tuple(document["shape"])
    chunks = document["chunk_grid"]["configuration"]["chunk_shape"]
    grid = tuple(math.ceil(size / chunk) if chunk else 0 for size, chunk in zip(shape, chunks, strict=True))
    return FakeNode(path, data, FakeArray(shape, grid))


class FakeSession:
    """Nodes and chunks in two dictionaries; counts what the store asks for in ``calls``."""

    def __init__(self, *, read_only: bool = False, may_suspend: bool = False) -> None:
        self.may_suspend = may_suspend
        self.read_only = read_only
        self.is_fork = False
        self.read_concurrency = 10
        self.node_table: dict[str, FakeNode] = {}
        self.chunks: dict[str, dict[tuple[int, ...], bytes]] = {}
        self.containers: list[str] = []
        self.calls: list[tuple[Any, ...]] = []

    def public_session(self) -> FakeSession:
        return self

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FakeSession):
            return NotImplemented
        return (self.node_table, self.chunks) == (other.node_table, other.chunks)

    __hash__ = None  # type: ignore[assignment]

    def _writable(self) -> None:
        if self.read_only:
            raise ReadOnlyError("session is read-only")

    def _in_grid(self, path: str, coords: tuple[int, ...]) -> bool:
        node = self.node_table.get(path)
        if node is None or node.array is None or len(coords) != len(node.array.shape):
            return False
        return all(at < size for at, size in zip(coords, node.array.num_chunks, strict=True))

    # --- nodes

    async def get_node(self, path: str) -> FakeNode | None:
        return self.node_table.get(path)

    async def read_metadata(self, path: str) -> bytes | None:
        node = self.node_table.get(path)
        return None if node is None else node.user_data

    async def write_metadata(self, path: str, data: bytes) -> None:
        self._writable()
        self.calls.append(("write_metadata", path))
        self.node_table[path] = parse_node(path, data)
        self.chunks.setdefault(path, {})

    async def delete_node(self, path: str) -> None:
        self._writable()
        self.calls.append(("delete_node", path))
        node = self.node_table.get(path)
        if node is None:
            return
        below = path.rstrip("/") + "/"
        for other in [path] if node.is_array else list(self.node_table):
            if other == path or other.startswith(below):
                del self.node_table[other]
                self.chunks.pop(other, None)

    async def clear(self) -> None:
        self._writable()
        self.calls.append(("clear",))
        self.node_table.clear()
        self.chunks.clear()

    async def nodes(self, prefix_path: str) -> AsyncIterator[FakeNode]:
        self.calls.append(("nodes", prefix_path))
        below = prefix_path.rstrip("/") + "/"
        for path in sorted(self.node_table):
            if path == prefix_path or path.startswith(below):
                yield self.node_table[path]

    async def children(self, path: str) -> AsyncIterator[FakeNode]:
        self.calls.append(("children", path))
        below = path.rstrip("/") + "/"
        for other in sorted(self.node_table):
            if other != path and other.startswith(below) and "/" not in other[len(below) :]:
                yield self.node_table[other]

    # --- chunks

    async def read_chunk(self, path: str, coords: tuple[int, ...], byte_range: ByteRange) -> Buffer | None:
        data = self.chunks.get(path, {}).get(coords)
        if data is None or byte_range is None:
            return data
        start, end = resolve_range(byte_range, len(data))
        return data[start:end]

    def read_chunk_at_once(self, path: str, coords: tuple[int, ...]) -> Later:
        return LATER

    def write_chunk_at_once(self, path: str, coords: tuple[int, ...], data: Buffer) -> bool:
        return False

    async def chunk_size(self, path: str, coords: tuple[int, ...]) -> int | None:
        data = self.chunks.get(path, {}).get(coords)
        return None if data is None else len(data)

    async def chunk_exists(self, path: str, coords: tuple[int, ...]) -> bool:
        return coords in self.chunks.get(path, {})

    async def write_chunk(self, path: str, coords: tuple[int, ...], data: Buffer) -> None:
        self._writable()
        node = self.node_table.get(path)
        if node is None:
            raise NodeNotFoundError(f"no array at {path}")
        if node.array is None:
            raise InvalidInputError(f"{path} is a group", kind=ErrorKind.NOT_AN_ARRAY)
        if not self._in_grid(path, coords):
            raise InvalidInputError(
                f"{coords} is not in the grid of {path}", kind=ErrorKind.INVALID_CHUNK_INDEX
            )
        self.chunks[path][coords] = bytes(data)

    async def write_virtual_ref(
        self, path: str, coords: tuple[int, ...], ref: Any, *, validate_container: bool
    ) -> None:
        if validate_container and not any(ref.location.startswith(prefix) for prefix in self.containers):
            raise InvalidInputError(
                f"no container for {ref.location}", kind=ErrorKind.NO_CONTAINER_FOR_VIRTUAL_CHUNK
            )
        await self.write_chunk(path, coords, repr(ref).encode())

    async def write_virtual_refs(self, path: str, refs: Any, *, validate_container: bool) -> list[Any]:
        left_out = []
        for coords, ref in refs.items():
            try:
                await self.write_virtual_ref(path, coords, ref, validate_container=validate_container)
            except InvalidInputError as error:
                if error.kind != ErrorKind.NO_CONTAINER_FOR_VIRTUAL_CHUNK:
                    raise
                left_out.append(coords)
        return left_out

    async def delete_chunk(self, path: str, coords: tuple[int, ...]) -> None:
        self._writable()
        self.calls.append(("delete_chunk", path, coords))
        self.chunks.get(path, {}).pop(coords, None)

    async def chunk_coords(
        self, path: str, prefix: tuple[int, ...] = ()
    ) -> AsyncIterator[list[tuple[int, ...]]]:
        self.calls.append(("chunk_coords", path, prefix))
        rows = [
            coords
            for coords in sorted(self.chunks.get(path, {}))
            if coords[: len(prefix)] == prefix and self._in_grid(path, coords)
        ]
        for start in range(0, len(rows), BATCH):
            yield rows[start : start + BATCH]
