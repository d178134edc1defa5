"""Garbage collection: ages, shared chunk objects, failures, races, reports."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

import icechunk_core
from icechunk_core.contract import DeleteResult, Storage
from icechunk_core.drive import run
from icechunk_core.errors import (
    ConflictError,
    Corrupt,
    ErrorKind,
    PermissionDenied,
    RateLimited,
    StorageError,
)
from icechunk_core.format import layout
from icechunk_core.format.chunk_refs import ChunkRefs, NativeRef
from icechunk_core.format.manifest import Manifest
from icechunk_core.format.snapshot import ManifestRef
from icechunk_core.maintenance import Progress
from tests.interop.implementations import OURS, everything, get, open_repo, put
from tests.interop.nodes import array_json
from tests.maintenance.support import FUTURE, commit, keys, set_age, start

EPOCH = 1_700_000_000
LIMIT = datetime.fromtimestamp(EPOCH + 10, UTC)


def garbage(root: Path, spec_version: int = 2) -> Any:
    """A repository with two commits that no ref leads to; all objects are old."""
    repo = start(OURS, root, spec_version=spec_version)
    tip = repo.lookup_branch("main")
    commit(repo, "main", 0)
    commit(repo, "main", 1)
    repo.reset_branch("main", tip)
    for key in keys(root):
        set_age(root, key, EPOCH)
    return open_repo(OURS, root)


def kinds(found: set[str]) -> dict[str, int]:
    """How many objects of each kind."""
    prefixes = ("snapshots/", "transactions/", "manifests/", "chunks/")
    return {prefix: sum(key.startswith(prefix) for key in found) for prefix in prefixes}


def test_summary_counts_what_went(tmp_path: Path, spec_version: int) -> None:
    """Objects and bytes of the summary are those that disappeared; a dry run promises the same numbers."""
    root = tmp_path / "repo"
    repo = garbage(root, spec_version)
    sizes = {key: (root / key).stat().st_size for key in keys(root)}
    promised = repo.garbage_collect(LIMIT, dry_run=True)
    assert keys(root) == set(sizes)
    done = repo.garbage_collect(LIMIT)
    gone = set(sizes) - keys(root)
    assert done == promised
    assert done.bytes_deleted == sum(sizes[key] for key in gone)
    assert kinds(gone) == {
        "snapshots/": done.snapshots_deleted,
        "transactions/": done.transaction_logs_deleted,
        "manifests/": done.manifests_deleted,
        "chunks/": done.chunks_deleted,
    }
    assert (done.snapshots_deleted, done.chunks_deleted) == (2, 2)
    assert repo.garbage_collect(LIMIT).bytes_deleted == 0


@pytest.mark.parametrize("prefix", ["snapshots/", "transactions/", "manifests/", "chunks/"])
def test_young_objects_stay(prefix: str, tmp_path: Path, spec_version: int) -> None:
    """Objects that are not older than the limit by the storage's clock are safe, kind by kind."""
    root = tmp_path / "repo"
    repo = garbage(root, spec_version)
    young = {key for key in keys(root) if key.startswith(prefix)}
    for key in young:
        set_age(root, key, EPOCH + 10.5)
    repo.garbage_collect(LIMIT)
    assert young <= keys(root)


def test_young_snapshots_keep_what_they_refer_to(tmp_path: Path, spec_version: int) -> None:
    """A snapshot that nothing leads to, as forks start from, is readable in full until it is old itself."""
    root = tmp_path / "repo"
    repo = start(OURS, root, spec_version=spec_version)
    tip = repo.lookup_branch("main")
    late = commit(repo, "main", 3)
    session = repo.readonly_session(snapshot_id=late)
    repo.reset_branch("main", tip)
    for key in keys(root):
        set_age(root, key, EPOCH + (20 if late in key and key.startswith("snapshots/") else 0))
    repo.garbage_collect(LIMIT)
    assert get(session, "x/c/3") == b"003" * 200
    set_age(root, f"snapshots/{late}", EPOCH)
    assert open_repo(OURS, root).garbage_collect(LIMIT).snapshots_deleted == 1


