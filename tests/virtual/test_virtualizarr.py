"""Virtual datasets of VirtualiZarr: real NetCDF files referenced, put together, appended to, read back."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import xarray
import zarr

pytest.importorskip("virtualizarr", reason="needs VirtualiZarr, which needs Python 3.12 or later")
pytest.importorskip("iris_sample_data")

import icechunk_core as ic
from icechunk_core.virtualizarr import open_virtual_dataset, to_icechunk
from icechunk_core.xarray import open_dataset, open_datatree
from tests.interop.implementations import load_peer
from tests.virtual.places import Place, on_web_server
from tests.xarray.data import concatenated, nemo_months

# zarr's own: the codecs that undo HDF5's filters are not part of its format's specification.
pytestmark = pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3")


def write(repo: ic.Repository, vds: Any, **options: Any) -> str:
    """Write and commit."""
    session = repo.writable_session("main")
    to_icechunk(vds, session.store, **options)
    return session.commit("virtual")


def assert_equals_files(found: Any, *, months: int = 3) -> None:
    """Every value of every variable is that of the files as xarray's NetCDF engine reads them."""
    expected = nemo_months().isel(time_counter=slice(0, months))
    assert set(found.variables) == set(expected.variables)
    for name, variable in expected.variables.items():
        xarray.testing.assert_equal(found[name].variable, variable)
        assert found[name].attrs == variable.attrs, name


def test_months_become_one_dataset(place: Place, tmp_path: Path) -> None:
    """Two months put together, a third appended: equal to the files, here and with Icechunk."""
    repo = place.create(tmp_path / "repo")
    write(repo, concatenated([place.open_virtually(0), place.open_virtually(1)]))
    with open_dataset(repo, decode_times=False) as two:
        assert_equals_files(two, months=2)
    write(repo, place.open_virtually(2), append_dim="time_counter")
    with open_dataset(repo, decode_times=False) as three:
        assert_equals_files(three)
    stored = sum(each.stat().st_size for each in (tmp_path / "repo").rglob("*") if each.is_file())
    assert stored < 100_000  # of 4.5 MB
    peer = load_peer()
    theirs = peer.Repository.open(
        peer.local_filesystem_storage(str(tmp_path / "repo")),
        authorize_virtual_chunk_access=place.authorized(peer),
    )
    store = theirs.readonly_session("main").store
    with xarray.open_dataset(store, engine="zarr", consolidated=False, decode_times=False) as seen:
        assert_equals_files(seen)


def test_files_open_through_plugins(place: Place) -> None:
    """`open_virtual_dataset` gives what VirtualiZarr gives with a store of its own, loaded variables too."""
    options = {"decode_times": False, "loadable_variables": ["time_counter", "nav_lat"]}
    ours = open_virtual_dataset(place.urls[1], storage_options=place.options, **options)
    theirs = place.open_virtually(1, loadable_variables=["time_counter", "nav_lat"])
    assert set(ours.variables) == set(theirs.variables)
    for name, variable in theirs.variables.items():
        mine = ours[name].variable
        assert (mine.dims, mine.attrs) == (variable.dims, variable.attrs)
        if name in options["loadable_variables"]:
            np.testing.assert_array_equal(mine.values, variable.values)
        else:
            assert mine.data.manifest == variable.data.manifest
            assert mine.data.metadata == variable.data.metadata


