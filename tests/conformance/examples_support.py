"""Install an example of a backend, as somebody else would install it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["EXAMPLES", "install_example", "run_suite_command"]

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def install_example(name: str, target: Path) -> dict[str, str]:
    """Build the example and install it into a directory; gives an environment in which Python finds it."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    run = subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "--target", str(target), str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    paths = [str(target), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in paths if path))


def run_suite_command(
    environment: dict[str, str], url: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run the conformance suite's command on a URL."""
    return subprocess.run(
        [sys.executable, "-m", "icechunk_conformance", url, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
