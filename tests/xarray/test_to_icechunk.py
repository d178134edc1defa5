"""`to_icechunk` writes what Icechunk's writes, and refuses what that refuses: the same programs with both."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from typing import Any

import dask
import numpy as np
import pytest
import xarray
import zarr

import icechunk_core
from tests.interop.implementations import load_peer
from tests.xarray.data import scenario

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3 specification")


class Side:
    """A repository of one implementation, and its writer."""

    def __init__(self, ic: Any) -> None:
        self.repo = ic.Repository.create(ic.in_memory_storage())
        self.module = importlib.import_module(f"{ic.__name__}.xarray")

    def write(self, *steps: tuple[Any, dict[str, Any]]) -> None:
        """Several writes in one session and commit."""
        session = self.repo.writable_session("main")
        for data, options in steps:
            self.module.to_icechunk(data, session, **options)
        session.commit("write")

    def read(self, group: str | None = None) -> Any:
        """What is there, undecoded, in memory."""
        store = self.repo.readonly_session("main").store
        with xarray.open_dataset(
            store, engine="zarr", consolidated=False, group=group, decode_cf=False
        ) as found:
            return found.load()


Program = Callable[[Side, Any], Any]


def create(side: Side, data: Any) -> Any:
    side.write((data, {}))
    return side.read()


def create_in_a_group(side: Side, data: Any) -> Any:
    side.write((data, {"group": "deep/er"}))
    return side.read("deep/er")


def create_twice(side: Side, data: Any) -> Any:
    side.write((data, {}))
    side.write((data, {}))


def replace(side: Side, data: Any) -> Any:
    side.write((data, {}))
    side.write((data[["air_temperature"]] + 1, {"mode": "w"}))
    return side.read()


def add_a_variable(side: Side, data: Any) -> Any:
    side.write((data, {}))
    side.write((data[["air_temperature"]].rename(air_temperature="other"), {"mode": "a"}))
    return side.read()


def append(side: Side, data: Any) -> Any:
    side.write((data.isel(time=slice(0, 10)), {}))
    side.write((data.isel(time=slice(10, 25)), {"append_dim": "time"}))
    return side.read()


def append_in_one_session(side: Side, data: Any) -> Any:
    parts = [data.isel(time=slice(at, at + 8)).chunk(time=8) for at in (0, 8, 16)]
    side.write((parts[0], {}), *((part, {"append_dim": "time"}) for part in parts[1:]))
    return side.read()


def append_only_what_grows(side: Side, data: Any) -> Any:
    side.write((data.isel(time=slice(0, 10)), {}))
    side.write((data.isel(time=slice(10, 20)) * 2, {"append_dim": "time", "mode": "a-"}))
    return side.read()


def append_along_nothing(side: Side, data: Any) -> Any:
    side.write((data, {}))
    side.write((data, {"append_dim": "depth"}))


def append_with_encoding(side: Side, data: Any) -> Any:
    side.write((data, {}))
    side.write((data, {"append_dim": "time", "encoding": {"air_temperature": {"chunks": (1, 37, 49)}}}))


def encode(side: Side, data: Any) -> Any:
    packed = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 280.0, "_FillValue": -32768}
    side.write((data, {"encoding": {"air_temperature": {**packed, "chunks": (7, 37, 10)}}}))
    return side.read()


def encode_wrongly(side: Side, data: Any) -> Any:
    side.write((data, {"encoding": {"air_temperature": {"colour": "blue"}}}))


def _prepared(side: Side, data: Any) -> Any:
    side.write((data, {"encoding": {"air_temperature": {"chunks": (10, 37, 49)}}}))
    return (data[["air_temperature"]] * 0 - 1).isel(time=slice(10, 20))


def _decoded_part(side: Side, data: Any) -> Any:
    """With times as xarray finds them in the store, and nothing without a dimension of the region."""
    return xarray.decode_cf(_prepared(side, data).drop_vars(["height", "forecast_reference_time"]))


def write_a_region(side: Side, data: Any) -> Any:
    part = _prepared(side, data).drop_vars(["latitude", "longitude", "height", "forecast_reference_time"])
    side.write((part, {"region": {"time": slice(10, 20)}}))
    return side.read()


def find_the_region(side: Side, data: Any) -> Any:
    part = _decoded_part(side, data)
    side.write((part, {"region": "auto"}))
    return side.read()


def find_one_dimension(side: Side, data: Any) -> Any:
    part = _decoded_part(side, data)
    region = {"time": "auto", "latitude": slice(0, 37), "longitude": slice(0, 49)}
    side.write((part, {"region": region}))
    return side.read()


def a_region_that_is_not_there(side: Side, data: Any) -> Any:
    part = _decoded_part(side, data)
    moved = part.assign_coords(latitude=part.latitude + 1)
    side.write((moved, {"region": "auto"}))


def a_region_and_fixed_variables(side: Side, data: Any) -> Any:
    side.write((_prepared(side, data), {"region": {"time": slice(10, 20)}}))


def dask_arrays(side: Side, data: Any) -> Any:
    side.write((data.chunk(time=5, latitude=10), {"split_every": 2}))
    return side.read()


def dask_options(side: Side, data: Any) -> Any:
    side.write((data.chunk(time=5), {"chunkmanager_store_kwargs": {"load_stored": True}}))
    return side.read()


def dask_chunks_that_meet(side: Side, data: Any) -> Any:
    side.write((data.chunk(time=7), {"encoding": {"air_temperature": {"chunks": (10, 37, 49)}}}))


def dask_chunks_aligned(side: Side, data: Any) -> Any:
    encoding = {"air_temperature": {"chunks": (10, 37, 49)}}
    side.write((data.chunk(time=7), {"encoding": encoding, "align_chunks": True}))
    return side.read()


def dask_chunks_unsafe(side: Side, data: Any) -> Any:
    encoding = {"air_temperature": {"chunks": (10, 37, 49)}}
    with dask.config.set(scheduler="synchronous"):
        side.write((data.chunk(time=20), {"encoding": encoding, "safe_chunks": False}))
    return side.read()


def dask_into_a_region(side: Side, data: Any) -> Any:
    part = _decoded_part(side, data)
    side.write((part.drop_vars("forecast_period").chunk(time=10), {"region": "auto"}))
    return side.read()


def an_array(side: Side, data: Any) -> Any:
    side.write((data.air_temperature, {}))
    return side.read()


def an_array_without_name(side: Side, data: Any) -> Any:
    side.write((data.air_temperature.rename(None), {}))
    return side.read()


def an_array_named_as_its_dimension(side: Side, data: Any) -> Any:
    side.write((data.latitude, {}))
    return side.read()


def only_values(side: Side, data: Any) -> Any:
    side.write((data, {}))
    side.write((data + 1, {"mode": "r+"}))
    return side.read()


def only_values_of_nothing(side: Side, data: Any) -> Any:
    side.write((data, {"mode": "r+"}))


def a_bad_name(side: Side, data: Any) -> Any:
    side.write((data.rename(air_temperature=""), {}))


def a_read_only_session(side: Side, data: Any) -> Any:
    side.module.to_icechunk(data, side.repo.readonly_session("main"))


PROGRAMS = [
    create, create_in_a_group, create_twice, replace, add_a_variable, append, append_in_one_session,
    append_only_what_grows, append_along_nothing, append_with_encoding, encode, encode_wrongly,
    write_a_region, find_the_region, find_one_dimension, a_region_that_is_not_there,
    a_region_and_fixed_variables, dask_arrays, dask_options, dask_chunks_that_meet, dask_chunks_aligned,
    dask_chunks_unsafe, dask_into_a_region, an_array, an_array_without_name,
    an_array_named_as_its_dimension, only_values, only_values_of_nothing, a_bad_name, a_read_only_session,
]  # fmt: skip
REFUSED = {
    create_twice, append_along_nothing, append_with_encoding, encode_wrongly, a_region_that_is_not_there,
    a_region_and_fixed_variables, dask_chunks_that_meet, only_values_of_nothing, a_bad_name,
    a_read_only_session,
}  # fmt: skip


@pytest.fixture(scope="module")
def data() -> Any:
    return scenario()


def outcome(program: Program, ic: Any, data: Any) -> Any:
    """The dataset that a program leaves, or its error."""
    try:
        return program(Side(ic), data)
    except Exception as error:
        return error


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_as_icechunk(program: Program, data: Any) -> None:
    """The same values, types, attributes, chunks and codecs are stored, or the same is refused."""
    theirs, ours = outcome(program, load_peer(), data), outcome(program, icechunk_core, data)
    if program in REFUSED:
        assert isinstance(ours, Exception)
        assert isinstance(theirs, Exception)
        if "icechunk" not in type(theirs).__module__:  # an error of xarray or zarr
            # Up to where the store is shown, or dimensions in the order of a hash table.
            told = [re.split("[<{]", str(error))[0] for error in (ours, theirs)]
            assert (type(ours), told[0]) == (type(theirs), told[1])
        return
    for each in (theirs, ours):
        if isinstance(each, Exception):
            raise each
    xarray.testing.assert_identical(ours, theirs)
    for name, variable in theirs.variables.items():
        for part in ("chunks", "preferred_chunks", "compressors", "filters", "dtype", "_FillValue"):
            assert ours[name].encoding.get(part) == variable.encoding.get(part), (name, part)


def test_the_signature_is_icechunks() -> None:
    """Every argument of Icechunk's function, of the same kind and with the same default, and no other."""
    load_peer()
    theirs = inspect.signature(importlib.import_module("icechunk.xarray").to_icechunk).parameters
    ours = inspect.signature(importlib.import_module("icechunk_core.xarray").to_icechunk).parameters
    assert [(each.name, each.kind, each.default) for each in ours.values()] == [
        (each.name, each.kind, each.default) for each in theirs.values()
    ]


