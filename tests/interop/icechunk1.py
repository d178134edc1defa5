"""An environment with Icechunk 1.1, and scripts that run in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

VERSION = "1.1.21"
_SCRIPT = Path(__file__).with_name("icechunk1_script.py")


def install(target: Path) -> dict[str, str]:
    """Environment variables under which ``import icechunk`` gives 1.1.21; installs it if need be.

    Everything else that it needs (zarr) is in the environment of the tests.
    """
    try:
        if version("icechunk") == VERSION:
            return dict(os.environ)
    except PackageNotFoundError:
        pass
    if not (target / "icechunk").is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run(
            [*command, "--no-deps", "--target", str(target), f"icechunk=={VERSION}"],
            check=True,
            capture_output=True,
            text=True,
        )
    return {**os.environ, "PYTHONPATH": str(target)}


def run(environment: dict[str, str], command: str, root: Path) -> Any:
    """Run a command of the script on a repository; gives what it reports."""
    done = subprocess.run(
        [sys.executable, str(_SCRIPT), command, str(root)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
