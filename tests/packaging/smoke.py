"""Run by the interpreter of an empty environment in which only the wheel is installed."""

import sys
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import zarr

import icechunk_core
from icechunk_core import Repository

sources, directory = sys.argv[1:]
for module in [module for name, module in sys.modules.items() if name.startswith("icechunk")]:
    assert module.__file__ is not None
    assert not module.__file__.startswith(sources), module.__file__
assert not any(path.startswith(sources) for path in sys.path), sys.path

names = {point.name for point in entry_points(group="icechunk_core.backends")}
assert {"memory", "file"} <= names, names

for url in ("memory:", Path(directory).as_uri()):
    repo = Repository.create(url)
    session = repo.writable_session("main")
    array = zarr.create_array(session.store, name="a", shape=(100,), chunks=(10,), dtype="i4")
    array[:] = np.arange(100)
    snapshot = session.commit("first")
    again = repo if url == "memory:" else Repository.open(url)
    assert again.lookup_branch("main") == snapshot
    read = zarr.open_array(again.readonly_session("main").store, path="a", mode="r")
    assert np.array_equal(read[:], np.arange(100))
    assert [info.message for info in again.ancestry(branch="main")] == ["first", "Repository initialized"]

assert not {"xarray", "dask", "icechunk", "pytest", "boto3", "aiohttp"} & set(sys.modules)
print("smoke test passed:", icechunk_core.__version__)
