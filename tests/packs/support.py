"""Repositories with small packs, and what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import icechunk_core as ic
from icechunk_core.drive import run
from icechunk_core.format.chunk_refs import NativeRef
from tests.interop.implementations import put
from tests.interop.nodes import GROUP, array_json

COUNT = 400
SMALL = ic.PackConfig(max_chunk_bytes=2_000, target_bytes=10_000, buffered_bytes=20_000)
"""Ten chunks of `chunk` fill a pack."""


def chunk(number: int, length: int = 1_000) -> bytes:
    """Bytes that belong to one number; above the inline threshold."""
    return np.random.default_rng(number).bytes(length)


def with_array(repo: ic.Repository, *, packs: Any = None) -> ic.Session:
    """A session on a repository with the empty array ``x``, committed."""
    session = repo.writable_session("main")
    put(session, {"zarr.json": GROUP, "x/zarr.json": array_json((COUNT,), (1,))})
    session.commit("array")
    return repo.writable_session("main")


def fill(session: Any, numbers: Any, *, seed: int = 0) -> dict[int, bytes]:
    """Write chunks of ``x``; gives them by number."""
    written = {n: chunk(seed + n) for n in numbers}
    put(session, {f"x/c/{n}": data for n, data in written.items()})
    return written


def refs(session: Any, numbers: Any) -> list[NativeRef]:
    """Where chunks of ``x`` are."""
    state = session._state
    found = [run(state.chunk_ref("/x", (n,)), may_suspend=state.may_suspend) for n in numbers]
    assert all(isinstance(ref, NativeRef) for ref in found)
    return found


def chunk_files(root: Path) -> dict[str, int]:
    """Chunk objects of a repository in a directory, with their sizes."""
    folder = root / "chunks"
    return {file.name: file.stat().st_size for file in folder.iterdir()} if folder.exists() else {}
