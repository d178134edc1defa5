"""Spec 1 repositories pass between icechunk-core and Icechunk 1.1, for which spec 1 is all there is."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import icechunk_core
from tests.interop import icechunk1
from tests.interop.implementations import OURS, create, everything, open_repo, put
from tests.interop.nodes import GROUP, array_json
from tests.vectors_support import SPEC_1_NAMES, load_vector

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where Icechunk 1.1 is; kept between runs if ``ICECHUNK1_CACHE`` names a directory."""
    cache = os.environ.get("ICECHUNK1_CACHE")
    return icechunk1.install(Path(cache) if cache else tmp_path_factory.mktemp("icechunk1"))


def described(root: Path) -> Any:
    """What we see, as `icechunk1_script.describe` tells it."""
    seen = everything(open_repo(OURS, root))
    history = {
        snapshot: [parent, message, metadata]
        for entries in seen["histories"].values()
        for snapshot, parent, message, metadata in entries
    }
    contents = {
        snapshot: {key: hashlib.sha256(value).hexdigest() for key, value in held.items()}
        for snapshot, held in seen["contents"].items()
    }
    report = {"branches": seen["branches"], "tags": seen["tags"], "history": history, "contents": contents}
    return json.loads(json.dumps(report))


def our_repository(root: Path) -> None:
    """A spec 1 repository of ours with the nodes that ``continue`` changes."""
    repo = create(OURS, root, spec_version=1)
    session = repo.writable_session("main")
    group = zarr.create_group(session.store, attributes={"by": "icechunk-core"})
    group.create_array("a/small", shape=(9, 3), chunks=(2, 3), dtype="i2")[:7] = np.ones((7, 3))
    large = group.create_array("large", shape=(30, 50), chunks=(10, 50), dtype="f8", compressors=None)
    large[:] = np.arange(1500).reshape(30, 50)
    put(session, {"gone/zarr.json": GROUP, "gone/x/zarr.json": array_json((2,), (1,)), "gone/x/c/1": b"!"})
    first = session.commit("ours", {"π": 3.14, "list": [1, None]})
    session = repo.writable_session("main")
    zarr.open_group(session.store, mode="r+")["large"][3] = -1  # type: ignore[index]
    del zarr.open_group(session.store, mode="r+")["gone"]
    second = session.commit("changed")
    repo.create_branch("it is a branch", first)
    repo.create_tag("one", first)
    repo.create_tag("two", second)
    repo.delete_tag("two")


def test_icechunk_1_continues_ours(environment: dict[str, str], tmp_path: Path) -> None:
    """It reads every version that we wrote, commits, and we read and continue that."""
    root = tmp_path / "repo"
    our_repository(root)
    assert icechunk1.run(environment, "describe", root) == described(root)
    report = icechunk1.run(environment, "continue", root)
    assert report == described(root)
    session = open_repo(OURS, root).writable_session("main")
    zarr.open_group(session.store, mode="r+")["more"][1] = 9  # type: ignore[index]
    session.commit("ours again")
    assert icechunk1.run(environment, "describe", root) == described(root)


def test_we_continue_icechunk_1(environment: dict[str, str], tmp_path: Path) -> None:
    """We read every version that it wrote, commit, and it reads that."""
    root = tmp_path / "repo"
    assert icechunk1.run(environment, "write", root) == described(root)
    repo = open_repo(OURS, root)
    with pytest.raises(icechunk_core.AlreadyExistsError):
        repo.create_tag("two", repo.lookup_branch("main"))
    for branch in ("main", "dev-1"):
        session = repo.writable_session(branch)
        group = zarr.open_group(session.store, mode="r+")
        group["large"][10:15] = 8  # type: ignore[index]
        del group["a/b"]
        group.create_array("cube", shape=(2, 2, 2), chunks=(1, 2, 1), dtype="u1")[:] = 5
        session.commit(f"ours on {branch}")
    repo.reset_branch("dev-1", repo.lookup_tag("one"))
    repo.delete_tag("one")
    report = icechunk1.run(environment, "describe", root)
    assert report == described(root)
    assert report["tags"] == {}


@pytest.mark.parametrize("name", sorted(set(SPEC_1_NAMES) - {"v1-virtual-split"}))
def test_continued_vectors(name: str, environment: dict[str, str], tmp_path: Path) -> None:
    """Vectors of spec 1, with a commit of ours on top, are read by Icechunk 1.1."""
    root = load_vector(name).copy_to(tmp_path / "repo")
    session = open_repo(OURS, root).writable_session("main")
    put(session, {"ours/zarr.json": array_json((3,), (1,)), "ours/c/0": b"a", "ours/c/2": b"b" * 900})
    session.commit("ours")
    assert icechunk1.run(environment, "describe", root) == described(root)