# --- trees, which Icechunk does not write


def tree_of(data: Any) -> Any:
    """A root with coordinates, and two groups that inherit them."""
    root, years = data[["latitude", "longitude"]], data[["air_temperature"]]
    return xarray.DataTree.from_dict({"/": root, "/years": years, "/means": years.mean("time")})


@pytest.mark.parametrize("chunked", [False, True], ids=["in memory", "dask"])
def test_a_tree(chunked: bool, data: Any) -> None:
    """A tree comes back as it was, each group with the encoding given for it, coordinates stored once."""
    from icechunk_core.xarray import open_datatree, to_icechunk

    tree = tree_of(data.chunk(time=10) if chunked else data)
    repo = icechunk_core.Repository.create("memory:")
    session = repo.writable_session("main")
    to_icechunk(tree, session, encoding={"/years": {"air_temperature": {"chunks": (10, 37, 49)}}})
    session.commit("tree")
    with open_datatree(repo, decode_times=False) as found:
        xarray.testing.assert_identical(found.load(), tree.load())
        assert found["years/air_temperature"].encoding["chunks"] == (10, 37, 49)
    stored = dict(zarr.open_group(session.store, mode="r").members(None))
    assert "latitude" in stored
    assert "means/latitude" not in stored  # it is the root's


def test_a_tree_below_a_group(data: Any) -> None:
    """`group` is where the tree's root goes; encodings for groups that are not there are refused."""
    from icechunk_core.xarray import open_dataset, to_icechunk

    repo = icechunk_core.Repository.create("memory:")
    session = repo.writable_session("main")
    with pytest.raises(icechunk_core.InvalidInputError, match="months"):
        to_icechunk(tree_of(data), session, encoding={"/months": {}})
    with pytest.raises(icechunk_core.InvalidInputError, match="one by one"):
        to_icechunk(tree_of(data), session, append_dim="time")
    to_icechunk(tree_of(data), session, group="run/1")
    assert np.array_equal(
        open_dataset(session, group="run/1/years").air_temperature.values, data.air_temperature.values
    )
