"""Sparse packs: what is dead in them is known, kept out of new ones, and freed in the end."""

from __future__ import annotations

from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

import icechunk_core as ic
from icechunk_core.contract.wrappers import with_latency
from icechunk_core.drive import run_direct
from icechunk_core.errors import ConflictError, Corrupt, FormatError, InvalidInputError
from tests.interop.implementations import OURS, contents, delete, get, load_peer, open_repo, put
from tests.interop.nodes import array_json
from tests.maintenance.support import FUTURE
from tests.packs.support import SMALL, chunk, chunk_files, fill, refs, with_array


def sparse_repo(storage: Any, *, spec_version: int = 2) -> ic.Repository:
    """Two packs of ten chunks, nine and seven of them overwritten by two more; other chunks beside them."""
    repo = ic.Repository.create(storage, spec_version=spec_version, packs=SMALL)
    session = with_array(repo)
    put(session, {"y/zarr.json": array_json((8,), (1,)), "x/c/100": b"inline"})
    fill(session, range(20))
    session.commit("filled")
    session = repo.writable_session("main")
    fill(session, [*range(9), *range(10, 17)], seed=500)
    put(session, {"y/c/1": chunk(77)})
    session.commit("overwritten")
    return repo


def forget_the_past(repo: ic.Repository) -> None:
    repo.expire_snapshots(datetime.now(UTC) + timedelta(days=1))


def data(repo: Any) -> dict[str, bytes]:
    return contents(repo.readonly_session("main").store)


def test_statistics(tmp_path: Path) -> None:
    """Bytes are live while any version needs them, then dead, and unused where nothing is needed."""
    root = tmp_path / "r"
    repo = sparse_repo(str(root))
    sizes = chunk_files(root)
    assert repo.pack_stats() == ic.PackStats(
        objects=4, bytes=sum(sizes.values()), live_bytes=37_000, dead_bytes=0
    )
    repo.expire_snapshots(datetime.now(UTC) + timedelta(days=1))
    # The first commit is gone; with it nine chunks of one pack and seven of another.
    assert repo.pack_stats() == ic.PackStats(objects=4, bytes=37_000, live_bytes=21_000, dead_bytes=16_000)
    session = repo.writable_session("main")
    fill(session, range(25))
    run_direct(session._state.sink.flush())
    found = repo.pack_stats()
    assert (found.objects, found.unused_objects, found.unused_bytes) == (4, 3, 25_000)
    assert repo.chunk_storage_stats().native_bytes == 21_000


@pytest.mark.parametrize("kind", ["memory", "filesystem", "suspending"])
@pytest.mark.parametrize("spec_version", [1, 2])
def test_chunks_leave_sparse_packs(kind: str, spec_version: int, tmp_path: Path) -> None:
    """Exactly the live chunks of packs below the limit are copied; data, history and other versions stay."""
    storage: Any = str(tmp_path / "r") if kind == "filesystem" else ic.in_memory_storage()
    repo = sparse_repo(
        with_latency(storage, 0) if kind == "suspending" else storage, spec_version=spec_version
    )
    forget_the_past(repo)
    before, tip = data(repo), repo.lookup_branch("main")
    plan = repo.repack("nothing", branch="main", live_below=0.2, dry_run=True)
    assert (plan.packs, plan.chunks, plan.bytes_copied, plan.dead_bytes) == (1, 1, 1_000, 9_000)
    assert repo.lookup_branch("main") == tip
    seen: list[ic.Progress] = []
    result = repo.repack("repacked", branch="main", metadata={"by": "me"}, progress=seen.append)
    assert (result.packs, result.chunks, result.bytes_copied, result.dead_bytes) == (2, 4, 4_000, 16_000)
    assert {step.phase for step in seen} == {"snapshots", "manifests", "chunk objects", "copy chunks"}
    assert data(repo) == before
    newest = next(iter(repo.ancestry(branch="main")))
    assert (newest.id, newest.message, newest.metadata["by"]) == (result.snapshot_id, "repacked", "me")
    assert newest.parent_id == tip
    changes = repo.diff(from_snapshot_id=tip, to_snapshot_id=newest.id)
    assert changes.is_empty()
    assert data(repo) == contents(repo.readonly_session(snapshot_id=tip).store)
    assert repo.verify().ok
    again = repo.repack("again", branch="main")
    assert again == ic.RepackSummary(packs=0)
    assert repo.lookup_branch("main") == newest.id


def test_space_is_freed(tmp_path: Path) -> None:
    """Repacking by amending, then collecting garbage, leaves live bytes only."""
    root = tmp_path / "r"
    repo = sparse_repo(str(root))
    forget_the_past(repo)
    before = data(repo)
    repo.repack("repacked", branch="main", commit_method="amend", live_below=1)
    repo.garbage_collect(FUTURE)
    assert data(ic.Repository.open(str(root))) == before
    assert sum(chunk_files(root).values()) == 21_000
    assert repo.pack_stats() == ic.PackStats(objects=3, bytes=21_000, live_bytes=21_000)


def pools() -> list[Any]:
    return [lambda: ThreadPoolExecutor(2), lambda: ProcessPoolExecutor(2, mp_context=get_context("spawn"))]


