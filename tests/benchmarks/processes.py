"""Measurements in processes of their own."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "has_peer", "in_turns", "machine", "progress", "run_worker"]

ROOT = Path(__file__).parents[2]


def run_worker(module: str, *arguments: object, text: str | None = None) -> Any:
    """What a worker module printed in its last line, as JSON.

    Raises
    ------
    RuntimeError
        If it failed, with what it said.
    """
    command = [sys.executable, "-W", "ignore", "-m", f"tests.benchmarks.{module}", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{module} {arguments} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def in_turns(names: tuple[str, ...], turn: int) -> tuple[str, ...]:
    """The contestants in another order each round."""
    first = turn % len(names)
    return names[first:] + names[:first]


def progress(text: str) -> None:
    """Say what is being measured."""
    print(f"{text} ...", file=sys.stderr, flush=True)


def machine() -> str:
    """Where this was measured."""
    versions = ", ".join(f"{package} {_version(package)}" for package in ("icechunk", "zarr", "numpy"))
    memory = _line("/proc/meminfo", "MemTotal").removesuffix(" kB")
    gigabytes = f", {int(memory) / 1e6:.0f} GB" if memory.isdigit() else ""
    return (
        f"Python {platform.python_version()}, {versions}; "
        f"{os.cpu_count() or 1} × {_line('/proc/cpuinfo', 'model name') or platform.machine()}{gigabytes}, "
        f"{platform.system()} {platform.release()}"
    )


def _line(file: str, name: str) -> str:
    """A value out of Linux's descriptions of the machine."""
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def has_peer() -> bool:
    """Whether there is an Icechunk to measure against."""
    return _version("icechunk").startswith("2.")
