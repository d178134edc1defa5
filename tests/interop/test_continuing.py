"""Each implementation continues what the other has written, in both specs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from tests.interop.implementations import (
    OURS,
    contents,
    create,
    delete,
    everything,
    get,
    history,
    open_repo,
    put,
)
from tests.interop.nodes import GROUP, array_json

Pair = tuple[Any, Any]


def agree(pair: Pair, root: Path) -> dict[str, Any]:
    """Both see the same repository; gives what they see."""
    seen = [everything(open_repo(ic, root)) for ic in pair]
    assert seen[0] == seen[1]
    return seen[0]


@pytest.mark.usefixtures("layout")
def test_groups_arrays_and_chunks(pair: Pair, spec_version: int, tmp_path: Path) -> None:
    """Nested groups, names in other scripts, arrays of 0 to 3 dimensions, inline and native chunks."""
    first, second = pair
    root = tmp_path / "repo"
    session = create(first, root, spec_version=spec_version).writable_session("main")
    group = zarr.create_group(session.store, attributes={"title": "Übersicht", "n": [1, 2.5, None]})
    group.create_group("a/b").attrs["deep"] = {"x": True}
    group.create_group("気温")
    group.create_array("scalar", shape=(), dtype="f8")[()] = 2.5
    line = group.create_array("a/line", shape=(7,), chunks=(3,), dtype="i2", fill_value=-1)
    line[:5] = np.arange(5)
    cube = group.create_array("a/b/cube", shape=(3, 4, 5), chunks=(2, 2, 5), dtype="f4")
    cube[:] = np.arange(60).reshape(3, 4, 5)
    big = group.create_array("big", shape=(64, 64), chunks=(32, 64), dtype="f8", compressors=None)
    big[:] = np.random.default_rng(1).random((64, 64))
    session.commit("everything", {"π": 3.14, "list": [1, {"a": None}]})
    seen = agree(pair, root)

    session = open_repo(second, root).writable_session("main")
    group = zarr.open_group(session.store, mode="r+")
    group["a/line"][4:] = [40, 50, 60]  # type: ignore[index]
    group["a/b/cube"][2, 3, :] = 0  # type: ignore[index]
    group["big"][:32] = 1  # type: ignore[index]
    group.create_array("気温/°C", shape=(2,), chunks=(1,), dtype="u1")[:] = [20, 21]
    group.attrs["n"] = 5
    session.commit("continued")
    again = agree(pair, root)
    assert len(again["contents"]) == len(seen["contents"]) + 1
    for snapshot, held in seen["contents"].items():
        assert again["contents"][snapshot] == held


@pytest.mark.usefixtures("layout")
def test_deletes_and_replacements(pair: Pair, spec_version: int, tmp_path: Path) -> None:
    """Deleted chunks, arrays, groups with all below them, and a name used again for another kind of node."""
    first, second = pair
    root = tmp_path / "repo"
    session = create(first, root, spec_version=spec_version).writable_session("main")
    put(
        session,
        {
            "zarr.json": GROUP,
            "g/zarr.json": GROUP,
            "g/h/zarr.json": GROUP,
            "g/h/x/zarr.json": array_json((4,), (2,)),
            "g/h/x/c/0": b"ab",
            "g/h/x/c/1": b"cd",
            "y/zarr.json": array_json((2, 2), (1, 2)),
            "y/c/0/0": b"ef",
            "y/c/1/0": b"g" * 2000,
        },
    )
    session.commit("nodes")
    session = open_repo(second, root).writable_session("main")
    delete(session, ["g/h/x/c/0", "y/zarr.json"])
    put(session, {"y/zarr.json": GROUP, "y/z/zarr.json": array_json((1,), (1,)), "y/z/c/0": b"!"})
    session.commit("y became a group")
    agree(pair, root)
    session = open_repo(first, root).writable_session("main")
    delete(session, ["g/zarr.json", "y/zarr.json"])
    put(session, {"g/zarr.json": array_json((3,), (3,)), "g/c/0": b"xyz"})
    session.commit("g became an array")
    seen = agree(pair, root)
    assert set(seen["contents"][seen["branches"]["main"]]) == {"zarr.json", "g/zarr.json", "g/c/0"}


def test_resize(pair: Pair, spec_version: int, tmp_path: Path) -> None:
    """Chunks cut off by shrinking do not come back by growing, whoever does which."""
    first, second = pair
    root = tmp_path / "repo"
    session = create(first, root, spec_version=spec_version).writable_session("main")
    array = zarr.create_array(session.store, name="x", shape=(8, 8), chunks=(2, 4), dtype="u1", fill_value=9)
    array[:] = np.arange(64).reshape(8, 8)
    session.commit("8 × 8")
    for ic, shape in ((second, (3, 8)), (first, (10, 2)), (second, (10, 10))):
        session = open_repo(ic, root).writable_session("main")
        zarr.open_array(session.store, path="x", mode="r+").resize(shape)
        session.commit(f"{shape}")
        values = [
            np.asarray(zarr.open_array(open_repo(r, root).readonly_session("main").store, path="x")[:])
            for r in pair
        ]
        assert values[0].shape == shape
        assert values[0].tolist() == values[1].tolist()
    agree(pair, root)


def test_branches_and_tags(pair: Pair, spec_version: int, tmp_path: Path) -> None:
    """Refs made, moved and deleted by one are so for the other; a deleted tag's name stays used."""
    first, second = pair
    root = tmp_path / "repo"
    repo = create(first, root, spec_version=spec_version)
    ids = []
    for number in range(3):
        session = repo.writable_session("main")
        put(session, {f"g{number}/zarr.json": GROUP})
        ids.append(session.commit(f"commit {number}"))
    repo.create_branch("dev", ids[1])
    repo.create_branch("gone", ids[0])
    repo.create_tag("v1", ids[0])
    repo.create_tag("v2", ids[2])
    repo.delete_tag("v2")
    repo.delete_branch("gone")
    agree(pair, root)

    other = open_repo(second, root)
    with pytest.raises(second.IcechunkError):
        other.create_tag("v2", ids[0])
    other.reset_branch("main", ids[0])
    other.create_branch("gone", ids[2])
    session = other.writable_session("dev")
    put(session, {"dev/zarr.json": GROUP})
    session.commit("on dev")
    other.delete_tag("v1")
    seen = agree(pair, root)
    assert seen["tags"] == {}
    assert seen["branches"]["main"] == ids[0]
    assert seen["branches"]["gone"] == ids[2]
    with pytest.raises(first.IcechunkError):
        open_repo(first, root).create_tag("v1", ids[0])
    with pytest.raises(first.IcechunkError):
        open_repo(first, root).create_branch("dev", ids[0])