@pytest.mark.parametrize("make", pools(), ids=["threads", "processes"])
@pytest.mark.parametrize("threaded", ["false", "true"])
def test_executors(make: Any, threaded: str, tmp_path: Path) -> None:
    """Workers of any executor copy the chunks."""
    repo = sparse_repo(f"file://{tmp_path}/r?threaded={threaded}")
    forget_the_past(repo)
    before = data(repo)
    pool: Executor
    with make() as pool:
        assert repo.repack("repacked", branch="main", executor=pool).chunks == 4
    assert data(repo) == before


def test_others_commit_meanwhile() -> None:
    """Commits that come in between are kept, and sessions from before rebase without conflicts."""
    repo = sparse_repo("memory:")
    forget_the_past(repo)
    open_session = repo.writable_session("main")
    fill(open_session, [9, 17], seed=900)

    before = data(repo)
    meanwhile = repo.writable_session("main")
    delete(meanwhile, ["x/c/18"])
    original = repo._context.history.publish_commit
    calls: list[int] = []

    async def publish(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            await meanwhile.commit_async("in between")
        return await original(*arguments)

    repo._context.history.publish_commit = publish  # type: ignore[method-assign]
    result = repo.repack("repacked", branch="main")
    assert result.snapshot_id == repo.lookup_branch("main")
    del before["x/c/18"]
    assert data(repo) == before
    open_session.commit("rebased", rebase_with=ic.ConflictDetector())
    assert get(repo.readonly_session("main"), "x/c/9") == chunk(909)


def test_refusals() -> None:
    """Bad arguments and damaged repositories are refused, and nothing is committed."""
    repo = sparse_repo("memory:", spec_version=1)
    with pytest.raises(FormatError, match="amend needs a repository of spec 2"):
        repo.repack("no", branch="main", commit_method="amend")
    with pytest.raises(InvalidInputError, match="invalid commit method"):
        repo.repack("no", branch="main", commit_method="squash")
    with pytest.raises(InvalidInputError, match="live_below"):
        repo.repack("no", branch="main", live_below=50)


def test_a_missing_chunk_is_reported(tmp_path: Path) -> None:
    """If a chunk is not where its ref says the run ends, and the branch stays."""
    root = tmp_path / "r"
    repo = sparse_repo(str(root))
    forget_the_past(repo)
    tip = repo.lookup_branch("main")
    [ref] = refs(repo.readonly_session("main"), [9])
    [file] = [f for f in (root / "chunks").iterdir() if f.stat().st_size == 10_000 and _holds(f, chunk(9))]
    file.write_bytes(file.read_bytes()[:9_500])
    with pytest.raises(Corrupt, match=file.name):
        repo.repack("no", branch="main")
    assert repo.lookup_branch("main") == tip
    assert ref.offset == 9_000


def _holds(file: Path, data: bytes) -> bool:
    return data in file.read_bytes()


def test_the_peer_reads_what_was_repacked(tmp_path: Path) -> None:
    """Icechunk sees the same data, commits on top, and its garbage collection keeps what is in use."""
    peer = load_peer()
    root = tmp_path / "r"
    repo = sparse_repo(str(root))
    forget_the_past(repo)
    before = data(repo)
    repo.repack("repacked", branch="main", commit_method="amend")
    theirs = open_repo(peer, root)
    assert data(theirs) == before
    session = theirs.writable_session("main")
    put(session, {"x/c/3": chunk(1)})
    session.commit("theirs")
    theirs.garbage_collect(FUTURE)
    assert data(open_repo(OURS, root)) == before | {"x/c/3": chunk(1)}
    assert repo.pack_stats().unused_objects == 0


@pytest.mark.parametrize("collector", ["ours", "peer"])
@pytest.mark.parametrize("spec_version", [1, 2])
def test_partially_dead_packs_stay(collector: str, spec_version: int, tmp_path: Path) -> None:
    """Garbage collection by either implementation keeps a pack of which anything is in use, and no other."""
    root = tmp_path / "r"
    repo = sparse_repo(str(root), spec_version=spec_version)
    session = repo.writable_session("main")
    fill(session, range(16))  # the second pack of the overwriting commit, and most of the first
    session.commit("overwritten again")
    forget_the_past(repo)
    before = data(repo)
    packs = repo.pack_stats()
    ic_module = load_peer() if collector == "peer" else OURS
    open_repo(ic_module, root).garbage_collect(FUTURE)
    for reader in (OURS, load_peer()):
        assert data(open_repo(reader, root)) == before
    assert repo.pack_stats() == ic.PackStats(packs.objects, packs.bytes, packs.live_bytes, packs.dead_bytes)
    assert packs.dead_bytes > 0


def test_packs_of_running_sessions_are_young(tmp_path: Path) -> None:
    """A collection that spares what is younger than the session spares its packs, flushed or not."""
    repo = ic.Repository.create(str(tmp_path / "r"), packs=SMALL)
    session = with_array(repo)
    began = datetime.now(UTC)
    written = fill(session, range(35))
    repo.garbage_collect(began - timedelta(seconds=1))
    session.commit("survived")
    assert {n: get(repo.readonly_session("main"), f"x/c/{n}") for n in written} == written


def test_conflicts_end_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """If others always are faster, that is the error."""
    monkeypatch.setattr("icechunk_core.maintenance.repacking._TRIES", 2)
    repo = sparse_repo("memory:")
    forget_the_past(repo)

    async def publish(*arguments: Any) -> Any:
        raise ConflictError("others were faster", expected_parent="a", actual_parent="b")

    repo._context.history.publish_commit = publish  # type: ignore[method-assign]
    with pytest.raises(ConflictError, match="others were faster"):
        repo.repack("never", branch="main")
