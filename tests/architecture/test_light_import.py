"""What `import icechunk_core`, the first use of it and the entry points of others load."""

from __future__ import annotations

import ast
import json
import pickle
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import icechunk_core

UNWANTED = {
    "aiobotocore",
    "aiohttp",
    "azure",
    "boto3",
    "botocore",
    "dask",
    "google.cloud",
    "h5py",
    "icechunk",
    "icechunk_conformance",
    "matplotlib",
    "opentelemetry",
    "pandas",
    "pytest",
    "xarray",
}
SELDOM_USED = {
    "cattrs",
    "difflib",
    "html.entities",
    "http.client",
    "icechunk_core.classic",
    "icechunk_core.contract.credentials",
    "icechunk_core.contract.wrappers.faults",
    "icechunk_core.maintenance.garbage_collection",
    "icechunk_core.maintenance.verifying",
    "icechunk_core.repository.graph",
    "icechunk_core.repository.updates",
    "icechunk_core.storage._s3",
    "rich",
    "typer",
}
LAZY = ("", ".contract.wrappers", ".maintenance", ".repository", ".session", ".storage")


def _loaded(program: str) -> set[str]:
    result = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(result.stdout.splitlines()[-1]))


def test_import_loads_nothing_yet() -> None:
    """Importing the package, or a leaf of it, loads neither zarr nor numpy nor the rest of the package."""
    loaded = _loaded("import icechunk_core.errors")
    assert {name for name in loaded if name.startswith("icechunk")} == {
        "icechunk_core",
        "icechunk_core._lazy",
        "icechunk_core.error_kinds",
        "icechunk_core.errors",
    }
    assert not loaded & {"asyncio", "attrs", "numpy", "pluggy", "yaml", "zarr", "zstandard"}


def test_import_of_all_loads_no_sdk_and_no_integration() -> None:
    """With every name of the package loaded there is no cloud SDK, xarray, dask, peer and backend."""
    loaded = _loaded("from icechunk_core import *")
    assert {"icechunk_core.repository.repository", "icechunk_core.maintenance.verification"} <= loaded
    assert not loaded & UNWANTED
    assert not {name for name in loaded if name.startswith(("icechunk_memory", "icechunk_filesystem"))}


def test_listing_plugins_loads_none_of_them() -> None:
    """Showing which backends are installed imports no backend and no SDK."""
    loaded = _loaded("import icechunk_core.plugins as plugins; assert plugins.list_plugins()")
    assert not loaded & UNWANTED
    assert not {name for name in loaded if name.startswith(("icechunk_memory.", "icechunk_filesystem."))}


def test_a_first_commit_loads_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    """A process that writes an attribute and commits loads no maintenance, credentials, graphs or cattrs."""
    program = f"""
import icechunk_core, zarr
repo = icechunk_core.Repository.create(icechunk_core.local_filesystem_storage({str(tmp_path / "repo")!r}))
session = repo.writable_session("main")
zarr.create_group(session.store, attributes={{"a": 1}})
session.commit("one", rebase_with=icechunk_core.ConflictDetector())
"""
    assert not _loaded(program) & (UNWANTED | SELDOM_USED)


def test_a_commit_loads_no_more_than_opening_did(tmp_path: Path) -> None:
    """Writers that are forked from a process with an open repository import nothing when they commit."""
    program = f"""
import sys, icechunk_core, zarr
repo = icechunk_core.Repository.create(icechunk_core.local_filesystem_storage({str(tmp_path / "repo")!r}))
solver = icechunk_core.ConflictDetector()
before = set(sys.modules)
session = repo.writable_session("main")
zarr.create_array(session.store, name="a", shape=(4,), chunks=(2,), dtype="i4")[:] = 1
session.commit("one", rebase_with=solver)
more = {{name for name in set(sys.modules) - before if name.startswith("icechunk_core")}}
assert not more - {{"icechunk_core.codec_pipeline"}}, more  # an entry point, for zarr
"""
    _loaded(program)


def test_xarray_looks_for_engines_without_loading_the_package() -> None:
    """Who has this package installed and opens other files with xarray does not pay for it."""
    pytest.importorskip("xarray")
    program = """
import io, xarray
assert "icechunk" in xarray.backends.list_engines()
engine = xarray.backends.list_engines()["icechunk"]
assert not any(map(engine.guess_can_open, ("x.nc", "https://example.org/x.nc", io.BytesIO())))
"""
    loaded = {name for name in _loaded(program) if name.startswith("icechunk")}
    assert loaded == {"icechunk_core", "icechunk_core._lazy", "icechunk_core._xarray_backend"}


def test_stub_and_table_agree() -> None:
    """Type checkers are told the same names, from the same modules, as are loaded at run time."""
    stub = ast.parse(Path(icechunk_core.__file__).with_suffix(".pyi").read_text())
    told = {
        alias.name: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    listed = next(ast.literal_eval(node.value) for node in stub.body if isinstance(node, ast.Assign))
    assert sorted(listed) == sorted(told) == sorted(icechunk_core.__all__)
    for name, module in told.items():
        assert getattr(icechunk_core, name) is getattr(import_module(str(module)), name)


@pytest.mark.parametrize("package", LAZY)
def test_names_loaded_on_use_are_no_modules(package: str) -> None:
    """Importing a module binds its name in the package: nothing else there may have that name."""
    loaded = import_module(f"icechunk_core{package}")
    folder = Path(str(loaded.__file__)).parent
    modules = {path.stem for path in folder.iterdir() if path.suffix in ("", ".py")} - {"__init__"}
    assert modules.isdisjoint(loaded.__all__)
    for name in loaded.__all__:
        assert name in dir(loaded)
        assert getattr(loaded, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        loaded.nonsense  # noqa: B018


def test_a_storage_that_arrives_pickled_has_all_its_methods(tmp_path: Path) -> None:
    """Also where nobody has imported what gives `Storage` its methods for listings."""
    sent = pickle.dumps(icechunk_core.local_filesystem_storage(str(tmp_path)))
    loaded = _loaded(f"import pickle; assert pickle.loads({sent!r}).list_objects() == []")
    assert "icechunk_core.storage" in loaded


def test_a_store_can_be_created_where_only_the_store_was_imported() -> None:
    """The constructors of `IcechunkStore` are found without `import icechunk_core` having loaded them."""
    program = """
from icechunk_core.store import IcechunkStore
store = IcechunkStore.create({"scheme": "memory"})
assert store.commit
"""
    assert "icechunk_core.classic" in _loaded(program)
