"""Writing with dask and xarray, and the helpers below them."""

from __future__ import annotations

import numpy as np
import pytest
import zarr

import icechunk_core
from icechunk_core.distributed import extract_session, merge_sessions


@pytest.fixture
def repo() -> icechunk_core.Repository:
    return icechunk_core.Repository.create(icechunk_core.in_memory_storage())


def _array(session: icechunk_core.Session, **options: object) -> zarr.Array:
    return zarr.create_array(session.store, name="a", shape=(8, 4), chunks=(2, 4), dtype="i4", **options)


def test_sessions_of_arrays_are_merged(repo: icechunk_core.Repository) -> None:
    """Forks taken from arrays and merged, in whatever nesting, hold everybody's chunks."""
    session = repo.writable_session("main")
    _array(session)
    forks = [session.fork() for _ in range(3)]
    for number, fork in enumerate(forks):
        zarr.open_array(fork.store, path="a")[2 * number : 2 * number + 2] = number + 1
    arrays = [zarr.open_array(fork.store, path="a") for fork in forks]
    first, second, third = (extract_session(each, axis=0, keepdims=False) for each in arrays)
    merged = merge_sessions([[first], [second]], third)
    session.merge(merged)
    session.commit("by three")
    stored = zarr.open_array(repo.readonly_session("main").store, path="a")
    assert stored[:, 0].tolist() == [1, 1, 2, 2, 3, 3, 0, 0]


def test_only_forks_are_merged(repo: icechunk_core.Repository) -> None:
    """The session that commits is not merged into a fork; an empty call says so too."""
    session = repo.writable_session("main")
    with pytest.raises(TypeError, match="merges forks, not a Session"):
        merge_sessions(session)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no sessions"):
        merge_sessions()
    with pytest.raises(TypeError, match="MemoryStore"):
        extract_session(zarr.create_array({}, shape=(1,), dtype="i4"))


@pytest.mark.parametrize("split_every", [None, 2])
def test_dask_arrays_are_stored(repo: icechunk_core.Repository, split_every: int | None) -> None:
    """All chunks that threads wrote are in the commit, also with regions and several arrays."""
    da = pytest.importorskip("dask.array")
    dask = pytest.importorskip("dask")
    from icechunk_core.dask import store_dask

    session = repo.writable_session("main")
    _array(session)
    zarr.create_array(session.store, name="b", shape=(4,), chunks=(1,), dtype="f8")
    fork = session.fork()
    values = np.arange(16, dtype="i4").reshape(4, 4)
    with dask.config.set(scheduler="threads"):
        merged = store_dask(
            sources=[da.from_array(values, chunks=(2, 4)), da.ones(4, chunks=1)],
            targets=[zarr.open_array(fork.store, path=path) for path in ("a", "b")],
            regions=[(slice(2, 6), slice(0, 4)), (slice(0, 4),)],
            split_every=split_every,
        )
    session.merge(merged)
    session.commit("stored")
    root = zarr.open_group(repo.readonly_session("main").store, mode="r")
    assert (root["a"][2:6] == values).all()
    assert not root["a"][:2].any()
    assert (root["b"][:] == 1).all()


def test_functions_for_reductions_give_a_placeholder() -> None:
    """Asked for meta data only, the function is not called."""
    pytest.importorskip("dask")
    from icechunk_core.dask import computing_meta

    guarded = computing_meta(lambda **_: 1 / 0)
    assert guarded(computing_meta=True).dtype == object
    with pytest.raises(ZeroDivisionError):
        guarded()


@pytest.mark.parametrize("lazy", [False, True])
def test_datasets_are_written_and_appended_to(repo: icechunk_core.Repository, lazy: bool) -> None:
    """What xarray writes into a group reads back the same, in memory or lazy, and can be appended to."""
    xr = pytest.importorskip("xarray")
    from icechunk_core.xarray import to_icechunk

    whole = xr.Dataset(
        {"t": (("time", "x"), np.arange(24.0).reshape(6, 4))},
        coords={"time": np.arange(6), "x": np.arange(4)},
    )
    if lazy:
        pytest.importorskip("dask")
        whole = whole.chunk({"time": 3, "x": 2})
    session = repo.writable_session("main")
    to_icechunk(whole.isel(time=slice(0, 3)), session, group="g", encoding={"t": {"chunks": (3, 2)}})
    to_icechunk(whole.isel(time=slice(3, 6)), session, group="g", append_dim="time")
    session.commit("written")
    with xr.open_zarr(
        repo.readonly_session("main").store, group="g", consolidated=False, chunks=None
    ) as stored:
        xr.testing.assert_identical(stored.load(), whole.load())


def test_a_lazy_array_without_a_name(repo: icechunk_core.Repository) -> None:
    """A DataArray, named or not, is stored the way xarray stores one; regions are overwritten."""
    xr = pytest.importorskip("xarray")
    pytest.importorskip("dask")
    from icechunk_core.xarray import to_icechunk

    session = repo.writable_session("main")
    array = xr.DataArray(np.zeros((4,)), dims=("x",)).chunk({"x": 2})
    to_icechunk(array, session)
    to_icechunk(array.isel(x=slice(2, 4)) + 5, session, region={"x": slice(2, 4)})
    stored = xr.open_dataarray(session.store, engine="zarr", consolidated=False)
    assert stored.name is None
    assert stored.values.tolist() == [0, 0, 5, 5]
    stored.close()


def test_a_store_is_not_a_session(repo: icechunk_core.Repository) -> None:
    """Whoever passes the store is told to pass the session."""
    xr = pytest.importorskip("xarray")
    from icechunk_core.xarray import to_icechunk

    with pytest.raises(ValueError, match="writes to a session"):
        to_icechunk(xr.Dataset(), repo.writable_session("main").store)  # type: ignore[arg-type]