@pytest.mark.usefixtures("layout")
def test_amend_and_flush(pair: Pair, tmp_path: Path) -> None:
    """A commit by one, amended by the other, then amended back; a flushed snapshot is readable by both."""
    first, second = pair
    root = tmp_path / "repo"
    session = create(first, root).writable_session("main")
    put(session, {"zarr.json": GROUP, "x/zarr.json": array_json((4,), (1,)), "x/c/0": b"0"})
    base = session.commit("base")
    for number, ic in enumerate((second, first, second), start=1):
        session = open_repo(ic, root).writable_session("main")
        put(session, {f"x/c/{number}": str(number).encode()})
        if number == 1:
            session.commit("one")
        else:
            session.amend(f"amended {number}")
        agree(pair, root)
    assert [entry[2] for entry in history(open_repo(first, root), branch="main")][:2] == ["amended 3", "base"]
    session = open_repo(first, root).writable_session("main")
    delete(session, ["x/c/0"])
    flushed = session.flush("aside")
    views = [contents(open_repo(ic, root).readonly_session(snapshot_id=flushed).store) for ic in pair]
    assert views[0] == views[1]
    assert "x/c/0" not in views[0]
    diffs = [open_repo(ic, root).diff(from_snapshot_id=base, to_branch="main").updated_chunks for ic in pair]
    assert diffs[0] == diffs[1] == {"/x": [[1], [2], [3]]}


