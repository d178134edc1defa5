"""Blocking methods and their asynchronous twins: one definition, one signature, also for type checkers."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import icechunk_core

ROOT = Path(__file__).parents[2]
CLASSES = (
    icechunk_core.Repository,
    icechunk_core.Session,
    icechunk_core.ForkSession,
    icechunk_core.IcechunkStore,
)
PARTS = {"Iterator": "AsyncIterator", "Generator": "AsyncGenerator"}
REVEALED = re.compile(r'probe\.py:(\d+): note: Revealed type is "(.*)"$', re.MULTILINE)

# The first store API has these under its own names, and they take or give something else on purpose.
NOT_TWINS = {"IcechunkStore.async_set_virtual_ref", "IcechunkStore.async_ancestry"}


def pairs() -> list[tuple[type[Any], str, str]]:
    """Every public method that has a twin, with both names."""
    return [
        (cls, name, twin)
        for cls in CLASSES
        for name in dir(cls)
        for twin in (f"{name}_async", f"async_{name}")
        if not name.startswith("_") and hasattr(cls, twin) and f"{cls.__name__}.{twin}" not in NOT_TWINS
    ]


PAIRS = pairs()


def test_there_are_many() -> None:
    """The list is not empty by mistake, and has the methods that everybody uses."""
    names = {(cls.__name__, name) for cls, name, _ in PAIRS}
    assert {("Repository", "open"), ("Session", "commit"), ("IcechunkStore", "set_virtual_ref")} <= names
    assert len(PAIRS) > 80


@pytest.mark.parametrize(("cls", "name", "twin"), PAIRS, ids=[f"{c.__name__}.{n}" for c, n, _ in PAIRS])
def test_same_signature_at_run_time(cls: type[Any], name: str, twin: str) -> None:
    """Parameters, defaults and the docstring are the same; only what is returned has to be awaited."""
    blocking, other = getattr(cls, name), getattr(cls, twin)
    assert inspect.signature(blocking).parameters == inspect.signature(other).parameters
    assert inspect.getdoc(blocking) == inspect.getdoc(other)
    assert not inspect.iscoroutinefunction(blocking)
    assert inspect.iscoroutinefunction(other) or "AsyncIterator" in str(inspect.signature(other))


def awaited(signature: str) -> str:
    """The signature of the twin without what makes it asynchronous, as mypy writes it."""
    arguments, arrow, result = signature.rpartition(" -> ")
    assert arrow, signature
    for plain, waiting in PARTS.items():
        if result.startswith(f"typing.{waiting}["):
            return f"{arguments} -> {result.replace(waiting, plain, 1)}"
    result = result.removeprefix("typing.Coroutine[Any, Any, ").removesuffix("]")
    return arguments if result == "None" else f"{arguments} -> {result}"


@pytest.mark.slow
def test_same_signature_for_type_checkers(tmp_path: Path) -> None:
    """mypy sees each blocking method with the parameters of its twin, and with the result itself."""
    api = pytest.importorskip("mypy.api", reason="needs mypy")
    probe = tmp_path / "probe.py"
    lines = [f"from icechunk_core import {', '.join(cls.__name__ for cls in CLASSES)}"]
    for cls, name, twin in PAIRS:
        lines += [f"reveal_type({cls.__name__}.{name})", f"reveal_type({cls.__name__}.{twin})"]
    probe.write_text("\n".join(lines))
    config = ["--config-file", str(ROOT / "pyproject.toml"), "--follow-imports=silent"]
    printed, errors, _ = api.run([*config, "--cache-dir", str(tmp_path / "cache"), str(probe)])
    revealed = {int(number): text for number, text in REVEALED.findall(printed)}
    assert len(revealed) == 2 * len(PAIRS), printed[-2000:] + errors
    different = []
    for index, (cls, name, _) in enumerate(PAIRS):
        blocking, other = revealed[2 * index + 2], revealed[2 * index + 3]
        if blocking != awaited(other):
            different.append((f"{cls.__name__}.{name}", blocking, other))
    assert not different