def test_foreign_objects_are_ignored(tmp_path: Path) -> None:
    """What is not named by an id is not ours to delete; configuration, refs and backups never are."""
    root = tmp_path / "repo"
    repo = garbage(root)
    for name in ("chunks/notes.txt", "manifests/README", "overwritten/repo.1.X", "other/thing"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"mine")
        set_age(root, name, EPOCH)
    repo.garbage_collect(FUTURE)
    for name in ("chunks/notes.txt", "manifests/README", "overwritten/repo.1.X", "other/thing"):
        assert (root / name).read_bytes() == b"mine"


def write_pack(repo: Any, chunk_id: bytes, offset: int, path: str) -> str:
    """Commit an array of one chunk, which is a part of a chunk object."""
    session = repo.writable_session("main")
    put(session, {f"{path}/zarr.json": array_json((4,), (4,))})
    state = session._state
    node = run(state.get_node("/" + path), may_suspend=False)
    with state.lock:
        state.changes.set_chunk(node.id, (0,), NativeRef(chunk_id, offset, 4))
    return str(session.commit(path))


def test_one_ref_keeps_a_whole_chunk_object(tmp_path: Path) -> None:
    """Several chunks in one object: it stays, whole, while any retained version refers to a part of it."""
    root = tmp_path / "repo"
    repo = start(OURS, root)
    tip = repo.lookup_branch("main")
    pack = bytes(range(12))
    (root / "chunks").mkdir(exist_ok=True)
    (root / layout.chunk_key(pack)).write_bytes(b"AAAABBBBCCCC")
    write_pack(repo, pack, 0, "first")
    second = write_pack(repo, pack, 4, "second")
    repo.create_tag("keep", second)
    repo.reset_branch("main", tip)
    assert repo.garbage_collect(FUTURE).chunks_deleted == 0
    assert get(repo.readonly_session(tag="keep"), "second/c/0") == b"BBBB"
    repo.delete_tag("keep")
    assert repo.garbage_collect(FUTURE).chunks_deleted == 1
    assert not (root / layout.chunk_key(pack)).exists()


def test_statistics_count_parts_of_chunk_objects(tmp_path: Path) -> None:
    """Two parts of one object count with their own lengths, the same part twice counts once."""
    root = tmp_path / "repo"
    repo = start(OURS, root)
    before = repo.chunk_storage_stats()
    pack = bytes(range(12))
    for offset, path in ((0, "a"), (4, "b"), (4, "c")):
        write_pack(repo, pack, offset, path)
    assert repo.chunk_storage_stats() == before + icechunk_core.ChunkStorageStats(native_bytes=8)


# --- failures


def on(storage: Storage, **hooks: Callable[..., Any]) -> Any:
    """The repository through a storage with some hooks replaced."""
    return icechunk_core.Repository.open(storage.with_hooks(None, **hooks))


def failing_deletes(
    storage: Storage, prefix: str, errors: list[StorageError] | None = None
) -> Callable[..., Any]:
    """A delete hook that fails for keys below a prefix: with the next error, or always with the same."""
    really = storage.hook("delete")

    async def delete(given: Sequence[str]) -> list[DeleteResult]:
        bad = [key for key in given if key.startswith(prefix) and errors != []]
        error = errors.pop(0) if bad and errors else PermissionDenied("not allowed to delete this")
        good = [key for key in given if key not in bad]
        return [*await really(good), *(DeleteResult(key, error) for key in bad)]

    return delete


