"""Operations on the repo info, one by one, with their checks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from attrs import evolve

from icechunk_core.errors import (
    AlreadyExistsError,
    ConflictError,
    ErrorKind,
    FormatError,
    IcechunkError,
    InvalidInputError,
    ReadOnlyError,
    RefNotFoundError,
    SessionStateError,
    SnapshotNotFoundError,
)
from icechunk_core.format.base32 import encode
from icechunk_core.format.repo_info import (
    BranchCreated,
    BranchDeleted,
    BranchReset,
    CommitAmended,
    ConfigChanged,
    FeatureFlagChanged,
    MetadataChanged,
    NewCommit,
    NewDetachedSnapshot,
    RepoInfo,
    RepoStatus,
    RepoStatusChanged,
    TagCreated,
    TagDeleted,
    decode_repo_info,
    encode_repo_info,
)
from icechunk_core.format.snapshot import initial_snapshot
from icechunk_core.transaction import repo_updates as ops
from icechunk_core.transaction.ops_log import record_update
from tests.transaction.model import object_id
from tests.transaction.repo_model import info_of, repo_info

REPO = repo_info(None, 1, 1, branches={"main": 2, "dev": 3}, tags={"v1": 1})
Operation = Callable[[RepoInfo], ops.Decision]


def test_initial() -> None:
    """A new repository has the first snapshot on main, nothing else, and one log entry."""
    first = initial_snapshot(77)
    repo = ops.initial_repo_info(first, None, 80)
    assert repo.branches == {"main": first.id}
    assert (dict(repo.tags), repo.deleted_tags, repo.config) == ({}, frozenset(), None)
    (info,) = repo.snapshots
    assert (info.parent_id, info.flushed_at, info.message, info.metadata) == (
        None,
        77,
        first.message,
        first.metadata,
    )
    assert [update.updated_at for update in repo.updates] == [80]
    assert decode_repo_info(encode_repo_info(repo), name="repo") == repo


def test_commit() -> None:
    """The branch moves, the snapshot is listed with the base as its parent, other refs stay."""
    repo, kind = ops.publish_commit(REPO, "main", object_id(2), info_of(9))
    assert kind == NewCommit("main", object_id(9))
    assert repo.branches == {"main": object_id(9), "dev": object_id(3)}
    assert repo.snapshots.parent_of(object_id(9)) == object_id(2)
    assert len(repo.snapshots) == 4
    assert REPO.branches["main"] == object_id(2)


@pytest.mark.parametrize("publish", [ops.publish_commit, ops.publish_amend])
def test_moved_branch_is_a_conflict(publish: Callable[..., ops.Decision]) -> None:
    """A conflict names both snapshots: the one expected and the one found."""
    with pytest.raises(ConflictError) as raised:
        publish(REPO, "main", object_id(1), info_of(9))
    error = raised.value
    assert (error.expected_parent, error.actual_parent) == (encode(object_id(1)), encode(object_id(2)))
    assert error.kind == ErrorKind.COMMIT_CONFLICT


@pytest.mark.parametrize("publish", [ops.publish_commit, ops.publish_amend])
def test_deleted_branch(publish: Callable[..., ops.Decision]) -> None:
    """A commit on a branch that is gone says so."""
    with pytest.raises(RefNotFoundError) as raised:
        publish(REPO, "gone", object_id(1), info_of(9))
    assert raised.value.kind == ErrorKind.BRANCH_NOT_FOUND


def test_commit_twice_with_one_id() -> None:
    """An id is never used again."""
    with pytest.raises(FormatError) as raised:
        ops.publish_commit(REPO, "main", object_id(2), info_of(3))
    assert raised.value.kind == ErrorKind.DUPLICATE_SNAPSHOT_ID


def test_amend() -> None:
    """The new tip takes the place of the old one: its parent and pruned logs; the old one stays listed."""
    pruned = (object_id(70), object_id(71))
    replaced = REPO.snapshots.get(object_id(2))
    assert replaced is not None
    start = evolve(REPO, snapshots=REPO.snapshots.added(evolve(replaced, pruned_ancestor_tx_logs=pruned)))
    repo, kind = ops.publish_amend(start, "main", object_id(2), info_of(9))
    assert kind == CommitAmended("main", object_id(2), object_id(9))
    new = repo.snapshots.get(object_id(9))
    assert new is not None
    assert (new.parent_id, new.pruned_ancestor_tx_logs) == (object_id(1), pruned)
    assert object_id(2) in repo.snapshots
    assert repo.branches["main"] == object_id(9)


def test_first_snapshot_cannot_be_amended() -> None:
    """There is nothing it could be put on."""
    start = repo_info(None)
    with pytest.raises(SessionStateError) as raised:
        ops.publish_amend(start, "main", object_id(1), info_of(9))
    assert raised.value.kind == ErrorKind.NO_AMEND_FOR_INITIAL_COMMIT


def test_detached() -> None:
    """A flushed snapshot is listed and no ref moves."""
    repo, kind = ops.publish_detached(REPO, info_of(9, 3))
    assert kind == NewDetachedSnapshot(object_id(9))
    assert (repo.branches, repo.tags) == (REPO.branches, REPO.tags)
    assert repo.snapshots.parent_of(object_id(9)) == object_id(3)
    with pytest.raises(SnapshotNotFoundError):
        ops.publish_detached(REPO, info_of(9, 40))


def test_branches() -> None:
    """Create, reset and delete, each with its log entry."""
    repo, kind = ops.create_branch(REPO, "a/b", object_id(1))
    assert (repo.branches["a/b"], kind) == (object_id(1), BranchCreated("a/b"))
    repo, kind = ops.reset_branch(repo, "a/b", object_id(3), object_id(1))
    assert (repo.branches["a/b"], kind) == (object_id(3), BranchReset("a/b", object_id(1)))
    repo, kind = ops.delete_branch(repo, "a/b")
    assert (repo.branches, kind) == (REPO.branches, BranchDeleted("a/b", object_id(3)))


def test_tags() -> None:
    """A tag is made once; deleting it reserves its name for ever."""
    repo, kind = ops.create_tag(REPO, "v2", object_id(2))
    assert (repo.tags, kind) == ({"v1": object_id(1), "v2": object_id(2)}, TagCreated("v2"))
    repo, kind = ops.delete_tag(repo, "v2")
    assert (repo.tags, repo.deleted_tags, kind) == (
        REPO.tags,
        frozenset({"v2"}),
        TagDeleted("v2", object_id(2)),
    )
    with pytest.raises(AlreadyExistsError) as raised:
        ops.create_tag(repo, "v2", object_id(2))
    assert raised.value.kind == ErrorKind.TAG_PREVIOUSLY_DELETED


REFUSED: dict[str, tuple[Operation, type[IcechunkError], ErrorKind]] = {
    "branch exists": (
        lambda r: ops.create_branch(r, "main", object_id(1)),
        AlreadyExistsError,
        ErrorKind.BRANCH_ALREADY_EXISTS,
    ),
    "branch at unknown snapshot": (
        lambda r: ops.create_branch(r, "new", object_id(40)),
        SnapshotNotFoundError,
        ErrorKind.SNAPSHOT_NOT_FOUND,
    ),
    "reset of unknown branch": (
        lambda r: ops.reset_branch(r, "nope", object_id(1)),
        RefNotFoundError,
        ErrorKind.REF_NOT_FOUND,
    ),
    "reset to unknown snapshot": (
        lambda r: ops.reset_branch(r, "dev", object_id(40)),
        SnapshotNotFoundError,
        ErrorKind.SNAPSHOT_NOT_FOUND,
    ),
    "reset from elsewhere": (
        lambda r: ops.reset_branch(r, "dev", object_id(1), object_id(2)),
        ConflictError,
        ErrorKind.BRANCH_UPDATE_CONFLICT,
    ),
    "delete main": (
        lambda r: ops.delete_branch(r, "main"),
        SessionStateError,
        ErrorKind.CANNOT_DELETE_MAIN,
    ),
    "delete unknown branch": (
        lambda r: ops.delete_branch(r, "nope"),
        RefNotFoundError,
        ErrorKind.REF_NOT_FOUND,
    ),
    "tag exists": (
        lambda r: ops.create_tag(r, "v1", object_id(1)),
        AlreadyExistsError,
        ErrorKind.TAG_ALREADY_EXISTS,
    ),
    "tag at unknown snapshot": (
        lambda r: ops.create_tag(r, "v9", object_id(40)),
        SnapshotNotFoundError,
        ErrorKind.SNAPSHOT_NOT_FOUND,
    ),
    "delete unknown tag": (
        lambda r: ops.delete_tag(r, "nope"),
        RefNotFoundError,
        ErrorKind.REF_NOT_FOUND,
    ),
    "unknown flag": (
        lambda r: ops.set_feature_flag(r, "zork", True),
        InvalidInputError,
        ErrorKind.INVALID_FEATURE_FLAG,
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str) -> None:
    """Each operation that is not possible fails with its own kind of error."""
    operation, error, kind = REFUSED[case]
    with pytest.raises(error) as raised:
        operation(REPO)
    assert raised.value.kind == kind


def test_settings() -> None:
    """Configuration and metadata are replaced, or metadata merged key by key."""
    repo, kind = ops.set_config(REPO, b"doc")
    assert (repo.config, kind) == (b"doc", ConfigChanged())
    repo, kind = ops.set_metadata(repo, {"a": 1, "b": 2})
    assert (repo.metadata, kind) == ({"a": 1, "b": 2}, MetadataChanged())
    repo, _ = ops.set_metadata(repo, {"b": 3}, merge=True)
    assert repo.metadata == {"a": 1, "b": 3}
    repo, _ = ops.set_metadata(repo, {"c": 4})
    assert repo.metadata == {"c": 4}


def test_feature_flags() -> None:
    """Switching a flag off stops what it stands for; None brings the default back."""
    assert ops.flag_enabled(REPO, "create_tag")
    off, kind = ops.set_feature_flag(REPO, "create_tag", False)
    assert kind == FeatureFlagChanged(4, False)
    assert (off.enabled_flags, off.disabled_flags) == ((), (4,))
    with pytest.raises(SessionStateError) as raised:
        ops.create_tag(off, "v2", object_id(1))
    assert raised.value.kind == ErrorKind.FEATURE_FLAG_DISABLED
    both, _ = ops.set_feature_flag(off, "delete_tag", False)
    assert both.disabled_flags == (4, 5)
    with pytest.raises(SessionStateError):
        ops.delete_tag(both, "v1")
    on, _ = ops.set_feature_flag(both, "create_tag", True)
    assert (on.enabled_flags, on.disabled_flags) == ((4,), (5,))
    default, kind = ops.set_feature_flag(on, "create_tag", None)
    assert (default.enabled_flags, default.disabled_flags, kind) == ((), (5,), FeatureFlagChanged(4, None))
    assert ops.flag_enabled(evolve(REPO, enabled_flags=(4,), disabled_flags=(4,)), "create_tag")


WRITES: dict[str, Operation] = {
    "commit": lambda r: ops.publish_commit(r, "main", object_id(2), info_of(9)),
    "amend": lambda r: ops.publish_amend(r, "main", object_id(2), info_of(9)),
    "detached": lambda r: ops.publish_detached(r, info_of(9, 1)),
    "create branch": lambda r: ops.create_branch(r, "x", object_id(1)),
    "reset branch": lambda r: ops.reset_branch(r, "dev", object_id(1)),
    "delete branch": lambda r: ops.delete_branch(r, "dev"),
    "create tag": lambda r: ops.create_tag(r, "x", object_id(1)),
    "delete tag": lambda r: ops.delete_tag(r, "v1"),
    "config": lambda r: ops.set_config(r, b""),
    "metadata": lambda r: ops.set_metadata(r, {}),
    "flag": lambda r: ops.set_feature_flag(r, "move_node", False),
}


@pytest.mark.parametrize("case", WRITES)
def test_read_only_repository_takes_no_changes(case: str) -> None:
    """Read-only status stops every change but that of the status, and says why it was set."""
    closed, kind = ops.set_status(REPO, RepoStatus(1, 1_000_000, "maintenance"))
    assert kind == RepoStatusChanged(RepoStatus(1, 1_000_000, "maintenance"))
    with pytest.raises(ReadOnlyError, match="maintenance") as raised:
        WRITES[case](closed)
    assert raised.value.kind == ErrorKind.READ_ONLY_REPOSITORY
    WRITES[case](ops.set_status(closed, RepoStatus(0, 2_000_000, None))[0])


@pytest.mark.parametrize("case", WRITES)
def test_everything_else_is_carried_over_and_can_be_written(case: str) -> None:
    """What an operation is not about stays; the result, with its log entry, survives a round trip."""
    start = evolve(
        REPO,
        config=b"conf",
        metadata={"k": 1},
        deleted_tags=frozenset({"x0"}),
        disabled_flags=(9,),
        enabled_flags=(),
    )
    decided, kind = WRITES[case](start)
    after = record_update(decided, kind, 500, "repo.1.AAAA", 10)
    touched = {
        "config": {"config"},
        "metadata": {"metadata"},
        "flag": {"disabled_flags"},
        "delete tag": {"deleted_tags", "tags"},
        "create tag": {"tags"},
        "detached": {"snapshots"},
        "commit": {"snapshots", "branches"},
        "amend": {"snapshots", "branches"},
    }.get(case, {"branches"})
    for name in (
        "config",
        "metadata",
        "deleted_tags",
        "tags",
        "branches",
        "snapshots",
        "disabled_flags",
        "status",
    ):
        assert (getattr(after, name) == getattr(start, name)) is (name not in touched)
    assert after.updates[0].kind == kind
    assert decode_repo_info(encode_repo_info(after), name="repo") == after
