"""The marks that xarray's tests are written with."""

from __future__ import annotations

import pytest

_MARKS = ("flaky", "network", "skip_if_param", "skip_with_dask_array", "slow_hypothesis")


def pytest_configure(config: pytest.Config) -> None:
    """Make them known."""
    for name in _MARKS:
        config.addinivalue_line("markers", f"{name}: on tests that xarray brings along")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what xarray itself skips in Zarr format 3, the only one of a repository."""
    for mark in item.iter_markers("skip_if_param"):
        if mark.kwargs.get("default_zarr_format") == 3 and mark.kwargs.get("condition", True):
            pytest.skip(mark.kwargs["reason"])
