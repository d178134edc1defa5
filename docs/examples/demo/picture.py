"""A map and a time series of the two scenarios, read from the repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from scenarios import first_difference

from icechunk_core import Repository, Session

mpl.use("Agg")
import matplotlib.pyplot as plt

A1B_COLOR, E1_COLOR, INK = "#c8553d", "#2a6f97", "#333333"


def draw(repo: Repository, target: Path) -> None:
    """Save the picture as PNG: what A1B warms more than E1, where, and since when."""
    a1b = _temperature(repo.readonly_session(tag="v1"))
    e1 = _temperature(repo.readonly_session("e1"))
    figure, axes = plt.subplot_mosaic(
        [["map", "series"], ["map", "difference"]],
        figsize=(13.5, 5.6),
        width_ratios=(1.1, 1),
        height_ratios=(1.7, 1),
        layout="constrained",
    )
    _map(axes["map"], a1b, e1)
    _series(axes["series"], a1b, e1)
    _difference(axes["difference"], a1b, e1)
    figure.suptitle(
        "North America by the end of the century: growth (A1B) against mitigation (E1)",
        fontsize=14,
        fontweight="bold",
        color=INK,
    )
    figure.supxlabel(
        "Data: Met Office Unified Model (iris-sample-data). Both versions are read from one repository.",
        fontsize=8,
        color="#777777",
    )
    figure.savefig(target, dpi=130)
    plt.close(figure)


def _temperature(session: Session) -> xr.DataArray:
    dataset: xr.Dataset = xr.open_zarr(session.store, consolidated=False)
    return dataset["air_temperature"].load()


def _map(axes: Any, a1b: xr.DataArray, e1: xr.DataArray) -> None:
    last = slice(-20, None)
    difference = (a1b - e1).isel(time=last).mean("time")
    years = _years(a1b)[last]
    longitude = difference["longitude"].values - 360
    levels = np.arange(0, np.ceil(float(difference.max()) * 2) / 2 + 0.01, 0.5)
    filled = axes.contourf(
        longitude,
        difference["latitude"].values,
        difference.values,
        levels=levels,
        cmap="YlOrRd",
        extend="min",
    )
    lines = axes.contour(
        longitude,
        difference["latitude"].values,
        difference.values,
        levels=levels[::2],
        colors=INK,
        linewidths=0.5,
        alpha=0.6,
    )
    axes.clabel(lines, fmt="%g K", fontsize=8)
    axes.figure.colorbar(filled, ax=axes, shrink=0.85, label="A1B minus E1, K")
    axes.set_title(f"Mean difference {years[0]}–{years[-1]}", color=INK)
    axes.set_xlabel("Longitude")
    axes.set_ylabel("Latitude")
    axes.xaxis.set_major_formatter(lambda value, _: f"{abs(value):g}°W" if value else "0°")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}°N")
    axes.set_aspect(1 / np.cos(np.deg2rad(40)))


def _series(axes: Any, a1b: xr.DataArray, e1: xr.DataArray) -> None:
    years = _years(a1b)
    for label, color, data in (("A1B", A1B_COLOR, a1b), ("E1", E1_COLOR, e1)):
        celsius = _area_mean(data) - 273.15
        axes.plot(years, celsius, color=color, linewidth=0.6, alpha=0.45)
        axes.plot(years[5:-5], _smooth(celsius), color=color, linewidth=2.2, label=f"{label}, 11-year mean")
    apart = years[first_difference(a1b, e1)]
    axes.axvline(apart, color=INK, linewidth=0.8, linestyle=":")
    axes.annotate(
        f"branch 'e1'\nstarts {apart}",
        (apart, axes.get_ylim()[1]),
        xytext=(-6, -4),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=9,
        color=INK,
    )
    axes.set_title("Mean air temperature of the region", color=INK)
    axes.set_ylabel("°C")
    axes.tick_params(labelbottom=False)
    axes.legend(frameon=False, loc="upper left")
    _tidy(axes, years)


def _difference(axes: Any, a1b: xr.DataArray, e1: xr.DataArray) -> None:
    years = _years(a1b)
    difference = _area_mean(a1b) - _area_mean(e1)
    axes.bar(years, difference, width=1, color=np.where(difference >= 0, A1B_COLOR, E1_COLOR), alpha=0.45)
    axes.plot(years[5:-5], _smooth(difference), color=INK, linewidth=1.6, label="11-year mean")
    axes.set_title("Difference, A1B minus E1", color=INK)
    axes.set_ylabel("K")
    axes.set_xlabel("Year")
    axes.legend(frameon=False, loc="upper left")
    _tidy(axes, years)


def _tidy(axes: Any, years: Any) -> None:
    axes.set_xlim(years[0], years[-1] + 1)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _years(data: xr.DataArray) -> Any:
    return data["time"].dt.year.values


def _smooth(values: Any) -> Any:
    return np.convolve(values, np.ones(11) / 11, mode="valid")


def _area_mean(data: xr.DataArray) -> Any:
    latitude = data["latitude"]
    weights = latitude.copy(data=np.cos(np.deg2rad(latitude.values)))
    return data.weighted(weights).mean(("latitude", "longitude")).values