@pytest.mark.parametrize(
    ("prefix", "skipped"),
    [
        ("snapshots/", ["transaction_logs", "manifests", "chunks"]),
        ("manifests/", ["chunks"]),
        ("chunks/", []),
    ],
)
def test_failures_are_reported_and_stop_later_kinds(prefix: str, skipped: list[str], tmp_path: Path) -> None:
    """What cannot be deleted is counted and named, what it refers to is left for the next run."""
    root = tmp_path / "repo"
    garbage(root)
    storage = icechunk_core.local_filesystem_storage(str(root))
    broken = on(storage, delete=failing_deletes(storage, prefix))
    summary = broken.garbage_collect(LIMIT)
    assert summary.objects_failed_to_delete == 2
    assert summary.delete_errors == ["not allowed to delete this"]
    assert summary.skipped_phases == skipped
    assert open_repo(OURS, root).garbage_collect(LIMIT).objects_failed_to_delete == 0
    rest = open_repo(OURS, root).garbage_collect(LIMIT)
    assert (rest.bytes_deleted, rest.skipped_phases) == (0, [])


def test_throttled_requests_are_repeated(tmp_path: Path) -> None:
    """A storage that asks to slow down is asked again; that is counted and no failure."""
    root = tmp_path / "repo"
    garbage(root)
    storage = icechunk_core.local_filesystem_storage(str(root))
    errors: list[StorageError] = [RateLimited("slow down"), RateLimited("slow down")]
    repo = on(storage, delete=failing_deletes(storage, "chunks/", errors))
    repo._context.clock = NoWaiting()
    summary = repo.garbage_collect(LIMIT)
    assert (summary.throttled_batches, summary.objects_failed_to_delete) == (2, 0)
    assert summary.chunks_deleted == 2


class NoWaiting:
    """A clock on which no time passes."""

    def now_us(self) -> int:
        return EPOCH * 1_000_000

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds <= 10


def test_gives_up_when_everything_fails(tmp_path: Path) -> None:
    """After so many failed requests in a row, the run ends with an error that says what happened."""
    root = tmp_path / "repo"
    garbage(root)
    storage = icechunk_core.local_filesystem_storage(str(root))

    async def delete(given: Sequence[str]) -> list[DeleteResult]:
        raise PermissionDenied("deletes are forbidden here")

    repo = on(storage, delete=delete)
    with pytest.raises(ConflictError, match="deletes are forbidden here") as caught:
        repo.garbage_collect(LIMIT, max_consecutive_delete_failures=1)
    assert caught.value.kind == ErrorKind.GC_DELETES_FAILING


@pytest.mark.parametrize("damage", ["missing", "malformed"])
@pytest.mark.parametrize("prefix", ["snapshots/", "manifests/"])
def test_nothing_goes_when_something_in_use_cannot_be_read(prefix: str, damage: str, tmp_path: Path) -> None:
    """Without knowing what an object in use refers to, nothing may be called garbage."""
    root = tmp_path / "repo"
    repo = garbage(root)
    commit(repo, "main", 2)
    tip = repo.lookup_branch("main")
    snapshot = run(repo._context.assets.snapshot(_id(tip)), may_suspend=False)
    manifest = snapshot.manifest_files[0].id
    victim = root / (f"snapshots/{tip}" if prefix == "snapshots/" else layout.manifest_key(manifest))
    if damage == "missing":
        victim.unlink()
    else:
        victim.write_bytes(victim.read_bytes()[:50])
    before = keys(root)
    repo = open_repo(OURS, root)
    with pytest.raises((Corrupt, icechunk_core.SnapshotNotFoundError)):
        repo.garbage_collect(FUTURE)
    assert keys(root) == before


def _id(text: str) -> bytes:
    found = layout.id_of_key(f"snapshots/{text}", layout.SNAPSHOTS_PREFIX)
    assert found is not None
    return found


def test_unlisted_snapshot_that_is_broken_does_not_stop_the_run(tmp_path: Path) -> None:
    """The torn file of a writer that died is no reason to keep all garbage for ever."""
    root = tmp_path / "repo"
    repo = garbage(root)
    torn = root / layout.snapshot_key(b"torn" * 3)
    torn.write_bytes(b"ICE")
    assert repo.garbage_collect(LIMIT).snapshots_deleted == 2
    assert torn.exists()


