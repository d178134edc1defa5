"""Real data for tests: climate scenarios and ocean months of ``iris-sample-data``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

__all__ = ["nemo_files", "nemo_months", "scenario"]


def _sample_data() -> Path:
    found = pytest.importorskip("iris_sample_data")
    return Path(found.path)


def scenario() -> Any:
    """Forty years of yearly means over North America: time, latitude, longitude; times as numbers."""
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    with xarray.open_dataset(
        _sample_data() / "A1B_north_america.nc", engine="h5netcdf", decode_times=False
    ) as opened:
        return opened.isel(time=slice(0, 40)).load().drop_encoding()


def nemo_files() -> list[Path]:
    """The three monthly files of an ocean model, in order."""
    return sorted((_sample_data() / "NEMO").glob("nemo_1m_*.nc"))


def nemo_months() -> Any:
    """What the three files hold, put together along time by xarray."""
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    months = []
    for path in nemo_files():
        with xarray.open_dataset(path, engine="h5netcdf", decode_times=False) as month:
            months.append(month.load())
    return concatenated(months)


def concatenated(months: list[Any]) -> Any:
    """Months put together along time; what does not depend on time is taken from the first."""
    xarray = pytest.importorskip("xarray")
    return xarray.concat(
        months,
        dim="time_counter",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="override",
        combine_attrs="override",
    )
