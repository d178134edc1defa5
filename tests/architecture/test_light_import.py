"""What `import icechunk_core` loads."""

from __future__ import annotations

import json
import subprocess
import sys

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


def _loaded(program: str) -> set[str]:
    result = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(result.stdout.splitlines()[-1]))


def test_import_loads_no_sdk_and_no_integration() -> None:
    """Importing the package loads no cloud SDK, no xarray, no dask, no peer and no backend."""
    loaded = _loaded("import icechunk_core")
    assert not loaded & UNWANTED
    assert not {name for name in loaded if name.startswith(("icechunk_memory", "icechunk_filesystem"))}


def test_listing_plugins_loads_none_of_them() -> None:
    """Showing which backends are installed imports no backend and no SDK."""
    loaded = _loaded("import icechunk_core.plugins as plugins; assert plugins.list_plugins()")
    assert not loaded & UNWANTED
    assert not {name for name in loaded if name.startswith(("icechunk_memory.", "icechunk_filesystem."))}
