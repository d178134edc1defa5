"""`Repository.verify` finds what is wrong with a repository, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import zarr

import icechunk_core as ic
from icechunk_core.maintenance.progress import Progress
from icechunk_core.maintenance.verification import ProblemKind
from tests.maintenance import support
from tests.vectors_support import VECTOR_NAMES, load_vector


def _make(root: Path, spec_version: int = 2) -> ic.Repository:
    repo = support.start(ic, root, spec_version=spec_version)
    support.grow(repo, seed=3)
    return repo


def _objects(root: Path, prefix: str) -> list[Path]:
    return sorted(path for path in (root / prefix).iterdir() if path.is_file())


@pytest.mark.parametrize("spec_version", [1, 2])
def test_a_sound_repository_has_no_problems(tmp_path: Path, spec_version: int) -> None:
    """Nothing is wrong with a repository with a random history, also when all bytes are read; the
    report says how much was looked at."""
    repo = _make(tmp_path / "repo", spec_version)
    plain, thorough = repo.verify(), repo.verify(data=True)
    assert plain.ok
    assert thorough.ok, thorough
    assert plain.snapshots > 5
    assert min(plain.manifests, plain.chunk_refs, plain.chunk_objects) > 0
    assert plain.bytes_read == 0 < thorough.bytes_read


@pytest.mark.parametrize("name", VECTOR_NAMES)
def test_icechunks_repositories_have_no_problems(name: str, tmp_path: Path) -> None:
    """Genuine repositories of all versions are sound. Of one with a long history most snapshots were left
    out to save space: that, and nothing else, is said of it."""
    root = load_vector(name).copy_to(tmp_path / "repo")
    repo = ic.Repository.open(root, require_commit_safety=False)
    report = repo.verify(data=True)
    if name == "v21-long":
        assert {problem.kind for problem in report.problems} == {ProblemKind.MISSING}
        assert {problem.key.split("/")[0] for problem in report.problems} <= {"snapshots", "transactions"}
    else:
        assert report.ok, report


def test_maintained_repositories_have_no_problems(tmp_path: Path) -> None:
    """Expiry, garbage collection and rewritten manifests leave nothing dangling, collection no orphans."""
    repo = _make(tmp_path / "repo")
    repo.rewrite_manifests("again", branch="main")
    repo.expire_snapshots(datetime.now(UTC))
    assert repo.verify().ok
    repo.garbage_collect(support.FUTURE)
    report = repo.verify()
    assert report.ok
    assert report.orphans is not None
    assert all(orphans.count == 0 for orphans in report.orphans.values()), report


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))


DAMAGES = {
    "snapshot gone": ("snapshots", Path.unlink, {ProblemKind.MISSING}),
    "snapshot damaged": ("snapshots", _truncate, {ProblemKind.CORRUPT}),
    "log gone": ("transactions", Path.unlink, {ProblemKind.MISSING}),
    "log damaged": ("transactions", _truncate, {ProblemKind.CORRUPT}),
    "manifest gone": ("manifests", Path.unlink, {ProblemKind.MISSING}),
    "manifest damaged": ("manifests", _truncate, {ProblemKind.CORRUPT}),
    "chunk gone": ("chunks", Path.unlink, {ProblemKind.MISSING}),
    "chunk too short": ("chunks", _truncate, {ProblemKind.WRONG_SIZE}),
}


@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.parametrize("data", [False, True])
def test_damage_is_found(tmp_path: Path, name: str, data: bool) -> None:
    """Each kind of damage is reported with the key of the damaged object, with and without reading
    the chunks, and is not reported twice."""
    root = tmp_path / "repo"
    repo = _make(root)
    prefix, damage, kinds = DAMAGES[name]
    # A packed chunk object is needed to its end; the last one listed is in use.
    used = _used_objects(repo, root, prefix)
    victim = used[-1]
    damage(victim)
    report = ic.Repository.open(root).verify(data=data)
    assert not report.ok
    mine = [problem for problem in report.problems if problem.key == f"{prefix}/{victim.name}"]
    assert {problem.kind for problem in mine} == kinds, report
    assert [len(mine), len(report.problems)] == [1, 1]
    assert report.problem_count == 1


def _used_objects(repo: ic.Repository, root: Path, prefix: str) -> list[Path]:
    """The objects that history leads to, found by removing the rest from a copy."""
    copy = support.copy(root, f"{root.name}-collected")
    ic.Repository.open(copy).garbage_collect(support.FUTURE)
    return [root / prefix / path.name for path in _objects(copy, prefix)]


def test_swapped_objects_are_found(tmp_path: Path) -> None:
    """Two snapshots, two manifests and two logs that trade places are told from the right ones."""
    for prefix in ("snapshots", "manifests", "transactions"):
        root = tmp_path / prefix
        repo = _make(root)
        one, two = _used_objects(repo, root, prefix)[:2]
        first, second = one.read_bytes(), two.read_bytes()
        one.write_bytes(second)
        two.write_bytes(first)
        report = ic.Repository.open(root).verify()
        found = {problem.key for problem in report.problems if problem.kind == ProblemKind.INCONSISTENT}
        assert {f"{prefix}/{one.name}", f"{prefix}/{two.name}"} <= found, report


def test_orphans_are_counted(tmp_path: Path) -> None:
    """Objects that nothing refers to are counted with their bytes, and are no problem."""
    root = tmp_path / "repo"
    repo = _make(root)
    repo.garbage_collect(support.FUTURE)
    session = repo.writable_session("main")
    support.put(session, {"x/c/1": b"never committed" * 100})
    session.flush("not on a branch")
    (root / "chunks" / "00000000000000000000").write_bytes(b"12345")
    report = ic.Repository.open(root).verify()
    assert report.ok
    assert report.orphans is not None
    assert (report.orphans["chunks"].count, report.orphans["chunks"].bytes) == (1, 5)


def test_problems_are_counted_beyond_those_told(tmp_path: Path) -> None:
    """All problems count; only so many as asked for are told in detail."""
    root = tmp_path / "repo"
    repo = _make(root)
    used = _used_objects(repo, root, "chunks")
    for path in used:
        path.unlink()
    report = ic.Repository.open(root).verify(max_problems=1)
    assert len(report.problems) == 1
    assert report.problem_count == len(used)


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_an_executor_does_the_same(tmp_path: Path, kind: str) -> None:
    """Verification over threads or other processes reports what it reports without."""
    root = tmp_path / "repo"
    repo = _make(root)
    _used_objects(repo, root, "chunks")[0].unlink()
    expected = ic.Repository.open(root).verify()
    pool: Callable[[], ThreadPoolExecutor | ProcessPoolExecutor] = (
        (lambda: ThreadPoolExecutor(2))
        if kind == "threads"
        else (lambda: ProcessPoolExecutor(1, get_context("spawn")))
    )
    with pool() as executor:
        assert ic.Repository.open(root).verify(executor=executor) == expected
    assert not expected.ok


def test_virtual_objects_are_checked(tmp_path: Path) -> None:
    """With ``virtual=True`` a referenced file that is gone, too short or changed is a problem."""
    files = tmp_path / "files"
    files.mkdir()
    for name in ("gone", "short", "changed", "fine"):
        (files / name).write_bytes(b"0123456789")
    config = ic.RepositoryConfig.default()
    prefix = files.as_uri() + "/"
    config.set_virtual_chunk_container(
        ic.VirtualChunkContainer(prefix, ic.local_filesystem_store(str(files)))
    )
    access = {prefix: ic.Credentials.LocalFileSystemAccess()}
    repo = ic.Repository.create(tmp_path / "repo", config, authorize_virtual_chunk_access=access)
    session = repo.writable_session("main")
    array = zarr.create_array(session.store, shape=40, chunks=10, dtype="i1", compressors=None)
    assert array.shape == (40,)
    for index, name in enumerate(("gone", "short", "changed", "fine")):
        session.store.set_virtual_ref(
            f"c/{index}", prefix + name, offset=0, length=10, checksum=datetime.now(UTC)
        )
    session.commit("refer")
    assert repo.verify(virtual=True).ok
    (files / "gone").unlink()
    (files / "short").write_bytes(b"0123")
    os.utime(files / "changed", (4_000_000_000, 4_000_000_000))
    os.utime(files / "short", (1_000_000_000, 1_000_000_000))
    assert repo.verify().ok
    report = repo.verify(virtual=True)
    assert {(problem.kind, problem.key.rsplit("/", 1)[-1]) for problem in report.problems} == {
        (ProblemKind.MISSING, "gone"),
        (ProblemKind.WRONG_SIZE, "short"),
        (ProblemKind.CHANGED, "changed"),
    }
    assert report.virtual_objects == 4


def test_progress_is_reported(tmp_path: Path) -> None:
    """Every phase tells how far it is, and comes to its end."""
    seen: list[Progress] = []
    repo = _make(tmp_path / "repo")
    repo.verify(data=True, progress=seen.append)
    last = {progress.phase: progress for progress in seen}
    assert list(last) == ["list", "snapshots", "transaction logs", "manifests", "read chunks"]
    assert all(progress.done == progress.total for phase, progress in last.items() if phase != "list")


def test_reports_are_shown(tmp_path: Path) -> None:
    """The report reads as text and as HTML, problems included."""
    root = tmp_path / "repo"
    repo = _make(root)
    assert "nothing is wrong" in repr(repo.verify())
    victim = _used_objects(repo, root, "chunks")[0]
    victim.unlink()
    report = ic.Repository.open(root).verify()
    assert f"missing: chunks/{victim.name}" in repr(report)
    assert victim.name in report._repr_html_()


def test_many_arrays_share_a_check() -> None:
    """A repository in memory with inline, native and missing chunks verifies by the blocking and the
    async method alike."""
    repo = ic.Repository.create("memory:")
    session = repo.writable_session("main")
    group = zarr.open_group(session.store, mode="w")
    for number in range(20):
        group.create_array(f"a{number}", shape=(64,), chunks=(8,), dtype="f8")[:32] = np.arange(32.0)
    session.commit("fill")
    assert repo.verify().ok


async def test_the_async_twin() -> None:
    """`verify_async` is the same."""
    repo = await ic.Repository.create_async("memory:")
    assert (await repo.verify_async()).ok
