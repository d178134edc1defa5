"""The operations log: every change, however old."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import attrs
import pytest
import zarr

import icechunk_core as ic
from icechunk_core.format import repo_info
from icechunk_core.repository.updates import Update
from tests.repository.programs import commit_group

ROOT = "1CECHNKREP0F1RSTCMT0"


def kinds(repo: ic.Repository) -> list[Any]:
    return [update.kind for update in repo.ops_log()]


def test_each_operation_has_its_entry(repo2: ic.Repository) -> None:
    """Newest first, with the names and ids that belong to it."""
    tip = commit_group(repo2, "a")
    repo2.create_branch("dev", ROOT)
    repo2.reset_branch("dev", tip)
    repo2.delete_branch("dev")
    repo2.create_tag("v1", tip)
    repo2.delete_tag("v1")
    repo2.save_config()
    repo2.set_metadata({"a": 1})
    repo2.set_feature_flag("move_node", False)
    repo2.set_feature_flag("move_node", None)
    status = ic.RepoStatus(ic.RepoAvailability.online, limited_availability_reason="checked")
    repo2.set_status(status)
    of = ic.UpdateType
    assert kinds(repo2) == [
        of.RepoStatusChanged(status=status),
        of.FeatureFlagChanged(id=3, new_value=None),
        of.FeatureFlagChanged(id=3, new_value=False),
        of.MetadataChanged(),
        of.ConfigChanged(),
        of.TagDeleted(name="v1", previous_snap_id=tip),
        of.TagCreated(name="v1"),
        of.BranchDeleted(name="dev", previous_snap_id=tip),
        of.BranchReset(name="dev", previous_snap_id=ROOT),
        of.BranchCreated(name="dev"),
        of.NewCommit(branch="main", new_snap_id=tip),
        of.RepoInitialized(),
    ]


def test_amend_and_flush(repo2: ic.Repository) -> None:
    """An amended commit names both snapshots, a flushed one the new one."""
    first = commit_group(repo2, "a")
    session = repo2.writable_session("main")
    amended = session.amend("again", allow_empty=True)
    assert kinds(repo2)[0] == ic.UpdateType.CommitAmended(
        branch="main", previous_snap_id=first, new_snap_id=amended
    )
    session = repo2.writable_session("main")
    zarr.create_group(session.store, path="b")
    flushed = session.flush("aside")
    assert kinds(repo2)[0] == ic.UpdateType.NewDetachedSnapshot(new_snap_id=flushed)


@pytest.mark.parametrize("page", [1, 2, 3, 7])
def test_the_log_goes_on_in_backups(page: int) -> None:
    """Whatever fits into one file, all entries are there, in order, each backup named once."""
    repo = ic.Repository.create("memory:", ic.RepositoryConfig(num_updates_per_repo_info_file=page))
    for number in range(9):
        repo.create_branch(f"b{number}", ROOT)
    log = list(repo.ops_log())
    assert [update.kind for update in log] == [
        *(ic.UpdateType.BranchCreated(name=f"b{number}") for number in reversed(range(9))),
        ic.UpdateType.RepoInitialized(),
    ]
    times = [update.updated_at for update in log]
    assert times == sorted(times, reverse=True)
    assert len(set(times)) == len(times)
    paths = [update.backup_path for update in log]
    assert paths[0] is None
    assert all(path is not None and path.startswith("repo.") for path in paths[1:])
    assert len(set(paths)) == len(paths)


def test_backups_are_what_they_claim(tmp_path: Path) -> None:
    """Restoring the backup of an entry gives the repository whose newest change is that entry."""
    repo = ic.Repository.create(tmp_path / "repo", ic.RepositoryConfig(num_updates_per_repo_info_file=2))
    for number in range(5):
        repo.create_branch(f"b{number}", ROOT)
    entry = list(repo.ops_log())[3]
    assert entry.backup_path is not None
    (tmp_path / "repo" / "repo").write_bytes(
        (tmp_path / "repo" / "overwritten" / entry.backup_path).read_bytes()
    )
    restored = ic.Repository.open(tmp_path / "repo")
    assert restored.list_branches() == {"main", "b0", "b1"}
    assert kinds(restored)[0] == entry.kind == ic.UpdateType.BranchCreated(name="b1")


def test_a_missing_backup_ends_the_log(tmp_path: Path) -> None:
    """Who cleans backups up loses old entries and nothing else."""
    repo = ic.Repository.create(tmp_path / "repo", ic.RepositoryConfig(num_updates_per_repo_info_file=2))
    for number in range(6):
        repo.create_branch(f"b{number}", ROOT)
    for backup in (tmp_path / "repo" / "overwritten").iterdir():
        backup.unlink()
    assert kinds(repo) == [ic.UpdateType.BranchCreated(name=f"b{number}") for number in (5, 4)]
    assert len(repo.list_branches()) == 7


def test_a_log_that_runs_in_a_circle_is_an_error(tmp_path: Path) -> None:
    """A backup that leads back to itself does not hang the reader."""
    repo = ic.Repository.create(tmp_path / "repo", ic.RepositoryConfig(num_updates_per_repo_info_file=1))
    for number in range(3):
        repo.create_branch(f"b{number}", ROOT)
    newest = repo.inspect_repo_info()["repo_before_updates"]
    backup = tmp_path / "repo" / "overwritten" / newest
    backup.write_bytes((tmp_path / "repo" / "repo").read_bytes())
    with pytest.raises(ic.FormatError, match="circle"):
        list(repo.ops_log())


def test_every_kind_of_the_format_has_a_public_one() -> None:
    """Ids become text and statuses become public ones, for each kind that can be stored."""
    values = {
        "name": "n", "branch": "b", "previous_snap_id": b"1" * 12, "new_snap_id": b"2" * 12, "id": 4,
        "new_value": True, "from_version": 1, "to_version": 2, "code": 99,
        "status": repo_info.RepoStatus(1, 5, "r"),
    }  # fmt: skip
    for kind in get_args(repo_info.UpdateKind):
        stored = kind(**{attribute.name: values[attribute.name] for attribute in attrs.fields(kind)})
        public = Update.from_record(repo_info.Update(stored, 1_000_000, "repo.1.X"))
        assert public.updated_at == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
        assert isinstance(public.kind, ic.UpdateType)
        name = "Unknown" if kind is repo_info.UnknownUpdate else kind.__name__
        assert type(public.kind) is getattr(ic.UpdateType, name)
        assert repr(public.kind).startswith(f"UpdateType.{name}(")
        assert pickle.loads(pickle.dumps(public)) == public
        for attribute in attrs.fields(kind):
            assert not isinstance(getattr(public.kind, attribute.name), bytes | repo_info.RepoStatus)


def test_kinds_can_be_matched() -> None:
    """Kinds work in ``match``, by position and by name."""
    kind: ic.UpdateType = ic.UpdateType.BranchReset("main", ROOT)
    match kind:
        case ic.UpdateType.BranchReset(name, previous_snap_id=previous):
            assert (name, previous) == ("main", ROOT)
        case _:
            pytest.fail("no match")
