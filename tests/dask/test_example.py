"""The worked example: eight workers, killed ones among them, and a killed writer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

for _package in ("distributed", "h5netcdf", "iris_sample_data", "xarray"):
    pytest.importorskip(_package)

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "dask"


@pytest.mark.slow
def test_the_example(tmp_path: Path) -> None:
    """It runs without a warning: every value compared, one commit each, and nothing half done is visible."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE), "--years", "6"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("all equal") == 2
    assert "1 process was replaced meanwhile" in done.stdout
    assert "8,553,600 values of tos" in done.stdout
    assert "nothing of it is visible" in done.stdout
    assert done.stdout.rstrip().endswith("; 0 are left")
    assert not any(tmp_path.iterdir())
