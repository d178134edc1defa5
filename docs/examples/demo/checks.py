"""Nothing is taken on trust: every value that is read is compared with the NetCDF files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr


def check_same(stored: xr.Dataset, expected: xr.Dataset) -> int:
    """Compare all variables bit for bit and count the values.

    Raises
    ------
    ValueError
        Naming the variable that differs.
    """
    if set(stored.variables) != set(expected.variables):
        raise ValueError(f"stored variables {list(stored.variables)}, expected {list(expected.variables)}")
    for name in expected.variables:
        if not np.array_equal(stored[name].values, expected[name].values):
            raise ValueError(f"{name} read from the repository differs from the NetCDF file")
    return sum(variable.size for variable in expected.variables.values())


def open_with_icechunk(location: Path, expected: Mapping[str, xr.Dataset]) -> str:
    """Read the branches with `icechunk`, where a version that knows this format is installed."""
    os.environ.setdefault("ICECHUNK_LOG", "error")
    try:
        import icechunk
    except ImportError:
        return "skipped: icechunk is not installed"
    if int(icechunk.__version__.split(".")[0]) < 2:
        return f"skipped: icechunk {icechunk.__version__} is too old; 2.x needs Python 3.12"
    repo = icechunk.Repository.open(icechunk.local_filesystem_storage(str(location)))
    checked = 0
    for branch, data in expected.items():
        store = repo.readonly_session(branch).store
        checked += check_same(xr.open_zarr(store, consolidated=False, decode_times=False), data)
    commits = len({info.id for branch in expected for info in repo.ancestry(branch=branch)})
    return f"icechunk {icechunk.__version__} sees {commits} snapshots; {checked:,} values equal"
