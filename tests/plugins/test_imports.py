"""What importing the package, listing plugins and opening one storage import, each in a new process."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.plugins.support import DISTRIBUTIONS

HEAVY = (
    "aiobotocore",
    "aiohttp",
    "azure",
    "boto3",
    "botocore",
    "dask",
    "google.cloud",
    "icechunk",
    "xarray",
)


def modules_after(code: str, *installed: str) -> set[str]:
    """Names of all modules that a new interpreter has imported after running the code."""
    paths = [str(DISTRIBUTIONS / name) for name in installed]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def test_importing_the_package_is_light() -> None:
    """`import icechunk_core` and listing the plugins import no SDK, no xarray, no dask, and no plugin."""
    modules = modules_after(
        "import icechunk_core\nfrom icechunk_core.plugins import list_plugins\nassert list_plugins()",
        "good",
        "broken",
    )
    assert "icechunk_core" in modules
    assert modules & set(HEAVY) == set()
    assert modules.isdisjoint(
        {"icechunk_memory", "icechunk_filesystem", "icechunk_conformance", "echo_storage", "broken_storage"}
    )


def test_opening_one_storage_loads_one_backend() -> None:
    """The other backends, and other people's plugins, stay unloaded; a broken one is not in the way."""
    modules = modules_after(
        "from icechunk_core.plugins import open_storage\nopen_storage('echo://bucket')", "good", "broken"
    )
    assert "echo_storage.plugin" in modules
    assert modules.isdisjoint({"icechunk_memory", "icechunk_filesystem", "broken_storage"})
    assert modules & set(HEAVY) == set()
