"""Repo info values for the tests of this directory."""

from __future__ import annotations

from collections.abc import Mapping

from icechunk_core.format.repo_info import (
    RepoInfo,
    RepoInitialized,
    RepoStatus,
    SnapshotInfo,
    SnapshotTable,
    Update,
    UpdateLog,
)
from tests.transaction.model import object_id


def info_of(number: int, parent: int | None = None, flushed_at: int = 0, message: str = "") -> SnapshotInfo:
    """Snapshot ``number``."""
    return SnapshotInfo(
        object_id(number),
        None if parent is None else object_id(parent),
        flushed_at or 100 * number,
        message or f"commit {number}",
        {},
    )


def repo_info(
    *parents: int | None,
    branches: Mapping[str, int] | None = None,
    tags: Mapping[str, int] | None = None,
) -> RepoInfo:
    """A repository whose snapshot i (from 1) has the given parent."""
    infos = [info_of(number, parent) for number, parent in enumerate(parents, start=1)]
    return RepoInfo(
        spec_version=2,
        tags={name: object_id(number) for name, number in (tags or {}).items()},
        branches={name: object_id(number) for name, number in (branches or {"main": len(infos)}).items()},
        deleted_tags=frozenset(),
        snapshots=SnapshotTable.from_infos(infos),
        status=RepoStatus(0, 5, None),
        metadata={},
        updates=UpdateLog([Update(RepoInitialized(), 10, None)]),
    )
