"""`Repository.copy`: the same repository on another storage."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

import icechunk_core as ic
from icechunk_core.errors import IcechunkError, StorageError
from icechunk_core.maintenance.progress import Progress
from tests.interop.implementations import everything
from tests.maintenance import support
from tests.vectors_support import VECTOR_NAMES, load_vector

WHOLE = tuple(name for name in VECTOR_NAMES if name != "v21-long")


def _source(root: Path, spec_version: int, *, steps: int = 10, seed: int = 5) -> ic.Repository:
    repo = support.start(ic, root, spec_version=spec_version)
    support.grow(repo, seed=seed, steps=steps)
    return repo


def _equal(one: ic.Repository, other: ic.Repository) -> None:
    """Same refs, history and contents everywhere."""
    assert everything(other) == everything(one)


def test_a_copy_is_the_same_repository(tmp_path: Path, spec_version: int, peer: Any) -> None:
    """Refs, history, contents and (spec 2) the operations log are the same, for Icechunk too, and the copy
    is sound."""
    repo = _source(tmp_path / "source", spec_version)
    summary = repo.copy(tmp_path / "target")
    copy = ic.Repository.open(tmp_path / "target")
    _equal(repo, copy)
    assert copy.verify(data=True).ok
    assert set(summary.branches) == repo.list_branches()
    assert summary.objects_copied > 10
    if spec_version == 2:
        assert list(copy.ops_log()) == list(repo.ops_log())
    theirs = peer.Repository.open(peer.local_filesystem_storage(str(tmp_path / "target")))
    assert theirs.lookup_branch("main") == repo.lookup_branch("main")


@pytest.mark.parametrize("name", WHOLE)
def test_icechunks_repositories_are_copied(name: str, tmp_path: Path) -> None:
    """Genuine repositories of all versions come out the same, to memory and back: same refs and history,
    and every object that the copy has is byte for byte the original's."""
    root = load_vector(name).copy_to(tmp_path / "repo")
    repo = ic.Repository.open(root, require_commit_safety=False)
    between = ic.in_memory_storage()
    repo.copy(between)
    ic.Repository.open(between).copy(tmp_path / "back")
    back = ic.Repository.open(tmp_path / "back")
    assert back.list_branches() == repo.list_branches()
    assert back.list_tags() == repo.list_tags()
    for branch in repo.list_branches():
        assert list(back.ancestry(branch=branch)) == list(repo.ancestry(branch=branch))
    for path in (tmp_path / "back").rglob("*"):
        if path.is_file() and ".icechunk-core" not in path.parts:
            assert path.read_bytes() == (root / path.relative_to(tmp_path / "back")).read_bytes()
    assert back.verify(data=True).ok


def test_a_second_copy_brings_what_is_new(tmp_path: Path, spec_version: int) -> None:
    """Another copy adds what came since, and copies nothing again; a third does nothing."""
    repo = _source(tmp_path / "source", spec_version)
    repo.copy(tmp_path / "target")
    support.commit(repo, "main", 99)
    second = repo.copy(tmp_path / "target")
    assert 0 < second.objects_copied < 10
    assert second.branches == ("main",)
    _equal(repo, ic.Repository.open(tmp_path / "target"))
    third = repo.copy(tmp_path / "target")
    assert (third.objects_copied, third.branches, third.tags) == (0, (), ())


def test_deleted_refs_go_with_the_next_copy(tmp_path: Path, spec_version: int) -> None:
    """A copy of everything follows the deletion of branches and tags."""
    repo = _source(tmp_path / "source", spec_version)
    repo.create_branch("short", repo.lookup_branch("main"))
    repo.create_tag("lived", repo.lookup_branch("main"))
    repo.copy(tmp_path / "target")
    repo.delete_branch("short")
    repo.delete_tag("lived")
    repo.copy(tmp_path / "target")
    _equal(repo, ic.Repository.open(tmp_path / "target"))