# --- races


def test_ref_made_meanwhile_is_respected(tmp_path: Path, spec_version: int) -> None:
    """A tag set on a doomed snapshot while the run marks sends it back to the start."""
    root = tmp_path / "repo"
    repo = garbage(root, spec_version)
    doomed = commit(repo, "main", 7)
    repo.reset_branch("main", list(repo.ancestry(branch="main"))[1].id)
    for key in keys(root):
        set_age(root, key, EPOCH)
    storage = icechunk_core.local_filesystem_storage(str(root))
    really = storage.hook("get_range")
    tagged: list[str] = []

    async def get_range(key: str, byte_range: Any, if_version: Any) -> Any:
        if key.startswith("manifests/") and not tagged:
            tagged.append(doomed)
            open_repo(OURS, root).create_tag("saved", doomed)
        return await really(key, byte_range, if_version)

    on(storage, get_range=get_range).garbage_collect(LIMIT)
    assert tagged
    fresh = open_repo(OURS, root)
    assert get(fresh.readonly_session(tag="saved"), "x/c/3") == b"007" * 200
    everything(fresh)


def test_commit_made_meanwhile_survives_even_if_its_objects_look_old(tmp_path: Path) -> None:
    """What lands between marking and the update of the repo object is marked before anything is deleted."""
    root = tmp_path / "repo"
    garbage(root)
    storage = icechunk_core.local_filesystem_storage(str(root))
    really = storage.hook("get_range")
    committed: list[str] = []

    async def get_range(key: str, byte_range: Any, if_version: Any) -> Any:
        if key.startswith("manifests/") and not committed:
            committed.append("")
            committed[0] = commit(open_repo(OURS, root), "main", 6)
        return await really(key, byte_range, if_version)

    on(storage, get_range=get_range).garbage_collect(FUTURE)
    fresh = open_repo(OURS, root)
    assert fresh.lookup_branch("main") == committed[0]
    assert get(fresh.readonly_session("main"), "x/c/2") == b"006" * 200


def test_repository_that_never_rests(tmp_path: Path) -> None:
    """If marks are outdated again and again, the run ends with an error and has deleted nothing."""
    root = tmp_path / "repo"
    garbage(root)
    storage = icechunk_core.local_filesystem_storage(str(root))
    really = storage.hook("get_range")
    other = open_repo(OURS, root)

    async def get_range(key: str, byte_range: Any, if_version: Any) -> Any:
        if key.startswith("manifests/"):
            # A new snapshot, which no ref leads to, on top of one that is going to be dropped.
            infos = await other._context.history.all_snapshots()
            unused = next(_text(info.id) for info in infos if info.message.startswith("commit"))
            other.create_branch("moving", unused)
            commit(other, "moving", 9)
            other.delete_branch("moving")
        return await really(key, byte_range, if_version)

    before = keys(root)
    with pytest.raises(ConflictError, match="changed during each") as caught:
        on(storage, get_range=get_range).garbage_collect(FUTURE)
    assert caught.value.kind == ErrorKind.REPO_INFO_UPDATED
    assert before <= keys(root)


def _text(snapshot_id: bytes) -> str:
    return layout.snapshot_key(snapshot_id).removeprefix(layout.SNAPSHOTS_PREFIX)


# --- reports, twins


def test_progress_tells_phases_and_counts(tmp_path: Path, spec_version: int) -> None:
    """Counts never go back within a phase and end at the number of things done."""
    seen: list[Progress] = []
    summary = garbage(tmp_path / "repo", spec_version).garbage_collect(LIMIT, progress=seen.append)
    phases = list(dict.fromkeys(report.phase for report in seen))
    assert phases[:2] == ["snapshots", "manifests"]
    assert phases[-4:] == [
        "delete snapshots", "delete transaction_logs", "delete manifests", "delete chunks",
    ]  # fmt: skip
    last = {report.phase: report.done for report in seen}
    assert last["delete chunks"] == summary.chunks_deleted
    assert last["delete snapshots"] == summary.snapshots_deleted
    for earlier, later in itertools.pairwise(seen):
        assert later.phase != earlier.phase or later.done >= earlier.done or later.done == 0


