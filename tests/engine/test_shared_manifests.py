"""Small arrays of one commit share manifests: what later commits, sessions and upkeep make of that."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import icechunk_core as ic
from icechunk_core.assets.pack_config import PLAIN_LAYOUT_VARIABLE
from icechunk_core.storage import with_faults
from tests.maintenance.support import FUTURE

ARRAYS = 20


def filled(storage: Any = "memory:", **options: Any) -> ic.Repository:
    """A repository with twenty arrays of four chunks."""
    repo = ic.Repository.create(storage, **options)
    session = repo.writable_session("main")
    for number in range(ARRAYS):
        write(session, f"g/{number}", number)
    session.commit("filled")
    return repo


def write(session: Any, path: str, value: int) -> None:
    """A new array, every element of which is the value."""
    data = np.full(800, value)
    zarr.create_array(session.store, name=path, data=data, chunks=(200,), compressors=None, fill_value=-99)


def change(session: Any, path: str, value: int) -> None:
    zarr.open_array(session.store, path=path, mode="r+")[:200] = value


def first(repo: ic.Repository, path: str) -> int:
    return int(zarr.open_array(repo.readonly_session("main").store, path=path, mode="r")[0])  # type: ignore[arg-type]


def manifests(repo: ic.Repository) -> dict[str, int]:
    return {found.id: found.num_chunk_refs for found in repo.list_manifest_files(repo.lookup_branch("main"))}


APART = ic.RepositoryConfig(
    manifest=ic.ManifestConfig(splitting=ic.ManifestSplittingConfig.from_dict({})),
)


def test_one_manifest_for_many() -> None:
    """All arrays of a commit are in one file, and each is what it was."""
    repo = filled()
    assert list(manifests(repo).values()) == [ARRAYS * 4]
    assert [first(repo, f"g/{number}") for number in range(ARRAYS)] == list(range(ARRAYS))


def test_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any configuration of splitting, or the environment, keeps a manifest for each array."""
    assert list(manifests(filled(config=APART)).values()) == [4] * ARRAYS
    monkeypatch.setenv(PLAIN_LAYOUT_VARIABLE, "1")
    assert list(manifests(filled()).values()) == [4] * ARRAYS


