"""Carry a commit out (FORMAT.md, section 13): what to write is decided by `icechunk_core.transaction`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from enum import Enum
from functools import partial
from typing import Any

from attrs import frozen

from icechunk_core.assets.settings import backoff_seconds
from icechunk_core.drive import gather, in_thread, pause, wait_for
from icechunk_core.errors import (
    ConflictError,
    ErrorKind,
    FormatError,
    OutcomeUnknown,
    RebaseFailedError,
    SessionStateError,
)
from icechunk_core.format import base32, layout
from icechunk_core.format.chunk_refs import ChunkRefs
from icechunk_core.format.manifest import Manifest
from icechunk_core.format.snapshot import ManifestFileInfo, ManifestRef, Snapshot
from icechunk_core.format.transaction_log import TransactionLog, empty_log, merge_logs
from icechunk_core.history.interface import WriteFiles
from icechunk_core.session.modes import SessionMode
from icechunk_core.session.moves import require_moves_enabled
from icechunk_core.session.rebase import rebase
from icechunk_core.session.state import SessionState
from icechunk_core.session.turns import has_moved, own_turn
from icechunk_core.tracing import annotate, traced
from icechunk_core.transaction.column_changes import ColumnChanges
from icechunk_core.transaction.log_builder import build_transaction_log
from icechunk_core.transaction.manifest_sharing import SmallArray, is_small, shared_manifests
from icechunk_core.transaction.manifests_plan import ArrayPlan, build_splits, plan_manifests
from icechunk_core.transaction.snapshot_builder import build_snapshot, next_timestamp
from icechunk_core.transaction.solvers import ConflictSolver

__all__ = ["CommitKind", "PreparedArray", "commit", "plan_arrays", "write_unpublished"]

_logger = logging.getLogger(__name__)

_MAX_DRIFT_US = 600 * 1_000_000
_AT_ONCE = 16  # arrays, and manifests of each


class CommitKind(Enum):
    """What becomes of the new snapshot."""

    COMMIT = "commit"
    """The branch moves to it."""
    AMEND = "amend"
    """It replaces the branch's tip."""
    FLUSH = "flush"
    """No ref points to it."""


@frozen
class PreparedArray:
    """Manifests written for one array; valid while its old manifests and changes stay what they were."""

    plan: ArrayPlan
    manifests: tuple[ManifestRef, ...]
    files: tuple[ManifestFileInfo, ...]
    keys: tuple[str, ...]


@traced("icechunk.commit")
async def commit(
    state: SessionState,
    message: str,
    metadata: Mapping[str, Any] | None,
    *,
    kind: CommitKind = CommitKind.COMMIT,
    rebase_with: ConflictSolver | None = None,
    rebase_tries: int = 1_000,
    allow_empty: bool = False,
    stay_writable: bool = False,
) -> bytes:
    """Write the session's changes as a snapshot and publish it; gives its id.

    Raises
    ------
    SessionStateError
        If the session cannot commit, or there is nothing to commit.
    ConflictError
        If the branch moved on and no solver was given, or it did not help in so many tries.
    RebaseFailedError
        If the changes clash with what was committed meanwhile.
    OutcomeUnknown
        If the storage did not tell whether the commit was published.
    """
    _check(state, kind, allow_empty)
    with state.committing():
        if state.mode is SessionMode.REARRANGE:
            verb = "flush" if kind is CommitKind.FLUSH else "commit"
            await require_moves_enabled(state.context, f"{verb} a rearrange session")
        if kind is CommitKind.FLUSH:
            snapshot, attempts = await _publish(state, message, dict(metadata or {}), kind, is_first=True), 0
        else:
            tries = rebase_tries if rebase_with is not None else 0
            snapshot, attempts = await _publish_on_branch(state, message, metadata, kind, rebase_with, tries)
        _logger.info("%s on branch %r: snapshot %s", kind.value, state.branch, base32.encode(snapshot.id))
        annotate(kind=kind.value, rebases=attempts, snapshot=base32.encode(snapshot.id))
        if stay_writable:
            state.continued(snapshot)
        else:
            state.completed(snapshot)
        return snapshot.id


