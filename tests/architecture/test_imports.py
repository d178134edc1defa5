"""Who may import whom: the contracts of `.importlinter`, and the allow-lists it cannot express."""

from __future__ import annotations

import configparser
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

grimp = pytest.importorskip("grimp")
pytest.importorskip("importlinter")

ROOT = Path(__file__).parents[2]
BACKENDS = sorted(path.name for path in (ROOT / "backends").glob("icechunk_*"))
PUBLIC_TO_BACKENDS = {"contract", "plugins", "clock", "ids", "errors"}
PUBLIC_TO_CONFORMANCE = {"contract", "plugins", "storage", "clock", "ids", "errors", "drive"}
ENGINE_UNDER_TEST = {
    "icechunk_core.assets.conditional",
    "icechunk_core.conflicts",
    "icechunk_core.repository",
    "icechunk_core.session",
}
KNOW_ZARR = {
    "codec_pipeline",
    "distributed",
    "_kerchunk_arrays",
    "_virtual_arrays",
    "_xarray_writer",
    "_zarr2_metadata",
    "kerchunk",
    "virtualizarr",
    "store",
    "session",
    "repository",
    "classic",
    "cli",
    "dask",
    "xarray",
}
KNOW_ASYNCIO = {
    # zarr calls these in its own loop.
    "icechunk_core.codec_pipeline._reading",
    "icechunk_core.codec_pipeline._writing",
    "icechunk_core.drive",
    # Bodies are received in the loop of who reads them, and a time limit is the loop's.
    "icechunk_core.contract.http_bodies",
    "icechunk_core.contract.tuning",
    "icechunk_core.contract.wrappers.concurrency",
    "icechunk_core.contract.wrappers.latency",
}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(
        "icechunk_core", "icechunk_conformance", *BACKENDS, include_external_packages=True, cache_dir=None
    )


def _imported(graph: grimp.ImportGraph, package: str) -> set[str]:
    modules = {package, *graph.find_descendants(package)}
    return {name for module in modules for name in graph.find_modules_directly_imported_by(module)}


def _layers_of_core(imported: set[str]) -> set[str]:
    parts = (name.split(".") for name in imported)
    return {part[1] if len(part) > 1 else "" for part in parts if part[0] == "icechunk_core"}


def test_contracts_are_kept() -> None:
    """Every contract in `.importlinter` holds."""
    command = "from importlinter.cli import lint_imports_command as run; run(['--no-logo', '--no-cache'])"
    result = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert " 0 broken" in result.stdout


@pytest.mark.parametrize("backend", BACKENDS)
def test_backends_use_only_what_strangers_may_use(graph: grimp.ImportGraph, backend: str) -> None:
    """A first-party backend imports nothing of the core that a third party's plugin should not."""
    used = _layers_of_core(_imported(graph, backend))
    assert used <= PUBLIC_TO_BACKENDS


def test_conformance_uses_only_the_contract(graph: grimp.ImportGraph) -> None:
    """The conformance suite uses the contract, and of the engine what its checks are about: the read-back of
    conditional puts, and repositories by their public face."""
    used = {
        name
        for name in _imported(graph, "icechunk_conformance")
        if name.startswith("icechunk_core.") and name not in ENGINE_UNDER_TEST
    }
    assert _layers_of_core(used) <= PUBLIC_TO_CONFORMANCE


def test_only_the_store_and_what_stands_above_it_know_zarr(graph: grimp.ImportGraph) -> None:
    """zarr is imported by the store and by the layers above it."""
    importers = graph.find_modules_that_directly_import("zarr")
    assert importers
    assert _layers_of_core(importers) <= KNOW_ZARR


def test_only_the_driver_knows_asyncio(graph: grimp.ImportGraph) -> None:
    """No part of the engine creates tasks or waits on a loop by itself; wrappers that wait may."""
    importers = graph.find_modules_that_directly_import("asyncio")
    assert importers
    assert {name for name in importers if name.startswith("icechunk_core")} <= KNOW_ASYNCIO


def test_every_package_has_its_place() -> None:
    """What the wheel contains, what import-linter watches and what mypy checks are the same packages."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    shipped = {
        Path(path).name for path in pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    }
    linter = configparser.ConfigParser()
    linter.read(ROOT / ".importlinter")
    watched = set(linter["importlinter"]["root_packages"].split())
    assert shipped == watched == set(pyproject["tool"]["mypy"]["packages"])
    assert shipped == {"icechunk_core", "icechunk_conformance", *BACKENDS}