@pytest.mark.usefixtures("layout")
def test_rebase_over_the_others_commit(pair: Pair, spec_version: int, tmp_path: Path) -> None:
    """A session is rebased over commits of the other implementation; clashing ones are told apart."""
    first, second = pair
    root = tmp_path / "repo"
    session = create(first, root, spec_version=spec_version).writable_session("main")
    put(session, {"zarr.json": GROUP, "x/zarr.json": array_json((4,), (1,))})
    session.commit("base")
    mine = open_repo(first, root).writable_session("main")
    clashing = open_repo(first, root).writable_session("main")
    put(mine, {"x/c/0": b"m", "mine/zarr.json": GROUP})
    put(clashing, {"x/c/1": b"m"})
    theirs = open_repo(second, root).writable_session("main")
    put(theirs, {"x/c/1": b"t", "theirs/zarr.json": GROUP})
    theirs.commit("theirs")
    with pytest.raises(first.ConflictError):
        mine.commit("not yet")
    mine.rebase(first.ConflictDetector())
    mine.commit("mine")
    with pytest.raises(first.RebaseFailedError):
        clashing.commit("clash", rebase_with=first.ConflictDetector())
    clashing.rebase(first.BasicConflictSolver(on_chunk_conflict=first.VersionSelection.UseOurs))
    clashing.commit("solved")
    seen = agree(pair, root)
    assert {
        key: value for key, value in seen["contents"][seen["branches"]["main"]].items() if "/c/" in key
    } == {
        "x/c/0": b"m",
        "x/c/1": b"m",
    }


def virtual_config(ic: Any, data: Path) -> tuple[Any, Any]:
    """A configuration with a container named ``raw`` for a directory, and its authorisation."""
    config = ic.RepositoryConfig.default()
    prefix = f"file://{data}/"
    config.set_virtual_chunk_container(
        ic.VirtualChunkContainer(prefix, ic.ObjectStoreConfig.LocalFileSystem(str(data)), name="raw")
    )
    return config, {prefix: ic.Credentials.LocalFileSystemAccess()}


def peer_credentials(ic: Any, allowed: dict[str, Any]) -> Any:
    """The authorisation as values of that implementation."""
    return ic.containers_credentials(dict.fromkeys(allowed, ic.Credentials.LocalFileSystemAccess()))


@pytest.mark.parametrize("name", ["plain.nc", "my file.nc", "über/größe.nc"])
def test_virtual_chunks(pair: Pair, spec_version: int, name: str, tmp_path: Path) -> None:
    """Virtual refs written by one, with the container saved by it, are read by the other."""
    first, second = pair
    root, data = tmp_path / "repo", tmp_path / "data"
    (data / name).parent.mkdir(parents=True)
    (data / name).write_bytes(bytes(range(100)))
    config, allowed = virtual_config(first, data)
    repo = create(
        first,
        root,
        spec_version=spec_version,
        config=config,
        authorize_virtual_chunk_access=peer_credentials(first, allowed),
    )
    repo.save_config()
    session = repo.writable_session("main")
    put(session, {"zarr.json": GROUP, "v/zarr.json": array_json((40,), (10,))})
    location = f"file://{data}/{name}"
    session.store.set_virtual_ref("v/c/0", location, offset=5, length=10)
    session.store.set_virtual_ref("v/c/2", location, offset=90, length=10)
    put(session, {"v/c/1": b"native" * 200, "v/c/3": b"inline"})
    session.commit("virtual")
    expected = {"v/c/0": bytes(range(5, 15)), "v/c/2": bytes(range(90, 100))}
    for ic in pair:
        reader = open_repo(ic, root, authorize_virtual_chunk_access=peer_credentials(ic, allowed))
        session = reader.readonly_session("main")
        assert {key: get(session, key) for key in expected} == expected
        assert get(session, "v/c/3") == b"inline"
    session = open_repo(second, root).writable_session("main")
    delete(session, ["v/c/0"])
    put(session, {"v/c/1": b"no longer big"})
    session.commit("beside virtual refs")
    for ic in pair:
        reader = open_repo(ic, root, authorize_virtual_chunk_access=peer_credentials(ic, allowed))
        session = reader.readonly_session("main")
        assert get(session, "v/c/0") is None
        assert get(session, "v/c/2") == expected["v/c/2"]