async def _publish_on_branch(
    state: SessionState,
    message: str,
    metadata: Mapping[str, Any] | None,
    kind: CommitKind,
    solver: ConflictSolver | None,
    tries: int,
) -> tuple[Snapshot, int]:
    """Publish, after as many rebases as it takes; the snapshot, and how many it took."""
    clock = state.context.clock
    async with own_turn(state) as in_turn:
        attempts = 0
        while True:
            started = clock.monotonic()
            extra = {"rebase_attempts": attempts} if solver is not None else None
            try:
                landed = await _landed(state)
                if landed is not None:
                    return landed, attempts
                # Others may have moved the branch before this turn: then there is nothing to try.
                if attempts or not tries or not in_turn or not await has_moved(state):
                    data = _with_library_data(metadata, extra)
                    return await _publish(state, message, data, kind, is_first=attempts == 0), attempts
            except RebaseFailedError:
                raise
            except ConflictError as conflict:
                landed = await _landed(state)
                if landed is not None:
                    _logger.warning(
                        "a commit on branch %r landed although its answer was lost: %s",
                        state.branch,
                        base32.encode(landed.id),
                    )
                    return landed, attempts
                branch_is_gone = conflict.actual_parent is None and conflict.kind == ErrorKind.COMMIT_CONFLICT
                if attempts >= tries or branch_is_gone:
                    raise
                if not in_turn:
                    await _wait_after_conflict(state, attempts + 1, clock.monotonic() - started)
            attempts += 1
            _logger.info("branch %r moved on; rebase %d", state.branch, attempts)
            assert solver is not None
            await rebase(state, solver)


async def _landed(state: SessionState) -> Snapshot | None:
    """The commit of an earlier try whose outcome was unknown then, if it is in the history now."""
    if not state.in_doubt or state.branch is None:
        return None
    history = state.context.history
    async for info in history.branch_ancestry(state.branch):
        for snapshot in state.in_doubt:
            if snapshot.id == info.id:
                return snapshot
        if info.id == state.base.id:
            return None
    return None


def _check(state: SessionState, kind: CommitKind, allow_empty: bool) -> None:
    if kind is CommitKind.AMEND and state.spec_version < 2:
        raise FormatError(
            "amend needs a repository of spec 2; commit instead, or migrate the repository",
            kind=ErrorKind.UNSUPPORTED_SPEC_VERSION,
        )
    if kind is CommitKind.FLUSH:
        if state.is_fork:
            raise SessionStateError(
                "a fork cannot be flushed; merge it into the session it came from, and flush that",
                kind=ErrorKind.UNKNOWN,
            )
        return
    if state.is_fork:
        raise SessionStateError(
            "a fork cannot commit; merge it into the session it came from, and commit that",
            kind=ErrorKind.COMMIT_NOT_ALLOWED,
        )
    if state.mode is SessionMode.READONLY:
        raise SessionStateError(
            "a read-only session cannot commit (it was opened so, or has been committed); "
            "open one with Repository.writable_session(branch)",
            kind=ErrorKind.COMMIT_NOT_ALLOWED,
        )
    if state.branch is None:
        raise SessionStateError(
            "this session is not on a branch; open one with Repository.writable_session(branch)",
            kind=ErrorKind.NOT_ON_BRANCH,
        )
    if state.changes.is_empty() and not allow_empty:
        raise SessionStateError(
            "there are no changes to commit; pass allow_empty=True to commit anyway",
            kind=ErrorKind.NO_CHANGES_TO_COMMIT,
        )
    if kind is CommitKind.AMEND and state.base.id == layout.INITIAL_SNAPSHOT_ID:
        raise SessionStateError(
            "the initial commit cannot be amended; commit instead",
            kind=ErrorKind.NO_AMEND_FOR_INITIAL_COMMIT,
        )


def _with_library_data(metadata: Mapping[str, Any] | None, extra: Mapping[str, Any] | None) -> dict[str, Any]:
    """The user's metadata plus what the library records under its reserved key (FORMAT.md, 13.1)."""
    merged = dict(metadata or {})
    if extra:
        given = merged.get("__icechunk")
        merged["__icechunk"] = {**(given if isinstance(given, dict) else {}), **extra}
    return merged


async def _wait_after_conflict(state: SessionState, attempts: int, took: float) -> None:
    """Full jitter, from the first conflict on, so that many committers do not march in step."""
    context = state.context
    wait = backoff_seconds(context.settings.retry, min(attempts, 3), context.ids.uniform(), took)
    await pause(wait, context.clock, may_suspend=state.may_suspend)


