"""The data: two climate scenarios for North America, 1860 to 2099, yearly means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import iris_sample_data
import numpy as np
import xarray as xr

FIRST_YEAR = 1860
DECADES = 24


def load() -> tuple[xr.Dataset, xr.Dataset]:
    """The scenarios A1B and E1, with times as the numbers that the files hold."""
    folder = Path(iris_sample_data.path)
    a1b, e1 = (
        xr.load_dataset(folder / f"{name}_north_america.nc", engine="h5netcdf", decode_times=False)
        for name in ("A1B", "E1")
    )
    return a1b, e1


def first_difference(a: xr.DataArray, b: xr.DataArray) -> int:
    """Number of years, from the first on, in which two arrays (time, latitude, longitude) are equal."""
    differs = np.any(a.values != b.values, axis=(1, 2))
    return int(np.argmax(differs)) if differs.any() else len(differs)


def decade(scenario: xr.Dataset, number: int) -> xr.Dataset:
    """Ten years of a scenario; ``number`` counts from the first decade."""
    return scenario.isel(time=slice(10 * number, 10 * (number + 1)))


def write_decade(store: Any, data: xr.Dataset, *, append: bool) -> None:
    """Write ten years to a zarr store: as a new dataset, or at the end of the one that is there."""
    if append:
        fixed = [name for name, variable in data.variables.items() if "time" not in variable.dims]
        data.drop_vars(fixed).to_zarr(store, append_dim="time", zarr_format=3, consolidated=False)
        return
    chunks = {
        name: {"chunks": tuple(10 if dim == "time" else data.sizes[dim] for dim in variable.dims)}
        for name, variable in data.variables.items()
        if variable.dims
    }
    data.drop_encoding().to_zarr(store, mode="w", zarr_format=3, consolidated=False, encoding=chunks)