def test_changes_of_the_target_are_not_lost(tmp_path: Path, spec_version: int) -> None:
    """A target with a commit of its own is refused and stays as it is; ``overwrite`` makes it equal."""
    repo = _source(tmp_path / "source", spec_version)
    repo.copy(tmp_path / "target")
    copy = ic.Repository.open(tmp_path / "target")
    own = support.commit(copy, "main", 7)
    support.commit(repo, "main", 8)
    with pytest.raises(ic.ConflictError, match="overwrite") as caught:
        repo.copy(tmp_path / "target")
    assert caught.value.kind == "copy-target-differs"
    assert copy.lookup_branch("main") == own
    repo.copy(tmp_path / "target", overwrite=True)
    _equal(repo, ic.Repository.open(tmp_path / "target"))


def test_another_repository_is_not_overwritten(tmp_path: Path, spec_version: int) -> None:
    """A repository with another history is refused."""
    repo = _source(tmp_path / "source", spec_version)
    other = _source(tmp_path / "target", spec_version, seed=6)
    before = everything(other)
    with pytest.raises(ic.ConflictError):
        repo.copy(tmp_path / "target")
    assert everything(ic.Repository.open(tmp_path / "target")) == before


def test_spec_versions_do_not_mix(tmp_path: Path) -> None:
    """A target of the other spec version is refused, whole or by refs."""
    repo = _source(tmp_path / "source", 2, steps=2)
    _source(tmp_path / "target", 1, steps=2)
    for choice in ({}, {"branches": ["main"]}):
        with pytest.raises(ic.FormatError, match="spec"):
            repo.copy(tmp_path / "target", **choice)


def test_chosen_branches_and_tags(tmp_path: Path, spec_version: int) -> None:
    """Chosen refs arrive with their whole history under the same ids, beside what is there; other
    refs stay away. The copy is sound, and a second one finds nothing to do."""
    repo = _source(tmp_path / "source", spec_version, steps=4)
    repo.create_branch("wanted", repo.lookup_branch("main"))
    tip = support.commit(repo, "wanted", 1)
    repo.create_tag("v1", tip)
    support.commit(repo, "wanted", 2)
    other = _source(tmp_path / "target", spec_version, seed=6, steps=3)
    mine = other.lookup_branch("main")
    summary = repo.copy(tmp_path / "target", branches=["wanted"], tags=["v1"])
    assert (summary.branches, summary.tags) == (("wanted",), ("v1",))
    copy = ic.Repository.open(tmp_path / "target")
    assert copy.lookup_branch("main") == mine
    assert copy.lookup_tag("v1") == tip
    assert [it.id for it in copy.ancestry(branch="wanted")] == [
        it.id for it in repo.ancestry(branch="wanted")
    ]
    assert copy.verify(data=True).ok
    again = repo.copy(tmp_path / "target", branches=["wanted"], tags=["v1"])
    assert (again.objects_copied, again.branches, again.tags) == (0, (), ())
    support.commit(repo, "wanted", 3)
    assert repo.copy(tmp_path / "target", branches=["wanted"]).branches == ("wanted",)
    assert copy.lookup_branch("wanted") == repo.lookup_branch("wanted")


def test_chosen_branches_make_a_repository(tmp_path: Path, spec_version: int) -> None:
    """In an empty place the chosen refs become a repository; work goes on there."""
    repo = _source(tmp_path / "source", spec_version)
    repo.copy(tmp_path / "target", branches=["main"])
    copy = ic.Repository.open(tmp_path / "target")
    assert copy.list_branches() == {"main"}
    assert copy.lookup_branch("main") == repo.lookup_branch("main")
    support.commit(copy, "main", 3)
    assert copy.verify(data=True).ok


