"""A map and a time series of the two scenarios, read from the repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr

from icechunk_core import Repository

mpl.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (after the choice of the backend)

A1B_COLOR, E1_COLOR, INK = "#c8553d", "#2a6f97", "#333333"


def draw(repo: Repository, target: Path) -> None:
    """Save the picture as PNG: what A1B warms more than E1, where, and since when."""
    a1b, e1 = (_temperature(repo, **version) for version in ({"tag": "v1"}, {"branch": "e1"}))
    years = a1b["time"].dt.year.values
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(13, 5.2), width_ratios=(1.05, 1), layout="constrained", facecolor="white"
    )
    _map(left, a1b, e1)
    _series(right, years, a1b, e1)
    figure.suptitle(
        "North America by the end of the century: growth (A1B) against mitigation (E1)",
        fontsize=14, fontweight="bold", color=INK,
    )
    figure.supxlabel(
        "Data: Met Office Unified Model, from iris-sample-data. Both versions read from one icechunk-core repository.",
        fontsize=8, color="#777777",
    )
    figure.savefig(target, dpi=130)
    plt.close(figure)


def _temperature(repo: Repository, **version: str) -> xr.DataArray:
    store = repo.readonly_session(**version).store
    return xr.open_zarr(store, consolidated=False)["air_temperature"].load()


def _map(axes: Any, a1b: xr.DataArray, e1: xr.DataArray) -> None:
    last = slice(-20, None)
    difference = (a1b - e1).isel(time=last).mean("time")
    years = a1b["time"].dt.year.values[last]
    longitude = difference["longitude"].values - 360
    levels = np.arange(0, np.ceil(float(difference.max()) * 2) / 2 + 0.01, 0.5)
    filled = axes.contourf(
        longitude, difference["latitude"].values, difference.values, levels=levels, cmap="YlOrRd", extend="min"
    )
    lines = axes.contour(
        longitude, difference["latitude"].values, difference.values,
        levels=levels[::2], colors=INK, linewidths=0.5, alpha=0.6,
    )
    axes.clabel(lines, fmt="%g K", fontsize=8)
    axes.figure.colorbar(filled, ax=axes, shrink=0.85, label="A1B minus E1, K")
    axes.set_title(f"Mean difference {years[0]}–{years[-1]}", color=INK)
    axes.set_xlabel("Longitude")
    axes.set_ylabel("Latitude")
    axes.xaxis.set_major_formatter(lambda value, _: f"{abs(value):g}°W" if value else "0°")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}°N")
    axes.set_aspect(1 / np.cos(np.deg2rad(40)))


def _series(axes: Any, years: Any, a1b: xr.DataArray, e1: xr.DataArray) -> None:
    for label, color, data in (("A1B", A1B_COLOR, a1b), ("E1", E1_COLOR, e1)):
        celsius = _area_mean(data) - 273.15
        axes.plot(years, celsius, color=color, linewidth=0.6, alpha=0.45)
        smooth = np.convolve(celsius, np.ones(11) / 11, mode="valid")
        axes.plot(years[5:-5], smooth, color=color, linewidth=2.2, label=f"{label}, 11-year mean")
    apart = int(np.argmax(np.any(a1b.values != e1.values, axis=(1, 2))))
    axes.axvline(years[apart], color=INK, linewidth=0.8, linestyle=":")
    axes.annotate(
        f"branch 'e1'\nstarts {years[apart]}", (years[apart], axes.get_ylim()[1]),
        xytext=(-6, -4), textcoords="offset points", ha="right", va="top", fontsize=9, color=INK,
    )
    axes.set_title("Mean air temperature of the region", color=INK)
    axes.set_ylabel("°C")
    axes.set_xlabel("Year")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")


def _area_mean(data: xr.DataArray) -> Any:
    weights = np.cos(np.deg2rad(data["latitude"]))
    return data.weighted(weights).mean(("latitude", "longitude")).values