async def _publish(
    state: SessionState, message: str, metadata: dict[str, Any], kind: CommitKind, *, is_first: bool
) -> Snapshot:
    # Publishing looks as well, but a commit that will be refused should write as little as possible.
    checks = (state.context.history.check_writable,) if is_first else ()
    id = state.context.ids.object_id()
    log = _log_beside(state, id, kind)
    prepared = await _write_contents(state, *checks)
    snapshot = _snapshot(state, id, prepared, message, metadata)

    async def write() -> list[str]:
        keys = await _write_snapshot(state, snapshot, kind, log)
        manifests = dict.fromkeys(key for array in prepared for key in array.keys)  # arrays may share them
        return [*state.sink.unsynced(), *manifests, *keys]

    try:
        await _publish_in_history(state, snapshot, kind, write)
    except OutcomeUnknown as error:
        _logger.warning(
            "it is unknown whether the %s of snapshot %s landed: %s",
            kind.value,
            base32.encode(snapshot.id),
            error,
        )
        if kind is not CommitKind.FLUSH:
            state.in_doubt.append(snapshot)
        raise
    return snapshot


async def write_unpublished(state: SessionState, message: str) -> Snapshot:
    """The session's changes as a snapshot that no history knows, for forks to start from; written once."""
    with state.committing():
        if state.fork_base is None:
            prepared = await _write_contents(state)
            snapshot = _snapshot(state, state.context.ids.object_id(), prepared, message, {})
            await _write_snapshot(state, snapshot, CommitKind.FLUSH)
            state.fork_base = snapshot
        return state.fork_base


async def _write_contents(
    state: SessionState, *checks: Callable[[], Coroutine[Any, Any, None]]
) -> list[PreparedArray]:
    """Write chunks and manifests, beside checks that may refuse it, and come first in direct mode."""
    # Side by side: nobody sees the manifests before the snapshot is published.
    jobs: list[Callable[[], Coroutine[Any, Any, Any]]] = [
        *checks,
        state.sink.flush,
        lambda: _write_manifests(state),
    ]
    prepared: list[PreparedArray] = (await gather(jobs, may_suspend=state.may_suspend))[-1]
    return prepared


def _snapshot(
    state: SessionState, id: bytes, prepared: Sequence[PreparedArray], message: str, metadata: dict[str, Any]
) -> Snapshot:
    context, base = state.context, state.base
    return build_snapshot(
        base,
        state.changes,
        {array.plan.node_id: array.manifests for array in prepared},
        {file.id: file for array in prepared for file in array.files},
        id=id,
        parent_id=base.id if context.spec_version < 2 else None,
        flushed_at=next_timestamp(context.clock.now_us(), base.flushed_at),
        message=message,
        metadata=metadata,
    )


def _log_beside(state: SessionState, snapshot_id: bytes, kind: CommitKind) -> Future[bytes] | None:
    """Encode the log of very many chunks beside the manifests; amending has to read another one first."""
    many = any(isinstance(refs, ColumnChanges) for refs in state.changes.chunks.values())
    if kind is CommitKind.AMEND or not many:
        return None
    log = build_transaction_log(state.changes, snapshot_id)
    return in_thread(partial(state.context.assets.encode_transaction_log, log))


async def _write_snapshot(
    state: SessionState, snapshot: Snapshot, kind: CommitKind, encoded: Future[bytes] | None = None
) -> list[str]:
    """Write a snapshot and its log, which may be encoded already; gives their keys."""
    assets = state.context.assets

    async def itself() -> str:
        key = await assets.write_snapshot(snapshot)
        await _check_drift(state, snapshot)
        return key

    async def log() -> str:
        if encoded is None:
            data = assets.encode_transaction_log(await _transaction_log(state, snapshot.id, kind))
        else:
            data = await wait_for(encoded, may_suspend=state.may_suspend)
        return await assets.write_transaction_log(snapshot.id, data)

    return await gather([log, itself], may_suspend=state.may_suspend)  # whether it may be amended, first


async def _publish_in_history(
    state: SessionState, snapshot: Snapshot, kind: CommitKind, write: WriteFiles
) -> None:
    history, base = state.context.history, state.base
    on_synced = state.sink.synced
    if kind is CommitKind.FLUSH:
        await history.publish_detached(history.info_of(snapshot, base.id), write, on_synced)
        return
    assert state.branch is not None
    if kind is CommitKind.COMMIT:
        info = history.info_of(snapshot, base.id)
        await history.publish_commit(state.branch, base.id, info, write, on_synced)
        return
    # Its parent is that of the replaced commit, which only the update itself can look up safely.
    await history.publish_amend(state.branch, base.id, history.info_of(snapshot, None), write, on_synced)


