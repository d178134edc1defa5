"""kerchunk's references to real NetCDF files: as dictionaries, JSON and Parquet, from three places."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import xarray
import zstandard

pytest.importorskip("kerchunk", reason="comes with the tests of Python 3.12 or later")
pytest.importorskip("iris_sample_data")

from kerchunk.combine import MultiZarrToZarr
from kerchunk.df import refs_to_dataframe
from kerchunk.hdf import SingleHdf5ToZarr

import icechunk_core as ic
from icechunk_core.kerchunk import from_kerchunk
from icechunk_core.xarray import open_dataset
from tests.interop.implementations import load_peer
from tests.virtual.places import Place
from tests.virtual.test_virtualizarr import assert_equals_files
from tests.xarray.data import nemo_files

pytestmark = pytest.mark.filterwarnings(
    "ignore:Numcodecs codecs are not in the Zarr version 3",
    # kerchunk's own.
    "ignore::DeprecationWarning:kerchunk",
)


@pytest.fixture(scope="module")
def translated() -> list[dict[str, Any]]:
    """kerchunk's references of each file."""
    return [SingleHdf5ToZarr(str(path), inline_threshold=300).translate() for path in nemo_files()]


def at(place: Place, translated: list[dict[str, Any]], number: int) -> dict[str, Any]:
    """References of a file as if it had been translated at a place."""
    moved = {
        key: [place.urls[number], *ref[1:]] if isinstance(ref, list) else ref
        for key, ref in translated[number]["refs"].items()
    }
    return {"version": 1, "refs": moved}


def write(repo: ic.Repository, references: Any, **options: Any) -> None:
    """Write and commit."""
    session = repo.writable_session("main")
    from_kerchunk(references, session.store, **options)
    session.commit("references")


def test_months_are_appended(place: Place, tmp_path: Path, translated: list[dict[str, Any]]) -> None:
    """One month, and two more behind it: equal to the files, here and with Icechunk."""
    repo = place.create(tmp_path / "repo")
    write(repo, at(place, translated, 0))
    for number in (1, 2):
        write(repo, at(place, translated, number), append_dim="time_counter")
    with open_dataset(repo, decode_times=False) as found:
        assert_equals_files(found)
    peer = load_peer()
    theirs = peer.Repository.open(
        peer.local_filesystem_storage(str(tmp_path / "repo")),
        authorize_virtual_chunk_access=place.authorized(peer),
    )
    store = theirs.readonly_session("main").store
    with xarray.open_dataset(store, engine="zarr", consolidated=False, decode_times=False) as seen:
        assert_equals_files(seen)


@pytest.mark.parametrize("form", ["json", "zstd", "url", "parquet"])
def test_reference_files(form: str, local: Place, tmp_path: Path, translated: list[dict[str, Any]]) -> None:
    """References put together by kerchunk, from a JSON file (compressed, by URL) and from Parquet."""
    months = [at(local, translated, number) for number in range(3)]
    references = MultiZarrToZarr(
        months,
        concat_dims=["time_counter"],
        coo_map={"time_counter": "INDEX"},
        identical_dims=["nav_lat", "nav_lon", "bounds_lat", "bounds_lon"],
    ).translate()
    source: Any = tmp_path / "references.json"
    if form == "parquet":
        source = tmp_path / "references.parq"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pandas's, about what kerchunk writes with
            refs_to_dataframe(references["refs"], str(source), record_size=4)
    elif form == "zstd":
        source.write_bytes(zstandard.compress(json.dumps(references).encode()))
    else:
        source.write_text(json.dumps(references))
        source = source.as_uri() if form == "url" else source
    repo = local.create("memory:")
    write(repo, source)
    with open_dataset(repo, decode_times=False) as found:
        assert_equals_files(found.assign_coords(time_counter=("time_counter", [0.0] * 3, {"axis": "T"})))


def test_as_kerchunks_engine_reads(local: Place, translated: list[dict[str, Any]]) -> None:
    """Decoded or not, xarray shows what it shows for the references themselves."""
    references = at(local, translated, 0)
    repo = local.create("memory:")
    write(repo, references)
    for options in ({}, {"decode_cf": False}):
        theirs = {"chunks": None, **options}
        with (
            xarray.open_dataset(references, engine="kerchunk", open_dataset_options=theirs) as expected,
            open_dataset(repo, **options) as found,
        ):
            xarray.testing.assert_identical(found.load(), expected.load())