def test_async_twins_on_a_suspending_storage(tmp_path: Path, spec_version: int) -> None:
    """Everything works as coroutines on a storage that does its I/O in threads, in small portions."""
    root = tmp_path / "repo"
    garbage(root, spec_version)
    asyncio.run(maintain(icechunk_core.storage_from_url(f"file://{root}?threaded=true")))


async def maintain(storage: Storage) -> None:
    """Every operation once."""
    repo = await icechunk_core.Repository.open_async(storage)
    assert await repo.expire_snapshots_async(datetime.fromtimestamp(0, UTC)) == set()
    small: dict[str, Any] = {
        "max_snapshots_in_memory": 1,
        "max_compressed_manifest_mem_bytes": 1,
        "max_decoded_manifest_mem_bytes": 1,
    }
    stats = await repo.chunk_storage_stats_async(**small)
    summary = await repo.garbage_collect_async(LIMIT, max_concurrent_deletes=1, **small)
    assert summary.chunks_deleted == 2
    assert await repo.chunk_storage_stats_async() == stats
    with pytest.warns(DeprecationWarning, match="native_bytes"):
        assert await repo.total_chunks_storage_async() == stats.native_bytes
    new = await repo.rewrite_manifests_async("again", branch="main")
    assert new == await repo.lookup_branch_async("main")


def test_results_describe_themselves() -> None:
    """Results show their numbers as text and, escaped, as HTML; statistics add up."""
    summary = icechunk_core.GCSummary(chunks_deleted=3, delete_errors=["<no>"])
    assert "chunks_deleted: 3" in repr(summary)
    assert "&lt;no&gt;" in summary._repr_html_()
    stats = icechunk_core.ChunkStorageStats(1, 2, 4)
    assert (stats + stats).total_bytes() == 14
    assert "virtual_bytes: 2" in str(stats)
    with pytest.raises(TypeError):
        stats + 1  # type: ignore[operator]


def test_manifest_with_several_arrays_is_marked_whole(tmp_path: Path) -> None:
    """Other writers may put many arrays into one manifest: all their chunks stay."""
    root = tmp_path / "repo"
    repo = garbage(root)
    context = repo._context
    first, second = bytes(range(12)), bytes(range(1, 13))
    base = run(context.assets.snapshot(_id(repo.lookup_branch("main"))), may_suspend=False)
    arrays = {node.id: node for node in base.nodes if node.is_array}
    refs = {
        node_id: ChunkRefs.from_items(1, {(0,): NativeRef(chunk, 0, 4)})
        for node_id, chunk in zip(arrays, (first, second), strict=True)
    }
    manifest = Manifest(b"m" * 12, refs)
    key, entry = run(context.assets.write_manifest(manifest), may_suspend=False)
    for chunk in (first, second):
        (root / layout.chunk_key(chunk)).write_bytes(b"data")
    nodes = [
        evolve(node, array=evolve(node.array, manifests=(ManifestRef(manifest.id, ((0, 1),)),)))
        if node.array is not None
        else node
        for node in base.nodes
    ]
    replaced = evolve(base, manifest_files=(entry,), nodes=type(base.nodes).from_nodes(nodes))
    run(context.assets.write_snapshot(replaced), may_suspend=False)
    repo = open_repo(OURS, root)
    repo.garbage_collect(FUTURE)
    assert {key, layout.chunk_key(first), layout.chunk_key(second)} <= keys(root)
    assert get(repo.readonly_session("main"), "y/c/0") == b"data"
