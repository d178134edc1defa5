"""The nodes of a snapshot, found by path or id (FORMAT.md, 6.3 and 9)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from attrs import frozen

__all__ = ["ArrayData", "EncodedNodes", "ManifestRef", "NodeSnapshot", "NodeTable"]

# Up to this share of the nodes, changes are worked into copies of the columns one by one.
_FEW = 16


@frozen
class ManifestRef:
    """A manifest with chunk refs of an array.

    Attributes
    ----------
    id
        12 raw bytes.
    extents
        Per dimension the bounds (exclusive ends) of the coordinates in there; empty matches all.
    """

    id: bytes
    extents: tuple[tuple[int, int], ...]


@frozen
class ArrayData:
    """What a snapshot knows about an array.

    Attributes
    ----------
    shape
        Elements per dimension.
    num_chunks
        Chunks per dimension.
    dimension_names
        None where a dimension has no name; None altogether if the metadata has no names.
    manifests
        Where the chunk refs are.
    """

    shape: tuple[int, ...]
    num_chunks: tuple[int, ...]
    dimension_names: tuple[str | None, ...] | None
    manifests: tuple[ManifestRef, ...]


@frozen
class NodeSnapshot:
    """A group or array.

    Attributes
    ----------
    id
        8 raw bytes, the same for the life of the node.
    path
        Absolute path.
    user_data
        The node's ``zarr.json``, byte for byte.
    array
        None for groups.
    """

    id: bytes
    path: str
    user_data: bytes
    array: ArrayData | None

    @property
    def is_array(self) -> bool:
        """Whether this is an array, not a group."""
        return self.array is not None


class EncodedNodes(Protocol):
    """A buffer with encoded nodes."""

    def decode(self, position: int) -> NodeSnapshot:
        """The node at a position; raises `Corrupt`."""
        ...

    def manifest_ids(self, positions: Sequence[int]) -> set[bytes]:
        """The manifests that the nodes at some positions refer to; raises `Corrupt`."""
        ...


class NodeTable:
    """The nodes of a snapshot in the order of their paths' UTF-8 bytes; immutable.

    A table that comes from a file decodes a node when it is asked for, once. A damaged node raises
    `Corrupt` then.

    >>> nodes = [NodeSnapshot(bytes(8), path, b"{}", None) for path in ("/", "/a/b", "/a", "/a-b", "/a/b/c")]
    >>> table = NodeTable.from_nodes(nodes)
    >>> [node.path for node in table.subtree("/a")], [node.path for node in table.children("/a")]
    (['/a', '/a/b', '/a/b/c'], ['/a/b'])
    """

    __slots__ = ("_by_id", "_encoded", "_ids", "_nodes", "_paths")

    def __init__(
        self,
        paths: Sequence[bytes],
        ids: Sequence[bytes],
        nodes: list[NodeSnapshot | None],
        encoded: tuple[EncodedNodes, Sequence[int]] | None = None,
    ) -> None:
        """From parallel columns, sorted by path; use `from_nodes` instead.

        ``nodes`` holds what is decoded already, ``encoded`` the rest: a buffer and the positions there, -1
        for nodes that are not in it.
        """
        self._paths = paths
        self._ids = ids
        self._nodes = nodes
        # One attribute, so that it can be replaced while other threads read.
        self._encoded = encoded
        self._by_id: dict[bytes, int] | None = None

    def __reduce__(self) -> tuple[Callable[..., NodeTable], tuple[list[NodeSnapshot]]]:
        return NodeTable.from_nodes, (list(self),)

    @classmethod
    def from_nodes(cls, nodes: Iterable[NodeSnapshot]) -> NodeTable:
        """From nodes in any order; of equal paths the last counts."""
        by_path = {node.path.encode(): node for node in nodes}
        paths = sorted(by_path)
        ordered: list[NodeSnapshot | None] = [by_path[path] for path in paths]
        return cls(paths, [by_path[path].id for path in paths], ordered)

    def _at(self, row: int) -> NodeSnapshot:
        node = self._nodes[row]
        if node is None:
            assert self._encoded is not None
            buffer, positions = self._encoded
            node = self._nodes[row] = buffer.decode(positions[row])
        return node

    def _find(self, path: str) -> int:
        key = path.encode("utf-8", "surrogatepass")
        row = bisect_left(self._paths, key)
        return row if row < len(self._paths) and self._paths[row] == key else -1

    def get(self, path: str) -> NodeSnapshot | None:
        """The node at a path, None if there is none."""
        row = self._find(path)
        return None if row < 0 else self._at(row)

    def by_id(self, node_id: bytes) -> NodeSnapshot | None:
        """The node with an id, None if there is none."""
        if self._by_id is None:
            self._by_id = {own: row for row, own in enumerate(self._ids)}
        row = self._by_id.get(node_id)
        return None if row is None else self._at(row)

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and self._find(path) >= 0

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[NodeSnapshot]:
        return map(self._at, range(len(self._paths)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NodeTable):
            return NotImplemented
        return self._paths == other._paths and all(map(NodeSnapshot.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<NodeTable: {len(self)} nodes>"

    def paths(self) -> Iterator[str]:
        """All paths, in order, without decoding the nodes."""
        return (path.decode() for path in self._paths)

    def subtree(self, path: str) -> Iterator[NodeSnapshot]:
        """The node at a path, if any, and everything below it, in order."""
        row = self._find(path)
        if row >= 0:
            yield self._at(row)
        for below in range(*self._range_below(path)):
            if below != row:
                yield self._at(below)

    def children(self, path: str) -> Iterator[NodeSnapshot]:
        """The nodes directly below a path, in order; costs little for what lies deeper."""
        own = self._find(path)
        row, end = self._range_below(path)
        start = len(path.rstrip("/").encode("utf-8", "surrogatepass")) + 1
        while row < end:
            found = self._paths[row]
            slash = found.find(b"/", start)
            if slash >= 0:
                # Below a child: on to what sorts after that child's subtree ("0" follows "/").
                row = bisect_left(self._paths, found[:slash] + b"0", row, end)
                continue
            if row != own:
                yield self._at(row)
            row += 1

    def _range_below(self, path: str) -> tuple[int, int]:
        """Rows whose paths continue `path` after a slash; for the root all rows."""
        prefix = path.rstrip("/").encode("utf-8", "surrogatepass")
        return bisect_left(self._paths, prefix + b"/"), bisect_left(self._paths, prefix + b"0")

    def updated(self, changes: Mapping[str, NodeSnapshot | None]) -> NodeTable:
        """With some nodes set, or removed (None), by path. Other nodes are not decoded for it."""
        keyed = {path.encode(): node for path, node in changes.items()}
        columns = self._spliced(keyed) if len(keyed) * _FEW <= len(self) else self._sorted_with(keyed)
        paths, ids, nodes, positions = columns
        encoded = None if self._encoded is None else (self._encoded[0], positions)
        return NodeTable(paths, ids, nodes, encoded)

    def _positions(self) -> Sequence[int]:
        return [-1] * len(self) if self._encoded is None else self._encoded[1]

    def _spliced(self, changes: Mapping[bytes, NodeSnapshot | None]) -> _Columns:
        """Copies of the columns with each change put in its place."""
        paths, ids, nodes, positions = (
            list(self._paths), list(self._ids), list(self._nodes), list(self._positions())
        )  # fmt: skip
        for path, node in changes.items():
            row = bisect_left(paths, path)
            there = int(row < len(paths) and paths[row] == path)
            replaced = slice(row, row + there)
            paths[replaced], ids[replaced], nodes[replaced], positions[replaced] = (
                ([], [], [], []) if node is None else ([path], [node.id], [node], [-1])
            )
        return paths, ids, nodes, positions

    def _sorted_with(self, changes: Mapping[bytes, NodeSnapshot | None]) -> _Columns:
        """The columns anew, in order."""
        rows: list[tuple[bytes, bytes, NodeSnapshot | None, int]] = [
            row
            for row in zip(self._paths, self._ids, self._nodes, self._positions(), strict=True)
            if row[0] not in changes
        ]
        rows += [(path, node.id, node, -1) for path, node in changes.items() if node is not None]
        rows.sort(key=lambda row: row[0])
        paths, ids, nodes, positions = map(list, zip(*rows, strict=True)) if rows else ([], [], [], [])
        return paths, ids, nodes, positions

    def manifest_ids(self) -> set[bytes]:
        """The manifests that any array refers to, without decoding nodes for it."""
        found: set[bytes] = set()
        unread: list[int] = []
        positions = self._positions()
        for row, node in enumerate(self._nodes):
            if node is None:
                unread.append(positions[row])
            elif node.array is not None:
                found.update([ref.id for ref in node.array.manifests])
        if unread:
            assert self._encoded is not None
            found |= self._encoded[0].manifest_ids(unread)
        return found

    # --- for the encoder

    @property
    def encoded(self) -> tuple[EncodedNodes, Sequence[int]] | None:
        """The buffer that nodes were read from, and where each one is, -1 if it is not there."""
        return self._encoded

    def node_at(self, row: int) -> NodeSnapshot:
        """The node in a row."""
        return self._at(row)

    def keep_encoded(self, buffer: EncodedNodes, positions: Sequence[int]) -> None:
        """Remember where these very nodes were written, so that they need not be encoded again."""
        self._encoded = (buffer, positions)


_Columns = tuple[list[bytes], list[bytes], list[NodeSnapshot | None], list[int]]