def test_saved_configuration(pair: Pair, spec_version: int, tmp_path: Path) -> None:
    """Settings saved by one are in force for the other, which keeps them when it saves its own."""
    first, second = pair
    root = tmp_path / "repo"
    config = first.RepositoryConfig.default()
    config.inline_chunk_threshold_bytes = 7
    config.caching = first.CachingConfig(num_chunk_refs=1234)
    create(first, root, spec_version=spec_version, config=config).save_config()
    repo = open_repo(second, root)
    assert repo.config.inline_chunk_threshold_bytes == 7
    assert repo.config.caching.num_chunk_refs == 1234
    session = repo.writable_session("main")
    put(session, {"zarr.json": GROUP, "x/zarr.json": array_json((2, 8), (1, 8))})
    put(session, {"x/c/0/0": b"1234567", "x/c/1/0": b"12345678"})
    session.commit("one inline, one native")
    assert len(list((root / "chunks").iterdir())) == 1
    changed = second.RepositoryConfig()
    changed.inline_chunk_threshold_bytes = 100
    open_repo(second, root, config=changed).save_config()
    again = open_repo(first, root)
    assert again.config.inline_chunk_threshold_bytes == 100
    assert again.config.caching.num_chunk_refs == 1234
    agree(pair, root)


def test_split_manifests(pair: Pair, spec_version: int, tmp_path: Path) -> None:
    """A splitting rule saved by one is followed by the other: same number of manifests, same contents."""
    first, second = pair
    counts = []
    for writer, folder in ((first, tmp_path / "a"), (second, tmp_path / "b")):
        config = first.RepositoryConfig.default()
        condition = first.ManifestSplitCondition.name_matches("^x$")
        rule = {condition: {first.ManifestSplitDimCondition.DimensionName("t"): 3}}
        config.manifest = first.ManifestConfig(splitting=first.ManifestSplittingConfig.from_dict(rule))
        create(first, folder, spec_version=spec_version, config=config).save_config()
        session = open_repo(writer, folder).writable_session("main")
        array = zarr.create_array(
            session.store, name="x", shape=(10, 4), chunks=(1, 2), dtype="u1", dimension_names=("t", None)
        )
        array[:] = np.arange(1, 41).reshape(10, 4)
        session.commit("split")
        session = open_repo(second, folder).writable_session("main")
        zarr.open_array(session.store, path="x", mode="r+")[4] = 200
        session.commit("one row")
        agree(pair, folder)
        counts.append(len(list((folder / "manifests").iterdir())))
    assert counts == [5, 5]


def test_many_refs(pair: Pair, spec_version: int, tmp_path: Path) -> None:
    """Manifests of a few thousand refs, half of them overwritten by the other."""
    first, second = pair
    root = tmp_path / "repo"
    session = create(first, root, spec_version=spec_version).writable_session("main")
    array = zarr.create_array(
        session.store, name="x", shape=(50, 60), chunks=(1, 1), dtype="u2", compressors=None
    )
    array[:] = np.arange(3000).reshape(50, 60)
    session.commit("all")
    session = open_repo(second, root).writable_session("main")
    zarr.open_array(session.store, path="x", mode="r+")[10:35] = 7
    session.commit("half")
    agree(pair, root)


def test_empty_commit_and_long_metadata(pair: Pair, spec_version: int, tmp_path: Path) -> None:
    """Commits without changes, an empty message, and large metadata pass."""
    first, _ = pair
    root = tmp_path / "repo"
    repo = create(first, root, spec_version=spec_version)
    metadata = {"text": "ä" * 5000, "numbers": list(range(-300, 300)), "nested": {"a": [[], {}, None, 1e300]}}
    repo.writable_session("main").commit("", metadata, allow_empty=True)
    repo.writable_session("main").commit("line\nbreak\t🎈", allow_empty=True)
    seen = agree(pair, root)
    assert seen["histories"][seen["branches"]["main"]][1][3] == metadata
    assert asyncio.run(_no_keys(open_repo(OURS, root)))


async def _no_keys(repo: Any) -> bool:
    session = await repo.readonly_session_async("main")
    return [key async for key in session.store.list()] == []
