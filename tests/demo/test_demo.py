"""The demo runs, checks what it reads and says what it did."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("iris_sample_data")

DEMO = Path(__file__).parents[2] / "docs" / "examples" / "demo"


def _run(output: Path, *options: str) -> str:
    result = subprocess.run(
        [sys.executable, "-W", "error", str(DEMO), "--output", str(output), *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def _check(text: str, output: Path, decade_commits: int) -> None:
    assert f"each of the {decade_commits} decade commits" in text
    assert "all equal" in text
    assert "history" in text.split("3. The history")[1]
    assert "Correct the 1950s" in text
    assert "air_temperature" in text
    picture = (output / "scenarios.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 50_000


def test_a_short_demo(tmp_path: Path) -> None:
    """Fifteen decades: both scenarios, all checks, the picture; an earlier repository is replaced."""
    stale = tmp_path / "repository" / "snapshots" / "stale"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"left by an earlier run")
    text = _run(tmp_path, "--decades", "15")
    _check(text, tmp_path, decade_commits=16)
    assert not stale.exists()


@pytest.mark.slow
def test_the_whole_demo(tmp_path: Path) -> None:
    """All 240 years of both scenarios; the peer reads every value where it is installed."""
    text = _run(tmp_path)
    _check(text, tmp_path, decade_commits=34)
    pytest.importorskip("icechunk", minversion="2")
    assert "872,338 values equal" in text
