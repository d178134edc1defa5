"""Shifting and reindexing the chunks of an array."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.core.buffer import cpu

import icechunk_core as ic
from icechunk_core import ErrorKind as Kind
from tests.session.support import FILL, make_array, put, tip, values


@pytest.mark.parametrize("offset", [1, -1, 0, 3, -2, 8, -8, 100])
def test_shift_is_what_numpy_does(repo: ic.Repository, offset: int) -> None:
    """Chunks move by the offset; what leaves the grid is dropped, vacated places are fill values."""
    session = repo.writable_session("main")
    put(session, "g/a", 7, 9)
    before = values(session, "g/a")
    session.shift_array("/g/a", [offset])
    wanted = [before[i - offset] if 0 <= i - offset < 8 else FILL for i in range(8)]
    assert values(session, "g/a") == wanted
    session.commit("shifted")
    assert values(tip(repo), "g/a") == wanted


def test_shift_of_several_dimensions(repo: ic.Repository) -> None:
    """Each dimension has its own offset; no chunk object is written."""
    session = repo.writable_session("main")
    array = zarr.create_array(session.store, name="m", shape=(4, 6), chunks=(2, 2), dtype="i4", fill_value=0)
    data = np.arange(24, dtype="i4").reshape(4, 6)
    array[:] = data
    session.commit("matrix")
    session = repo.writable_session("main")
    session.shift_array("/m", (1, -1))
    assert session._state.sink.unsynced() == []
    wanted = np.zeros_like(data)
    wanted[2:, :4] = data[:2, 2:]
    assert np.array_equal(zarr.open_array(session.store, path="m", mode="r")[:], wanted)
    assert list(session.status().updated_chunks) == ["/m"]


def test_shift_of_no_dimensions(repo: ic.Repository) -> None:
    """The one chunk of a 0-d array goes nowhere."""
    session = repo.writable_session("main")
    zarr.create_array(session.store, name="s", shape=(), dtype="i4")[()] = 5
    session.shift_array("/s", [])
    assert values(session, "s") == 5


def test_reindex_forward_only_leaves_stale_chunks(repo: ic.Repository) -> None:
    """Without the inverse function only places that receive a chunk change."""
    session = repo.writable_session("main")
    session.reindex_array("/g/a", lambda at: [next(iter(at)) + 1])
    assert values(session, "g/a")[:5] == [0, 0, 1, 2, FILL]


def test_reindex_with_inverse_rotates(repo: ic.Repository) -> None:
    """With both functions every place that receives nothing is cleared."""
    session = repo.writable_session("main")
    put(session, "g/a", 7, 9)
    session.reindex_array(
        "/g/a", lambda at: [(next(iter(at)) + 1) % 8], lambda at: [(next(iter(at)) - 1) % 8]
    )
    assert values(session, "g/a") == [9, 0, 1, 2, FILL, FILL, FILL, FILL]


def test_reindex_visits_existing_chunks_only(repo: ic.Repository) -> None:
    """The functions are called with lists, once for each chunk, uncommitted and deleted ones counted."""
    session = repo.writable_session("main")
    put(session, "g/a", 5, 5)
    asyncio.run(session.store.delete("g/a/c/1"))
    seen: list[Any] = []
    session.reindex_array("/g/a", seen.append)
    assert sorted(seen) == [[0], [1], [2], [5]]
    assert values(session, "g/a") == [0, FILL, 2, FILL, FILL, 5, FILL, FILL]


def test_set_wins_over_cleared(repo: ic.Repository) -> None:
    """A place that one function clears and the other fills is filled, by the last chunk sent there."""
    session = repo.writable_session("main")
    session.reindex_array("/g/a", lambda at: [1], lambda at: None)
    assert values(session, "g/a")[:4] == [FILL, 2, FILL, FILL]


def failing(at: Iterable[int]) -> list[int]:
    raise KeyError("mine")


@pytest.mark.parametrize(
    ("forward", "kind"),
    [
        (lambda at: [9], Kind.INVALID_CHUNK_INDEX),
        (lambda at: [-1], Kind.INVALID_CHUNK_INDEX),
        (lambda at: [0, 0], Kind.INVALID_CHUNK_INDEX),
        (lambda at: ["x"], Kind.UNKNOWN),
        (lambda at: 3, Kind.UNKNOWN),
        (failing, Kind.UNKNOWN),
    ],
    ids=["beyond", "negative", "dimensions", "text", "number", "raises"],
)
def test_bad_functions_change_nothing(repo: ic.Repository, forward: Any, kind: str) -> None:
    """A function that fails for one chunk leaves all where they are; its error is the cause."""
    session = repo.writable_session("main")
    with pytest.raises(ic.IcechunkError) as caught:
        session.reindex_array("/g/a", lambda at: forward(at) if next(iter(at)) else [3])
    assert caught.value.kind == kind
    if forward is failing:
        assert isinstance(caught.value.__cause__, KeyError)
    assert not session.has_uncommitted_changes


def test_bad_inverse_function(repo: ic.Repository) -> None:
    """The inverse may point past the grid, where no chunk is, but not to negative or other coordinates."""
    session = repo.writable_session("main")
    with pytest.raises(ic.InvalidInputError):
        session.reindex_array("/g/a", lambda at: None, lambda at: [-1])
    with pytest.raises(ic.InvalidInputError):
        session.reindex_array("/g/a", lambda at: None, lambda at: [0, 0])
    session.reindex_array("/g/a", lambda at: None, lambda at: [100])
    assert values(session, "g/a") == [FILL] * 8


@pytest.mark.parametrize(
    ("path", "offset", "kind"),
    [
        ("/g", [1], Kind.NOT_AN_ARRAY),
        ("/nope", [1], Kind.NODE_NOT_FOUND),
        ("g/a", [1], Kind.INVALID_PATH),
        ("/g/a", [1, 1], Kind.INVALID_CHUNK_INDEX),
        ("/g/a", [], Kind.INVALID_CHUNK_INDEX),
    ],
)
def test_refused_shifts(repo: ic.Repository, path: str, offset: list[int], kind: str) -> None:
    """What is no array, or an offset that does not fit it, is refused."""
    session = repo.writable_session("main")
    with pytest.raises(ic.IcechunkError) as caught:
        session.shift_array(path, offset)
    assert caught.value.kind == kind
    assert not session.has_uncommitted_changes
    with pytest.raises(ic.ReadOnlyError):
        tip(repo).shift_array("/g/a", [1])
    with pytest.raises(TypeError):
        session.shift_array("/g/a", [1.5])  # type: ignore[list-item]


def test_irregular_grids_are_refused(repo2: ic.Repository) -> None:
    """Chunks of different shapes do not fit elsewhere."""
    session = repo2.writable_session("main")
    node = session._state.base.nodes.get("/g/a")
    assert node is not None
    document = json.loads(node.user_data)
    document["chunk_grid"] = {
        "name": "rectilinear",
        "configuration": {"kind": "inline", "chunk_shapes": [[2, 2, 4]]},
    }
    data = cpu.Buffer.from_bytes(json.dumps(document).encode())
    asyncio.run(session.store.set("r/zarr.json", data))
    with pytest.raises(ic.InvalidInputError, match="rectilinear"):
        session.shift_array("/r", [1])


def test_shifted_after_resize(repo: ic.Repository) -> None:
    """To keep all data on a shift, make room first."""
    session = repo.writable_session("main")
    make_array(session.store, "full", 2, [1, 2])
    zarr.open_array(session.store, path="full", mode="r+").resize((3,))
    session.shift_array("/full", [1])
    assert values(session, "full") == [FILL, 1, 2]
