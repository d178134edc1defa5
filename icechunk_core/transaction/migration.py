"""The repo info of a spec 1 repository that becomes one of spec 2 (FORMAT.md, section 21)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import evolve, frozen

from icechunk_core.errors import Corrupt, RefNotFoundError
from icechunk_core.format.layout import REFS_PREFIX
from icechunk_core.format.repo_info import (
    BranchCreated,
    NewCommit,
    RepoInfo,
    RepoInitialized,
    RepoMigrated,
    RepoStatus,
    SnapshotInfo,
    SnapshotTable,
    TagCreated,
    TagDeleted,
    Update,
    UpdateKind,
    UpdateLog,
)
from icechunk_core.transaction.repo_updates import MAIN

__all__ = ["RefFiles", "migrated_repo_info"]

_MILLISECOND = 1000


@frozen
class RefFiles:
    """The refs of a spec 1 repository.

    Attributes
    ----------
    branches, tags
        Snapshot ids by name.
    deleted_tags
        Names of deleted tags, and where they pointed.
    """

    branches: Mapping[str, bytes]
    tags: Mapping[str, bytes]
    deleted_tags: Mapping[str, bytes]

    def tips(self) -> list[bytes]:
        """Where branches and tags point, each once."""
        return list(dict.fromkeys((*self.branches.values(), *self.tags.values())))


def migrated_repo_info(
    refs: RefFiles,
    snapshots: Mapping[bytes, SnapshotInfo],
    config: bytes | None,
    now_us: int,
) -> RepoInfo:
    """The content of the new ``repo`` object.

    Parameters
    ----------
    snapshots
        Every snapshot reachable from ``refs``, by id.
    config
        The configuration as FlexBuffers.

    Raises
    ------
    RefNotFoundError
        There is no branch ``main``.
    Corrupt
        A snapshot lacks its parent, or there is no first snapshot.
    """
    if MAIN not in refs.branches:
        raise RefNotFoundError(f"no branch {MAIN!r}; a repository without it cannot be migrated")
    chains = {name: _chain(tip, snapshots) for name, tip in refs.branches.items()}
    root = chains[MAIN][-1]
    events = [(root.flushed_at, RepoInitialized()), *_commits(chains), *_ref_events(refs, snapshots, root)]
    return RepoInfo(
        spec_version=2,
        tags=dict(refs.tags),
        branches=dict(refs.branches),
        deleted_tags=frozenset(refs.deleted_tags),
        snapshots=SnapshotTable.from_infos(
            evolve(entry, pruned_ancestor_tx_logs=()) for entry in snapshots.values()
        ),
        status=RepoStatus(availability=0, set_at=root.flushed_at, reason=None),
        metadata={},
        updates=_log(events, now_us),
        config=config,
    )


def _chain(tip: bytes, snapshots: Mapping[bytes, SnapshotInfo]) -> list[SnapshotInfo]:
    chain: list[SnapshotInfo] = []
    current: bytes | None = tip
    while current is not None:
        entry = snapshots.get(current)
        if entry is None or len(chain) > len(snapshots):
            raise Corrupt("the history of a ref does not end in a first snapshot", object_name=REFS_PREFIX)
        chain.append(entry)
        current = entry.parent_id
    return chain


Event = tuple[int, UpdateKind]


def _commits(chains: Mapping[str, list[SnapshotInfo]]) -> Iterator[Event]:
    """Each commit once: on ``main`` if it is in its history, else on the first branch by name."""
    seen: set[bytes] = set()
    for name in sorted(chains, key=lambda name: (name != MAIN, name.encode())):
        for entry in chains[name]:
            if entry.id in seen:
                break
            seen.add(entry.id)
            if entry.parent_id is not None:
                yield entry.flushed_at, NewCommit(branch=name, new_snap_id=entry.id)


def _ref_events(
    refs: RefFiles, snapshots: Mapping[bytes, SnapshotInfo], root: SnapshotInfo
) -> Iterator[Event]:
    """When refs were made is not known: shortly after the snapshot that they point to."""

    def time(tip: bytes) -> int:
        return snapshots.get(tip, root).flushed_at

    for name, tip in sorted(refs.branches.items()):
        if name != MAIN:
            yield time(tip) + _MILLISECOND, BranchCreated(name=name)
    for name, tip in sorted(refs.tags.items()):
        yield time(tip) + _MILLISECOND, TagCreated(name=name)
    for name, tip in sorted(refs.deleted_tags.items()):
        yield time(tip) + _MILLISECOND, TagCreated(name=name)
        yield time(tip) + 2 * _MILLISECOND, TagDeleted(name=name, previous_snap_id=tip)


def _log(events: list[Event], now_us: int) -> UpdateLog:
    """The log, newest first; no two entries have the same time."""
    log: list[Update] = []
    last = -1
    for time, kind in sorted(events, key=lambda event: event[0]):
        last = max(time, last + 1)
        log.append(Update(kind=kind, updated_at=last, backup_path=None))
    log.append(Update(kind=RepoMigrated(1, 2), updated_at=max(now_us, last + 1), backup_path=None))
    return UpdateLog(log[::-1])
