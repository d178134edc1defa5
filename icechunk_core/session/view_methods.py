"""Looking at what a session holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icechunk_core.drive import blocking
from icechunk_core.errors import ErrorKind, NodeNotFoundError
from icechunk_core.session.paths import absolute_path

if TYPE_CHECKING:
    from icechunk_core.contract.io_stats import IoStats
    from icechunk_core.session.state import SessionState
    from icechunk_core.session.views import ChunkMap, NodeTree

__all__ = ["ViewMethods"]


class ViewMethods:
    """Drawings of a session's contents; uncommitted changes are included."""

    _state: SessionState

    @property
    def io_stats(self) -> IoStats:
        """What this session asked of storages since it was opened: requests, bytes, retries, failures.

        >>> import icechunk_core
        >>> session = icechunk_core.Repository.create("memory:").readonly_session("main")
        >>> session.io_stats.requests
        0
        """
        return self._state.context.io_stats

    async def tree_async(self, path: str = "/") -> NodeTree:
        """The groups and arrays below a node.

        Raises
        ------
        NodeNotFoundError
            If there is nothing at the path.

        >>> import zarr
        >>> from icechunk_core import Repository
        >>> session = Repository.create("memory:").writable_session("main")
        >>> root = zarr.create_group(session.store)
        >>> _ = root.create_array("temperature", shape=(8, 4), dtype="f4")
        >>> session.tree()
        /
        └── temperature (8, 4) float32
        """
        from icechunk_core.session.views import NodeTree

        path = absolute_path(path)
        nodes = [node async for node in self._state.nodes(path)]
        if not nodes and path != "/":
            raise NodeNotFoundError(f"there is no node at {path!r}", kind=ErrorKind.NODE_NOT_FOUND)
        return NodeTree(nodes, path)

    tree = blocking(tree_async)

    async def chunk_map_async(self, path: str) -> ChunkMap:
        """Which chunks of an array exist, and where their bytes are: a drawing of its grid.

        Raises
        ------
        NodeNotFoundError
            If there is no array at the path.
        """
        from icechunk_core.session.views import map_chunks

        path = absolute_path(path)
        state = self._state
        array = state.array(path)
        if array is None:
            raise NodeNotFoundError(f"there is no array at {path!r}", kind=ErrorKind.NODE_NOT_FOUND)
        blocks = [refs async for refs in state.chunk_refs(path)]
        return map_chunks(path, array.num_chunks, blocks)

    chunk_map = blocking(chunk_map_async)