def test_paths_and_mistakes(local: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths, relative ones too; a missing file and a URL without a file are told."""
    path = Path(local.urls[0].removeprefix("file://"))
    monkeypatch.chdir(path.parent)
    for source in (path, str(path), path.name):
        assert open_virtual_dataset(source).tos.variable.data.manifest["0.0.0"]["path"] == local.urls[0]
    with pytest.raises(ic.errors.NotFound, match="january"):
        open_virtual_dataset("january.nc")
    for nothing in ("s3://bucket", "https://host/"):
        with pytest.raises(ic.InvalidInputError, match="names no file"):
            open_virtual_dataset(nothing)


def test_what_virtualizarr_itself_writes(local: Place, tmp_path: Path) -> None:
    """The same metadata and references as `vds.vz.to_icechunk` gives with Icechunk."""
    peer = load_peer()
    theirs = peer.Repository.create(
        peer.local_filesystem_storage(str(tmp_path / "theirs")),
        local.config(peer),
        authorize_virtual_chunk_access=local.authorized(peer),
    )
    ours = local.create(tmp_path / "ours")
    told = datetime(2030, 1, 1, tzinfo=UTC)
    for number in range(2):
        append = {"append_dim": "time_counter"} if number else {}
        vds = local.open_virtually(number)
        session = theirs.writable_session("main")
        vds.vz.to_icechunk(session.store, last_updated_at=told, **append)
        session.commit("virtual")
        write(ours, vds, last_updated_at=told, **append)
    mine, other = (repo.readonly_session("main") for repo in (ours, theirs))
    groups = [zarr.open_group(session.store, mode="r") for session in (mine, other)]
    assert dict(groups[0].attrs) == dict(groups[1].attrs)
    assert sorted(groups[0]) == sorted(groups[1])
    for name in groups[0]:
        assert groups[0][name].metadata == groups[1][name].metadata, name
    # Icechunk shows a space as %20.
    locations = [sorted(map(unquote, each.all_virtual_chunk_locations())) for each in (mine, other)]
    assert locations[0] == locations[1]


@pytest.mark.parametrize(
    "region", [{"time_counter": slice(1, 2)}, {"time_counter": "auto"}], ids=["slice", "auto"]
)
def test_into_a_region(region: Any, local: Place) -> None:
    """One month is replaced by another; "auto" finds it by its coordinate."""
    repo = local.create("memory:")
    months = [local.open_virtually(number).assign_coords(time_counter=[number]) for number in range(3)]
    write(repo, concatenated(months))
    fixed = [name for name, each in months[2].variables.items() if "time_counter" not in each.dims]
    later = months[2].drop_vars(fixed).assign_coords(time_counter=[1])
    write(repo, later, region=region)
    with open_dataset(repo, decode_times=False) as found:
        expected = nemo_months().tos.values
        np.testing.assert_array_equal(found.tos.values, expected[[0, 2, 2]])


def test_groups_and_modes(local: Place) -> None:
    """Groups keep months apart; an existing one is refused, replaced or added to, as asked for."""
    repo = local.create("memory:")
    first, second = local.open_virtually(0), local.open_virtually(1)
    write(repo, first, group="2015/01")
    write(repo, second, group="2015/02")
    with open_dataset(repo, group="2015/02", decode_times=False) as found:
        np.testing.assert_array_equal(found.tos.values[0], nemo_months().tos.values[1])
    with pytest.raises(zarr.errors.ContainsGroupError):
        write(repo, first, group="2015/02")
    write(repo, first[["tos"]], group="2015/02", mode="a")
    write(repo, first[["tos"]].drop_vars(["nav_lat", "nav_lon", "time_centered"]), group="2015/01", mode="w")
    with open_dataset(repo, group="2015/01", decode_times=False) as found:
        assert "bounds_lat" not in found.variables
    with pytest.raises(ic.InvalidInputError, match="mode='w' would not leave"):
        write(repo, first, mode="w", append_dim="time_counter")
    with pytest.raises(ic.InvalidInputError, match=r"'x\+'"):
        write(repo, first, mode="x+")


def test_trees(local: Place) -> None:
    """A tree of virtual datasets, below a group."""
    repo = local.create("memory:")
    tree = xarray.DataTree.from_dict(
        {
            "/": xarray.Dataset(attrs={"title": "ocean"}),
            "/jan": local.open_virtually(0),
            "/feb": local.open_virtually(1),
        }
    )
    write(repo, tree, group="nemo")
    with open_datatree(repo, decode_times=False) as found:
        assert found["nemo"].attrs["title"] == "ocean"
        for number, name in enumerate(("jan", "feb")):
            np.testing.assert_array_equal(
                found[f"nemo/{name}/tos"].values[0], nemo_months().tos.values[number]
            )


def test_loaded_variables_are_data(local: Place) -> None:
    """What VirtualiZarr loads is stored, what it references is not."""
    repo = local.create("memory:")
    write(repo, local.open_virtually(0, loadable_variables=["time_counter", "nav_lat", "tos"]))
    session = repo.readonly_session("main")
    assert session.chunk_type("/nav_lat", [0, 0]) != ic.ChunkType.virtual
    assert session.chunk_type("/nav_lon", [0, 0]) == ic.ChunkType.virtual
    with open_dataset(repo, decode_times=False) as found:
        assert_equals_files(found, months=1)


def test_the_dataset_is_left_as_it_is(local: Place) -> None:
    """Writing and appending change nothing of what is passed: encodings, attributes, variables."""
    repo = local.create("memory:")
    vds = local.open_virtually(0, loadable_variables=["time_counter", "nav_lat"])
    before = {name: (dict(each.attrs), dict(each.encoding)) for name, each in vds.variables.items()}
    attributes = dict(vds.attrs)
    write(repo, vds)
    write(repo, vds, append_dim="time_counter")
    assert {name: (each.attrs, each.encoding) for name, each in vds.variables.items()} == before
    assert vds.attrs == attributes


def test_a_location_without_container(local: Place, tmp_path: Path) -> None:
    """Nothing is written; the error names the location and shows how to add the container."""
    repo = ic.Repository.create("memory:")
    session = repo.writable_session("main")
    with pytest.raises(ic.InvalidInputError, match="set_virtual_chunk_container") as caught:
        to_icechunk(local.open_virtually(0), session.store)
    assert caught.value.kind == ic.ErrorKind.NO_CONTAINER_FOR_VIRTUAL_CHUNK
    assert local.urls[0] in str(caught.value)
    assert not session.has_uncommitted_changes
    to_icechunk(local.open_virtually(0), session.store, validate_containers=False)
    assert set(session.all_virtual_chunk_locations()) == {local.urls[0]}


def test_readers_without_authorisation(local: Place, tmp_path: Path) -> None:
    """The data are refused, with the argument to pass; metadata can be looked at."""
    write(local.create(tmp_path / "repo"), local.open_virtually(0))
    with open_dataset(tmp_path / "repo", decode_times=False) as found:
        with pytest.raises(ic.InvalidInputError, match="authorize_virtual_chunk_access") as caught:
            found.tos.load()
        assert caught.value.kind == ic.ErrorKind.UNAUTHORIZED_VIRTUAL_CHUNK_CONTAINER
    with open_dataset(
        tmp_path / "repo", decode_times=False, authorize_virtual_chunk_access=local.authorized()
    ) as found:
        assert_equals_files(found, months=1)


def test_files_that_change(local: Place) -> None:
    """A file that was written to after it was referenced is not read; `False` records no time."""
    repo = local.create("memory:")
    write(repo, local.open_virtually(0))
    path = Path(local.urls[0].removeprefix("file://"))
    later = path.stat().st_mtime + 60
    os.utime(path, (later, later))
    with (
        open_dataset(repo, decode_times=False) as found,
        pytest.raises(ic.StorageError, match="changed since it was referenced") as caught,
    ):
        found.tos.load()
    assert caught.value.kind == ic.ErrorKind.VIRTUAL_CHUNK_MODIFIED
    write(repo, local.open_virtually(0), mode="w", last_updated_at=False)
    with open_dataset(repo, decode_times=False) as found:
        assert_equals_files(found, months=1)
    path.unlink()
    with open_dataset(repo, decode_times=False) as found, pytest.raises(ic.StorageError, match=path.name):
        found.tos.load()


def test_servers_without_times(tmp_path: Path) -> None:
    """Where nothing tells when a file was modified, the error says so, and `False` records no time."""
    with on_web_server(tmp_path / "files", last_modified=False) as place:
        repo = place.create("memory:")
        told = datetime(2020, 1, 1, tzinfo=UTC)
        write(repo, place.open_virtually(0), last_updated_at=told)
        with (
            open_dataset(repo, decode_times=False) as found,
            pytest.raises(ic.StorageError, match="does not tell the time of modification"),
        ):
            found.tos.load()
        write(repo, place.open_virtually(0), mode="w", last_updated_at=False)
        with open_dataset(repo, decode_times=False) as found:
            assert_equals_files(found, months=1)


def _with_units(vds: Any) -> Any:
    vds["time_centered"].attrs["units"] = "seconds since 2000-01-01"
    return vds


def _wider(vds: Any) -> Any:
    bounds = xarray.concat([vds.time_centered_bounds] * 2, dim="axis_nbounds")
    return vds.drop_vars("time_centered_bounds").assign(time_centered_bounds=bounds)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_with_units, "units"),
        (_wider, "shape"),
        (lambda vds: vds.rename(x="longitude"), "dimension_names"),
        (lambda vds: vds.rename(tos="sst"), "no such array"),
    ],
    ids=["units", "shape", "dimensions", "name"],
)
def test_appending_what_does_not_fit(change: Any, told: str, local: Place) -> None:
    """Other units, shapes or names than those that are there are refused, and nothing is written."""
    repo = local.create("memory:")
    write(repo, local.open_virtually(0))
    session = repo.writable_session("main")
    with pytest.raises(ic.InvalidInputError, match=told):
        to_icechunk(change(local.open_virtually(1)), session.store, append_dim="time_counter")
    assert not session.has_uncommitted_changes


def test_appending_to_an_incomplete_chunk(local: Place) -> None:
    """Where the last chunk is not full there is no place for a reference: load that variable."""
    repo = local.create("memory:")
    write(repo, local.open_virtually(0))
    session = repo.writable_session("main")
    old = zarr.open_array(session.store, path="time_centered")
    values = old[:]
    array = zarr.create_array(
        session.store, name="time_centered", data=values, chunks=(12,), overwrite=True,
        dimension_names=["time_counter"], compressors=old.compressors, filters=None,
    )  # fmt: skip
    array.attrs.put(dict(old.attrs))
    session.commit("chunks of a year")
    with pytest.raises(ic.InvalidInputError, match=r"chunk_grid|whole chunk"):
        write(repo, local.open_virtually(1), append_dim="time_counter")


def test_wrong_arguments(local: Place) -> None:
    """Stores of others, read-only ones, other objects and unknown dimensions are refused."""
    repo = local.create("memory:")
    vds = local.open_virtually(0)
    with pytest.raises(ic.InvalidInputError, match="MemoryStore"):
        to_icechunk(vds, zarr.storage.MemoryStore())  # type: ignore[arg-type]
    with pytest.raises(ic.ReadOnlyError, match="writable_session"):
        to_icechunk(vds, repo.readonly_session("main").store)
    with pytest.raises(ic.InvalidInputError, match="DataArray"):
        to_icechunk(vds.tos, repo.writable_session("main").store)
    with pytest.raises(ic.InvalidInputError, match="'depth'"):
        to_icechunk(vds, repo.writable_session("main").store, append_dim="depth")