def test_branches_that_went_apart(tmp_path: Path, spec_version: int) -> None:
    """A chosen branch that has other commits in the target is refused; ``overwrite`` moves it.
    Tags never move."""
    repo = _source(tmp_path / "source", spec_version, steps=3)
    repo.create_tag("v1", repo.lookup_branch("main"))
    repo.copy(tmp_path / "target")
    copy = ic.Repository.open(tmp_path / "target")
    own = support.commit(copy, "main", 7)
    support.commit(repo, "main", 8)
    with pytest.raises(ic.ConflictError, match="'main'") as caught:
        repo.copy(tmp_path / "target", branches=["main"])
    assert caught.value.kind == "copy-target-differs"
    assert copy.lookup_branch("main") == own
    repo.copy(tmp_path / "target", branches=["main"], overwrite=True)
    assert copy.lookup_branch("main") == repo.lookup_branch("main")
    copy.create_tag("v2", own)
    repo.create_tag("v2", repo.lookup_branch("main"))
    with pytest.raises(ic.ConflictError, match="'v2'"):
        repo.copy(tmp_path / "target", tags=["v2"], overwrite=True)


def test_unknown_refs(tmp_path: Path) -> None:
    """A branch or tag that does not exist is an error before anything is written."""
    repo = _source(tmp_path / "source", 2, steps=2)
    for choice in ({"branches": ["nowhere"]}, {"tags": ["nothing"]}):
        with pytest.raises(ic.RefNotFoundError):
            repo.copy(tmp_path / "target", **choice)
    assert not ic.Repository.exists(tmp_path / "target")


def test_dry_run_writes_nothing(tmp_path: Path, spec_version: int) -> None:
    """A dry run tells what a copy would do, and leaves the target empty."""
    repo = _source(tmp_path / "source", spec_version)
    planned = repo.copy(tmp_path / "target", dry_run=True)
    assert not ic.Repository.exists(tmp_path / "target")
    assert repo.copy(tmp_path / "target") == planned


def test_an_interrupted_copy_goes_on(tmp_path: Path, spec_version: int) -> None:
    """A copy that is stopped in the middle shows no repository; the next one does not start over."""
    repo = _source(tmp_path / "source", spec_version)

    class Stopped(Exception):
        """The test's own."""

    def stop(progress: Progress) -> None:
        if progress.phase == "copy manifests" and progress.done:
            raise Stopped

    with pytest.raises(Stopped):
        repo.copy(tmp_path / "target", progress=stop)
    assert not ic.Repository.exists(tmp_path / "target")
    summary = repo.copy(tmp_path / "target")
    assert summary.objects_present > 1
    _equal(repo, ic.Repository.open(tmp_path / "target"))


def test_damage_is_not_copied(tmp_path: Path) -> None:
    """Where the source lacks a chunk or a snapshot, the copy fails, names it, and shows nothing."""
    for prefix in ("chunks", "snapshots"):
        root = tmp_path / prefix
        repo = support.start(ic, root)
        victim = max((root / prefix).iterdir())
        if prefix == "snapshots":
            victim = root / prefix / repo.lookup_branch("main")
        victim.unlink()
        with pytest.raises(IcechunkError, match=victim.name):
            ic.Repository.open(root).copy(tmp_path / f"target-{prefix}")
        assert not ic.Repository.exists(tmp_path / f"target-{prefix}")


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_an_executor_copies(tmp_path: Path, kind: str, spec_version: int) -> None:
    """Objects copied by threads or other processes make the same copy."""
    repo = _source(tmp_path / "source", spec_version)
    pool: Callable[[], ThreadPoolExecutor | ProcessPoolExecutor] = (
        (lambda: ThreadPoolExecutor(2))
        if kind == "threads"
        else (lambda: ProcessPoolExecutor(1, get_context("spawn")))
    )
    with pool() as executor:
        repo.copy(tmp_path / "target", executor=executor)
    _equal(repo, ic.Repository.open(tmp_path / "target"))


def test_read_only_targets(tmp_path: Path) -> None:
    """A storage without conditional writes or without writing is refused before anything is copied."""
    repo = _source(tmp_path / "source", 2, steps=2)
    with pytest.raises((StorageError, ic.ReadOnlyError, ic.InvalidInputError)):
        repo.copy("http://127.0.0.1:9/")


async def test_the_async_twin() -> None:
    """`copy_async` is the same."""
    repo = await ic.Repository.create_async("memory:")
    target = ic.in_memory_storage()
    assert (await repo.copy_async(target)).branches == ("main",)
    assert await ic.Repository.exists_async(target)
