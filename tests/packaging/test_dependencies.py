"""The declared dependencies are the ones that are tested."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _release(version: str) -> tuple[int, ...]:
    numbers = [int(part) for part in version.split(".")]
    while numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def test_the_lower_bounds_are_what_python_3_11_is_tested_with() -> None:
    """Each run-time dependency has a lower bound, and `.ci/oldest.txt` pins exactly that."""
    oldest = (ROOT / ".ci" / "oldest.txt").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([\w.-]+)==([\d.]+)$", oldest, re.MULTILINE))
    declared = dict(entry.split(">=") for entry in PROJECT["dependencies"])
    assert {name: _release(version) for name, version in pinned.items()} == {
        name: _release(version) for name, version in declared.items()
    }


def test_every_extra_exists() -> None:
    """The extras that the project promises are there, and `all` brings every one that users need."""
    extras = PROJECT["optional-dependencies"]
    promised = {"s3", "gcs", "azure", "http", "otel", "xarray", "netcdf", "dask", "cli", "conformance"}
    assert promised | {"dev", "all"} <= set(extras)
    (everything,) = extras["all"]
    assert set(re.findall(r"[a-z0-9]+", everything.split("[")[1])) == promised


def test_the_peer_is_no_runtime_dependency() -> None:
    """`icechunk`, xarray, dask and cloud SDKs come only with extras."""
    names = {re.split(r"[^\w-]", entry)[0] for entry in PROJECT["dependencies"]}
    assert not names & {"icechunk", "xarray", "dask", "aiobotocore", "aiohttp", "google-cloud-storage"}
