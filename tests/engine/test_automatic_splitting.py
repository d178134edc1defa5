"""Automatic splitting of manifests: on by default, and switched off by a setting or the environment."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import zarr

import icechunk_core as ic
from icechunk_core.assets.pack_config import PLAIN_LAYOUT_VARIABLE
from icechunk_core.transaction import manifests_plan, splitting

SIDE = 40


@pytest.fixture(autouse=True)
def small_manifests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Manifests of at most 400 refs, so that a small array has several."""
    bounded = splitting.bounded_grid
    monkeypatch.setattr(manifests_plan, "MAX_REFS", 400)
    monkeypatch.setattr(manifests_plan, "bounded_grid", partial(bounded, limit=400))


def filled(config: ic.RepositoryConfig | None = None) -> ic.Repository:
    """A repository with an array of 1,600 virtual refs."""
    repo = ic.Repository.create("memory:", config=config)
    session = repo.writable_session("main")
    zarr.create_array(session.store, name="a", shape=(SIDE, SIDE), chunks=(1, 1), dtype="i4", fill_value=0)
    places = [f"s3://bucket/{number % 7}" for number in range(SIDE * SIDE)]
    numbers = np.arange(SIDE * SIDE, dtype=np.uint64)
    session.store.set_virtual_refs_arr(
        "a", (SIDE, SIDE), places, numbers, numbers + np.uint64(1), validate_containers=False
    )
    session.commit("refs")
    return repo


def manifests(repo: ic.Repository) -> dict[str, int]:
    return {m.id: m.num_chunk_refs for m in repo.list_manifest_files(repo.lookup_branch("main"))}


def locations(repo: ic.Repository) -> Any:
    return repo.readonly_session("main").all_virtual_chunk_locations()


def test_manifests_are_bounded() -> None:
    """A large array gets several manifests, with all refs between them."""
    found = manifests(filled())
    assert max(found.values()) <= 400
    assert sum(found.values()) == SIDE * SIDE


def test_only_the_affected_manifest_is_written() -> None:
    """A changed chunk replaces one manifest; the others stay the very same objects."""
    repo = filled()
    before, places = manifests(repo), sorted(locations(repo))
    session = repo.writable_session("main")
    zarr.open_array(session.store, path="a", mode="r+")[20, 20] = 5
    session.commit("one")
    after = manifests(repo)
    assert len(before.keys() - after.keys()) == len(after.keys() - before.keys()) == 1
    assert sum(after.values()) == SIDE * SIDE
    array = zarr.open_array(repo.readonly_session("main").store, path="a", mode="r")
    assert array[20, 20] == 5
    assert len(sorted(locations(repo))) == len(places) - 1


def test_a_single_manifest_is_split_when_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written in one piece is cut by the next commit to the array, and nothing is lost."""
    with monkeypatch.context() as patched:
        patched.setenv(PLAIN_LAYOUT_VARIABLE, "1")
        repo = filled()
    places = sorted(locations(repo))
    cut = repo.reopen()
    session = cut.writable_session("main")
    zarr.open_array(session.store, path="a", mode="r+")[0, 0] = 5
    session.commit("one chunk")
    found = manifests(cut)
    assert max(found.values()) <= 400
    assert sum(found.values()) == SIDE * SIDE
    assert sorted([*locations(cut), "s3://bucket/0"]) == places


@pytest.mark.parametrize("step", [1, 2])
def test_a_large_array_that_is_filled_bit_by_bit(step: int) -> None:
    """Its manifests stay bounded, each commit writes few of them, and all refs are there."""
    repo = ic.Repository.create("memory:")
    session = repo.writable_session("main")
    zarr.create_array(session.store, name="a", shape=(100_000,), chunks=(1,), dtype="i4", fill_value=0)
    session.commit("empty")
    before: dict[str, int] = {}
    rewritten = 0
    for number in range(20):
        session = repo.writable_session("main")
        for at in range(100):
            ref = ic.VirtualChunkSpec([(number * 100 + at) * step], "s3://bucket/x", at, 1)
            session.store.set_virtual_refs("a", [ref], validate_containers=False)
        session.commit(f"part {number}")
        found = manifests(repo)
        assert max(found.values()) <= 2 * 400
        assert sum(found.values()) == 100 * (number + 1)
        rewritten += len(found.keys() - before.keys())
        before = found
    # Each commit writes the last manifest and perhaps a new one; the first ones were cut once.
    assert rewritten <= 20 + len(before) + 2
    assert len(before) > 2
    assert len(locations(repo)) == 2_000


def test_an_empty_setting_switches_it_off() -> None:
    """A splitting configuration without rules keeps one manifest per array."""
    single = ic.ManifestSplittingConfig.from_dict({})
    config = ic.RepositoryConfig(manifest=ic.ManifestConfig(splitting=single))
    assert list(manifests(filled(config)).values()) == [SIDE * SIDE]


def test_the_environment_switches_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variable for plain layouts there is one manifest, as Icechunk writes it."""
    monkeypatch.setenv(PLAIN_LAYOUT_VARIABLE, "1")
    assert list(manifests(filled()).values()) == [SIDE * SIDE]


def test_rules_count_where_there_are_any() -> None:
    """A configured rule decides alone."""
    rule = {ic.ManifestSplitCondition.AnyArray(): {ic.ManifestSplitDimCondition.Axis(1): 20}}
    config = ic.RepositoryConfig(
        manifest=ic.ManifestConfig(splitting=ic.ManifestSplittingConfig.from_dict(rule))
    )
    assert list(manifests(filled(config)).values()) == [SIDE * SIDE // 2] * 2