def test_the_others_stay() -> None:
    """A changed array gets a manifest of its own; the shared one remains, and the others in it."""
    repo = filled()
    (shared,) = manifests(repo)
    session = repo.writable_session("main")
    change(session, "g/3", -1)
    session.commit("changed")
    assert manifests(repo) == {shared: ARRAYS * 4, **{one: 4 for one in manifests(repo) if one != shared}}
    assert [first(repo, f"g/{number}") for number in (2, 3, 4)] == [2, -1, 4]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_rewriting_gathers(elsewhere: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rewriting puts arrays together, also those that had manifests of their own, and drops old refs."""
    root = tmp_path / "repo"
    with monkeypatch.context() as patched:
        patched.setenv(PLAIN_LAYOUT_VARIABLE, "1")
        filled(str(root))
    repo = ic.Repository.open(str(root))
    session = repo.writable_session("main")
    change(session, "g/1", -1)
    change(session, "g/2", -2)
    del zarr.open_group(session.store)["g/0"]
    session.commit("changed")
    assert len(manifests(repo)) == ARRAYS - 2
    with ThreadPoolExecutor(2) as pool:
        repo.rewrite_manifests("gathered", branch="main", executor=pool if elsewhere else None)
    assert list(manifests(repo).values()) == [(ARRAYS - 1) * 4]
    assert [first(repo, f"g/{number}") for number in (1, 2, 3)] == [-1, -2, 3]
    repo.expire_snapshots(FUTURE)
    repo.garbage_collect(FUTURE)
    assert repo.verify(data=True).ok


def test_prepared_manifests_survive_a_rebase() -> None:
    """After a lost race, manifests are written again only for arrays whose changes are others now."""
    storage, log = with_faults(ic.in_memory_storage())
    repo = filled(storage)
    late = repo.writable_session("main")
    for number in range(10):
        change(late, f"g/{number}", 100 + number)
    early = repo.writable_session("main")
    change(early, "g/15", 7)
    early.commit("early")
    log.calls.clear()
    late.commit("late", rebase_with=ic.ConflictDetector())
    puts = [call for call in log.calls if call.operation == "put"]
    assert sum(key.startswith("manifests/") for call in puts for key in call.keys) == 1
    assert [first(repo, f"g/{number}") for number in (0, 9, 15, 19)] == [100, 109, 7, 19]


def test_forks() -> None:
    """Forks of uncommitted arrays read them; what they write is merged and committed."""
    repo = filled()
    session = repo.writable_session("main")
    write(session, "new/1", 1)
    write(session, "new/2", 2)
    forks = [session.fork(), session.fork()]
    for number, fork in enumerate(forks, start=1):
        change(fork, f"new/{number}", 50 + number)
        change(fork, f"g/{number}", 60 + number)
    session.merge(*forks)
    session.commit("merged")
    assert [first(repo, path) for path in ("new/1", "new/2", "g/1", "g/2", "g/3")] == [51, 52, 61, 62, 3]


@pytest.mark.parametrize("spec_version", [1, 2])
def test_repacking_frees_what_old_refs_name(spec_version: int, tmp_path: Path) -> None:
    """Old refs in shared manifests do not keep packs that repacking has emptied."""
    repo = filled(str(tmp_path / "repo"), spec_version=spec_version)
    session = repo.writable_session("main")
    for number in range(ARRAYS - 2):
        zarr.open_array(session.store, path=f"g/{number}", mode="r+")[:] = -number
    session.commit("changed")
    repo.rewrite_manifests("gathered", branch="main")
    repo.expire_snapshots(FUTURE)
    dead = repo.pack_stats().dead_bytes
    assert dead > 0
    repo.repack("repacked", branch="main", live_below=1.0)
    repo.expire_snapshots(FUTURE)
    repo.garbage_collect(FUTURE)
    assert repo.pack_stats().dead_bytes == 0
    assert repo.verify(data=True).ok
    assert [first(repo, f"g/{number}") for number in (1, ARRAYS - 1)] == [-1, ARRAYS - 1]


class Sharing(RuleBasedStateMachine):
    """Commits of random arrays, deletions, rewriting, and tidying up; a dictionary says what there is."""

    def __init__(self) -> None:
        super().__init__()
        self.repo = ic.Repository.create("memory:")
        self.model: dict[str, int] = {}
        self.count = 0

    @rule(paths=st.sets(st.sampled_from("abcdefgh"), min_size=1), delete=st.booleans())
    def commit(self, paths: set[str], delete: bool) -> None:
        """Create, change, or delete some arrays."""
        session = self.repo.writable_session("main")
        self.count += 1
        for path in sorted(paths):
            if path not in self.model:
                write(session, path, self.count)
            elif delete:
                del zarr.open_group(session.store)[path]
                del self.model[path]
                continue
            else:
                change(session, path, self.count)
            self.model[path] = self.count
        session.commit(f"{self.count}")

    @rule()
    def rewrite(self) -> None:
        """Gather everything."""
        self.repo.rewrite_manifests("rewritten", branch="main")
        assert len(manifests(self.repo)) == (1 if self.model else 0)

    @rule()
    def tidy(self) -> None:
        """Expire the past and collect what nobody needs."""
        self.repo.expire_snapshots(FUTURE)
        self.repo.garbage_collect(FUTURE)

    @invariant()
    def same(self) -> None:
        """A repository that is opened anew shows what the model says, and is sound."""
        repo = self.repo.reopen()
        store = repo.readonly_session("main").store
        found = {path: zarr.open_array(store, path=path, mode="r") for path in self.model}
        assert {path: int(array[0]) for path, array in found.items()} == self.model  # type: ignore[arg-type]
        assert repo.verify(data=True).ok
        assert len(manifests(repo)) <= len(self.model)


TestSharing = Sharing.TestCase
TestSharing.settings = settings(max_examples=8, stateful_step_count=8, deadline=None)
