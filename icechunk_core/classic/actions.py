"""Version control on a store: the session behind it is moved in place, so that open arrays follow."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from icechunk_core.classic.metadata import SnapshotMetadata
from icechunk_core.clock import datetime_from_us
from icechunk_core.drive import run
from icechunk_core.errors import ConflictError, ErrorKind, SessionStateError
from icechunk_core.format import base32, layout
from icechunk_core.format.refs import NativeRef
from icechunk_core.repository.queries import check_storage_writable, resolve
from icechunk_core.session import SessionMode, SessionState
from icechunk_core.session.commit import commit
from icechunk_core.transaction.change_set import ChangeSet
from icechunk_core.transaction.refitting import refit

__all__ = ["ClassicActions"]


class ClassicActions:
    """What commit, checkout and so on do to a store's session."""

    def __init__(self, state: SessionState) -> None:
        self._state = state

    @property
    def branch(self) -> str | None:
        return self._state.branch

    @property
    def snapshot_id(self) -> str:
        return base32.encode(self._state.base.id)

    @property
    def has_uncommitted_changes(self) -> bool:
        return not self._state.changes.is_empty()

    def make_writeable(self) -> None:
        check_storage_writable(self._state.context.storage)

    # --- commits

    async def commit(self, message: str) -> str:
        self.make_writeable()
        state = self._state
        if state.branch is None:
            raise SessionStateError(
                "the store is not on a branch: take the changes with reset(), then check out a branch or "
                "create one with new_branch(), merge() the changes there and commit",
                kind=ErrorKind.NOT_ON_BRANCH,
            )
        if not self.has_uncommitted_changes:
            raise SessionStateError("there are no changes to commit", kind=ErrorKind.NO_CHANGES_TO_COMMIT)
        try:
            return base32.encode(await commit(state, message, None, stay_writable=True))
        except ConflictError as error:
            raise ConflictError(
                f"others have committed to branch {state.branch!r}: take the changes with reset(), check the "
                "branch out again, call set_writeable(), merge() the changes and commit",
                expected_parent=error.expected_parent,
                actual_parent=error.actual_parent,
                kind=error.kind,
            ) from error

    async def distributed_commit(self, message: str, others: Sequence[bytes]) -> str:
        for changes in others:
            await self.merge(changes)
        return await self.commit(message)

    async def merge(self, changes: bytes) -> None:
        self.make_writeable()
        other = ChangeSet.from_bytes(changes, name="merged changes")
        # Their chunks were written elsewhere and have to be made durable with this commit.
        written = {
            ref.chunk_id
            for refs in other.chunks.values()
            for ref in refs.values()
            if isinstance(ref, NativeRef)
        }
        with self._state.lock:
            refit(other, self._state.changes, self._state.base.nodes)
            self._state.merge(other)
        self._state.sink.adopt([layout.chunk_key(chunk_id) for chunk_id in sorted(written)])

    def change_set_bytes(self) -> bytes:
        state = self._state
        with state.lock:
            taken = state.changes.to_bytes()
        # After the copy, so that every chunk that it names is in the storage.
        run(state.sink.flush(), may_suspend=state.may_suspend)
        return taken

    async def reset(self) -> bytes:
        state = self._state
        with state.lock:
            taken = state.changes.to_bytes()
            state.discard_changes()
        await state.sink.flush()
        return taken

    # --- versions

    async def checkout(self, snapshot_id: str | None, branch: str | None, tag: str | None) -> None:
        self._require_no_changes("checking out another version")
        wanted = await resolve(self._state.context.history, branch, tag, snapshot_id)
        await self._show(wanted, branch)

    async def new_branch(self, name: str) -> str:
        self._require_no_changes("creating a branch")
        await self._state.context.history.create_branch(name, self._state.base.id)
        await self._show(self._state.base.id, name)
        return self.snapshot_id

    async def reset_branch(self, to_snapshot: str) -> None:
        self._require_no_changes("resetting the branch")
        state = self._state
        if state.branch is None:
            raise SessionStateError(
                "the store is not on a branch; check one out before resetting it",
                kind=ErrorKind.NOT_ON_BRANCH,
            )
        target = base32.decode(to_snapshot)
        # Only from where this store has seen it: a commit that others made meanwhile is not thrown away.
        await state.context.history.reset_branch(state.branch, target, state.base.id)
        await self._show(target, state.branch)

    async def tag(self, name: str, snapshot_id: str) -> None:
        await self._state.context.history.create_tag(name, base32.decode(snapshot_id))

    async def ancestry(self) -> AsyncIterator[SnapshotMetadata]:
        async for info in self._state.context.history.ancestry(self._state.base.id):
            yield SnapshotMetadata(base32.encode(info.id), datetime_from_us(info.flushed_at), info.message)

    async def _show(self, snapshot_id: bytes, branch: str | None) -> None:
        snapshot = await self._state.context.assets.snapshot(snapshot_id)
        # Whoever commits through ``store.session`` ends the session; the store goes on from here.
        self._state.mode = SessionMode.WRITABLE
        self._state.switched(snapshot, branch)

    def _require_no_changes(self, doing: str) -> None:
        if self.has_uncommitted_changes:
            raise SessionStateError(
                f"there are uncommitted changes; commit or reset them before {doing}",
                kind=ErrorKind.UNCOMMITTED_CHANGES,
            )
