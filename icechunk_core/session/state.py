"""`SessionState`: what a session sees and has changed; the store reads and writes through it."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from attrs import define, field

from icechunk_core.assets.packs import make_sink
from icechunk_core.assets.sink import ChunkSink
from icechunk_core.drive import child_safe
from icechunk_core.errors import (
    ErrorKind,
    ReadOnlyError,
    SessionStateError,
)
from icechunk_core.format import base32
from icechunk_core.format.snapshot import NodeSnapshot, NodeTable, Snapshot
from icechunk_core.format.zarr_metadata import parse_node_metadata
from icechunk_core.session.chunk_reader import ArrayRefs
from icechunk_core.session.chunks import SessionChunks
from icechunk_core.session.modes import SessionMode
from icechunk_core.transaction.change_set import ChangeSet
from icechunk_core.transaction.relocation import Relocation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from icechunk_core.session.context import RepositoryContext

__all__ = ["SessionState"]


@define(eq=False, repr=False)
class SessionState(SessionChunks):
    """One reader's or writer's view of a repository.

    Attributes
    ----------
    context
        The repository's storage, caches, history and configuration, shared by its sessions.
    base
        Snapshot that the session starts from.
    mode, branch
        What the session may do, and where it commits to.
    changes
        Uncommitted changes.
    prepared
        Manifests that a commit has written, for the next try (see `icechunk_core.session.commit`).
    is_fork
        Whether this is a fork made for workers: writable, on no branch, never committed itself.
    fork_base
        Snapshot of these very changes that forks start from, once one was made.
    in_doubt
        Snapshots of these very changes whose publication had an unknown outcome.
    rewrite_manifests
        Whether the commit writes the manifests of all arrays anew, or the ids of those arrays.
    relocation
        Where chunks are now whose bytes were copied; manifests written anew say so.
    """

    context: RepositoryContext
    base: Snapshot
    mode: SessionMode
    branch: str | None = None
    changes: ChangeSet = field(factory=ChangeSet)
    commit_metadata: Mapping[str, Any] = field(factory=dict)
    is_fork: bool = False
    sink: ChunkSink = field(init=False)
    lock: threading.RLock = field(factory=lambda: child_safe(threading.RLock()), init=False)
    prepared: dict[bytes, Any] = field(factory=dict, init=False)
    in_doubt: list[Snapshot] = field(factory=list, init=False)
    rewrite_manifests: bool | frozenset[bytes] = field(default=False, init=False)
    relocation: Relocation | None = field(default=None, init=False)
    fork_base: Snapshot | None = field(default=None, init=False)
    facade: Callable[[], Any] | None = field(default=None, init=False)
    _busy: bool = field(default=False, init=False)
    _arrays: dict[str, ArrayRefs] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        context = self.context = self.context.for_session()
        self.sink = make_sink(
            context.storage,
            context.ids,
            context.packs,
            storage_class=context.settings.chunks_storage_class,
        )

    # --- state

    @property
    def may_suspend(self) -> bool:
        """Whether coroutines of this session may suspend."""
        return self.context.storage.may_suspend

    @property
    def read_only(self) -> bool:
        """Whether writes are refused."""
        return self.mode is SessionMode.READONLY

    @property
    def read_concurrency(self) -> int:
        """How many values one call of the store reads at once."""
        return self.context.config.effective_get_partial_values_concurrency()

    def public_session(self) -> Any:
        """The object that users know as the session of this state's store."""
        if self.facade is None:  # it came from a pickle, with its store
            from icechunk_core.session.forks import ForkSession
            from icechunk_core.session.session import Session

            return ForkSession(self) if self.is_fork else Session(self)
        return self.facade()

    @property
    def spec_version(self) -> int:
        """Spec version of the repository."""
        return self.context.spec_version

    def check_writable(self) -> None:
        """Raise unless nodes and chunks may be written now."""
        if self.mode is SessionMode.READONLY:
            raise ReadOnlyError(
                "this session is read-only (made so, or committed); "
                "open another with Repository.writable_session(branch)"
            )
        if self.mode is SessionMode.REARRANGE:
            raise SessionStateError(
                "a rearrange session only moves nodes; open a writable session to change them",
                kind=ErrorKind.REARRANGE_SESSION_ONLY,
            )
        self._check_not_busy()

    def _check_not_busy(self) -> None:
        if self._busy:
            raise SessionStateError("this session is being committed; write to it before or to another one")

    @contextmanager
    def committing(self) -> Iterator[None]:
        """While open, nothing else may change the session."""
        with self.lock:
            if self._busy:
                raise SessionStateError("this session is being committed already; wait for the result")
            self.changes.compact()
            self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def rebased(self, base: Snapshot, changes: ChangeSet) -> None:
        """Continue on another base snapshot."""
        with self.lock:
            self.base = base
            self.changes = changes
            self._arrays = {}

    def completed(self, base: Snapshot) -> None:
        """The changes are committed as ``base``: the session is read-only now."""
        with self.lock:
            self.mode = SessionMode.READONLY
            self.branch = None
            self.rebased(base, ChangeSet())
            self.forget_tries()

    def continued(self, base: Snapshot) -> None:
        """The changes are committed as ``base``, and the session goes on writing on top of it."""
        with self.lock:
            self.rebased(base, ChangeSet())
            self.forget_tries()

    def switched(self, base: Snapshot, branch: str | None) -> None:
        """Show another version; there are no uncommitted changes."""
        with self.lock:
            self.branch = branch
            self.continued(base)

    def merge(
        self, other: ChangeSet, *, unify_created: bool = True, other_base: NodeTable | None = None
    ) -> None:
        """Add the changes that another writer made over the same base."""
        with self.lock:
            self.check_writable()
            self.changes.merge(other, unify_created=unify_created, other_base=other_base)
            # Prepared manifests stay: a commit takes those whose plan is still the same.
            self._arrays = {}
            self.in_doubt.clear()
            self.fork_base = None

    def move_node(self, source: str, target: str) -> None:
        """Move or rename a node (see `icechunk_core.transaction.moves`)."""
        with self.lock:
            self._check_not_busy()
            self.changes.move(source, target, self.base.nodes)
            self._changed()

    def discard_changes(self) -> None:
        """Forget all uncommitted changes."""
        with self.lock:
            if self.read_only:
                return
            self.changes.discard()
            self._changed()

    def _changed(self) -> None:
        self._arrays = {}
        self.forget_tries()

    def forget_tries(self) -> None:
        """The changes are others now: what earlier commits have prepared is of no use."""
        self.prepared.clear()
        self.in_doubt.clear()
        self.fork_base = None

    # --- nodes

    async def get_node(self, path: str) -> NodeSnapshot | None:
        """The node at ``path``, uncommitted changes included."""
        return self.changes.node(path, self.base.nodes)

    async def nodes(self, prefix_path: str) -> AsyncIterator[NodeSnapshot]:
        """The node at a path and all below it, in order of the paths' bytes."""
        for node in self.changes.nodes(prefix_path, self.base.nodes):
            yield node

    async def children(self, path: str) -> AsyncIterator[NodeSnapshot]:
        """The nodes right below a path."""
        for node in self.changes.children(path, self.base.nodes):
            yield node

    async def read_metadata(self, path: str) -> bytes | None:
        """The ``zarr.json`` of a node, byte for byte; ``None`` if there is no node."""
        node = self.changes.node(path, self.base.nodes)
        return None if node is None else node.user_data

    async def write_metadata(self, path: str, data: bytes) -> None:
        """Create a node, or replace its ``zarr.json``.

        Raises
        ------
        InvalidInputError
            If the document is not the metadata of a Zarr v3 array or group.
        ReadOnlyError, SessionStateError
            If the session cannot be written.
        """
        meta = parse_node_metadata(data, spec_version=self.spec_version, path=path)
        with self.lock:
            found = self.changes.node(path, self.base.nodes)
            if found is not None and found.user_data == data:
                return
            self.check_writable()
            self.changes.put_metadata(path, data, meta, self.base.nodes, self.context.ids.node_id)
            self._changed()

    async def delete_node(self, path: str) -> None:
        """Delete an array, or a group with all below it; nothing happens if there is no node."""
        with self.lock:
            if self.changes.node(path, self.base.nodes) is None:
                return
            self.check_writable()
            self.changes.delete_node(path, self.base.nodes)
            self._changed()

    async def clear(self) -> None:
        """Delete every node."""
        with self.lock:
            if next(self.changes.nodes("/", self.base.nodes), None) is None:
                return
            self.check_writable()
            self.changes.clear(self.base.nodes)
            self._changed()

    def same_view(self, other: SessionState) -> bool:
        """Whether both show the same state of the same storage."""
        return self is other or (
            self.context.storage == other.context.storage
            and self.base.id == other.base.id
            and self.branch == other.branch
            and self.changes.to_bytes() == other.changes.to_bytes()
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SessionState):
            return NotImplemented
        return self.same_view(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        where = f"branch {self.branch!r}" if self.branch is not None else self.mode.value
        return f"session on {base32.encode(self.base.id)}, {where}, {self.context.storage.location}"

    def __reduce__(self) -> tuple[Callable[[dict[str, Any]], SessionState], tuple[dict[str, Any]]]:
        from icechunk_core.session.pickling import restore_state, save_state

        return restore_state, (save_state(self),)