async def _transaction_log(state: SessionState, snapshot_id: bytes, kind: CommitKind) -> TransactionLog:
    log = build_transaction_log(state.changes, snapshot_id)
    if kind is not CommitKind.AMEND:
        return log
    old = await state.context.assets.transaction_log(state.base.id)
    if old is not None and old.moves and state.mode is not SessionMode.REARRANGE:
        raise SessionStateError(
            "the latest commit moved nodes, so only a rearrange session can amend it; commit instead, "
            "or open one with Repository.rearrange_session(branch)",
            kind=ErrorKind.REARRANGE_SESSION_ONLY,
        )
    return merge_logs(old or empty_log(state.base.id), log, snapshot_id)


async def _check_drift(state: SessionState, snapshot: Snapshot) -> None:
    """Refuse to publish a snapshot whose time disagrees with the storage's clock (FORMAT.md, 13.1)."""
    about = await state.context.storage.head(layout.snapshot_key(snapshot.id))
    stored_us = int(about.last_modified.timestamp() * 1_000_000)
    if abs(stored_us - snapshot.flushed_at) > _MAX_DRIFT_US:
        raise FormatError(
            "the clocks of this machine and of the storage differ by more than ten minutes, "
            "or the base snapshot is dated in the future; set the clock and commit again",
            kind=ErrorKind.SNAPSHOT_TIMESTAMP,
        )


# --- manifests ---------------------------------------------------------------


def plan_arrays(state: SessionState) -> list[ArrayPlan]:
    """What becomes of the manifests of every array that the commit is about."""

    def refs_of(manifest_id: bytes) -> int:
        entry = state.base.manifest_file(manifest_id)
        return entry.num_chunk_refs if entry else 0

    return plan_manifests(
        state.changes,
        state.base.nodes,
        state.context.grid_of,
        rewrite=state.rewrite_manifests,
        refs_of=refs_of if state.context.splits_automatically else None,
    )


async def _write_manifests(state: SessionState) -> list[PreparedArray]:
    """Write the manifests of every changed array, except those that were prepared before."""
    small: list[SmallArray] = []

    async def prepare(plan: ArrayPlan) -> None:
        refs = await _new_refs(state, plan)
        if state.context.splits_automatically and is_small(plan, refs):
            small.append(SmallArray(plan, refs[0]))
            return
        manifests = [Manifest(state.context.ids.object_id(), {plan.node_id: one}) for one in refs]
        written = await state.context.assets.write_manifests(manifests)
        own = [ManifestRef(one.id, new.extents()) for one, new in zip(manifests, refs, strict=True)]
        state.prepared[plan.node_id] = PreparedArray(
            plan, (*plan.kept, *own), tuple(file for _, file in written), tuple(key for key, _ in written)
        )

    plans = plan_arrays(state)
    left = [plan for plan in plans if not _is_prepared(state, plan)]
    jobs = [partial(prepare, plan) for plan in left]
    await gather(jobs, may_suspend=state.may_suspend, limit=_AT_ONCE)
    await _write_shared(state, small)
    return [state.prepared[plan.node_id] for plan in plans]


def _is_prepared(state: SessionState, plan: ArrayPlan) -> bool:
    done: PreparedArray | None = state.prepared.get(plan.node_id)
    return done is not None and done.plan == plan


async def _write_shared(state: SessionState, small: Sequence[SmallArray]) -> None:
    """Write small arrays into manifests that they share."""
    new_id = state.context.ids.object_id
    groups = shared_manifests(small, frozenset(state.changes.created))
    manifests = [Manifest(new_id(), {array.plan.node_id: array.refs for array in group}) for group in groups]
    written = await state.context.assets.write_manifests(manifests)
    for group, manifest, (key, file) in zip(groups, manifests, written, strict=True):
        for array in group:
            own = (ManifestRef(manifest.id, array.refs.extents()),)
            state.prepared[array.plan.node_id] = PreparedArray(array.plan, own, (file,), (key,))


async def _new_refs(state: SessionState, plan: ArrayPlan) -> list[ChunkRefs]:
    """The refs of each manifest of an array that has to be written."""

    async def fetched(manifest_id: bytes) -> ChunkRefs:
        entry = state.base.manifest_file(manifest_id)
        manifest = await state.context.assets.manifest(manifest_id, entry.size_bytes if entry else 0)
        return manifest.arrays.get(plan.node_id) or ChunkRefs.empty(plan.ndim)

    jobs = [partial(fetched, one) for one in plan.fetch]
    old = await gather(jobs, may_suspend=state.may_suspend, limit=_AT_ONCE)
    new = build_splits(plan, dict(zip(plan.fetch, old, strict=True))).new
    return new if state.relocation is None else list(map(state.relocation.applied, new))
