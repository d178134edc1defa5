"""The measurements themselves, with so little that only the code is tried; times are not looked at."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import zarr

from tests.benchmarks import chunks, memory, object_store, race, scaling, scaling_worker, shapes, worker
from tests.benchmarks.contestants import CONTESTANTS
from tests.benchmarks.processes import has_peer, in_turns
from tests.servers.s3 import S3Server

BOTH = pytest.mark.parametrize(
    "name", ["ours", pytest.param("peer", marks=pytest.mark.skipif(not has_peer(), reason="no Icechunk 2"))]
)


def test_contestants_take_turns() -> None:
    """Each round begins with another one, and all take part in it."""
    assert [in_turns(CONTESTANTS, turn)[0] for turn in range(3)] == list(CONTESTANTS)
    assert sorted(in_turns(CONTESTANTS, 5)) == sorted(CONTESTANTS)


@pytest.mark.parametrize("name", ["ours", "zarr"])
@pytest.mark.parametrize("place", ["memory", "durable"])
def test_chunks(tmp_path: Path, name: str, place: str) -> None:
    """Everything that has a goal is measured, in both of zarr's pipelines."""
    found = worker.measure(str(tmp_path), name, place, "none", 16, 4)
    wanted = {work for work, _ in chunks.GOALS} | {"commit"}
    assert wanted <= set(found)
    assert all(figure >= 0 for figure in found.values())


def test_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The raw file has as many bytes as the chunks, and is synced."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    found = chunks.raw_file(tmp_path / "raw", 16)
    assert (tmp_path / "raw").stat().st_size == 16 * chunks.CHUNK_BYTES
    assert len(synced) == 1
    assert all(figure > 0 for figure in found.values())


@pytest.mark.parametrize("name", ["ours", "unsynced"])
@pytest.mark.parametrize("run", [race.race, race.race_of_new_processes])
def test_a_race_loses_nothing(run: Callable[[str, int, int], race.Outcome], name: str) -> None:
    """Two processes with two commits each: four are acknowledged, and four are there."""
    outcome = run(name, 2, 2)
    assert (outcome.acknowledged, outcome.present) == (4, 4)


@BOTH
@pytest.mark.parametrize("title", list(shapes.CASES))
def test_shapes(tmp_path: Path, name: str, title: str) -> None:
    """Arrays of all shapes are written, and read back as they were."""
    assert set(shapes.measure(str(tmp_path), name, title, 8)) == {"write and commit", "read"}


@pytest.mark.parametrize("title", list(shapes.CASES))
def test_shapes_have_about_so_many_chunks(title: str) -> None:
    """The figures of different shapes are comparable: half to twice as many chunks."""
    case = shapes.CASES[title]
    store = zarr.storage.MemoryStore()
    array = zarr.create_array(store, shape=case.shape(1_000), chunks=case.chunks, dtype="f4")
    assert 500 <= array.nchunks * case.arrays(1_000) <= 2_000


def test_memory(tmp_path: Path) -> None:
    """Less than a block can be measured, too."""
    assert memory.measure(str(tmp_path), "ours", 1 << 20, 64 << 10)["seconds"] > 0


@BOTH
def test_growth(tmp_path: Path, name: str) -> None:
    """A large manifest, a listing and a history are measured with the same code for both."""
    module = scaling_worker.module_of(name)
    cases: list[Callable[[], dict[str, float]]] = [
        lambda: scaling_worker.refs(module, tmp_path, 100),
        lambda: scaling_worker.listing(module, tmp_path, 100),
        lambda: scaling_worker.history(module, tmp_path, 12),
    ]
    found = {work for case in cases for work in case()}
    goals = {work for group, work in scaling.GOALS if group in ("refs", "listing")}
    assert goals | {"commit at 12"} <= found


def test_the_chart(tmp_path: Path) -> None:
    """Growth becomes a picture."""
    pytest.importorskip("matplotlib")
    points = {"ours": [(10, 0.1), (100, 0.2)], "peer": [(10, 0.2)]}
    scaling.draw({"list all keys": points, "commit after so many commits": points}, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


@BOTH
def test_requests_are_counted(ministack: S3Server, name: str) -> None:
    """Of both contestants alike: Icechunk sends a request for each chunk, we a few for all of them."""
    options = {**ministack.options(), "bucket": ministack.new_bucket(), "prefix": "repo"}
    before = zarr.config.get("async.concurrency")
    try:
        found = object_store.work(name, 64, 4 << 10, "counted", options)
    finally:
        zarr.config.set({"async.concurrency": before})
    for work in ("write", "read"):
        requests = found[work]["requests"]
        assert 3 <= requests <= 16 if name == "ours" else requests >= 64
