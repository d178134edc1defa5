"""Repositories with a history, their objects' ages, and what is left of them."""

from __future__ import annotations

import os
import random
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.interop.implementations import create, everything, open_repo, put
from tests.interop.nodes import GROUP, array_json

PREFIXES = ("snapshots", "transactions", "manifests", "chunks")
FUTURE = datetime.fromtimestamp(4_000_000_000, UTC)


def keys(root: Path) -> set[str]:
    """All objects that garbage collection cares about, and the refs of spec 1."""
    found = set()
    for prefix in (*PREFIXES, "refs"):
        folder = root / prefix
        if folder.exists():
            found |= {p.relative_to(root).as_posix() for p in folder.rglob("*") if p.is_file()}
    return found


def set_age(root: Path, key: str, when: float) -> None:
    """Make the storage believe that an object was last written at this time (seconds since 1970)."""
    os.utime(root / key, (when, when))


def copy(root: Path, name: str) -> Path:
    """A copy beside the original, with the same ages."""
    return Path(shutil.copytree(root, root.parent / name, dirs_exist_ok=False))


def commit(repo: Any, branch: str, number: int, *, array: str = "x") -> str:
    """One commit that replaces a native chunk and an inline one."""
    session = repo.writable_session(branch)
    items = {
        f"{array}/c/{number % 4}": b"%03d" % number * 200,
        f"{array}/c/{(number + 1) % 4}": b"%d" % number,
    }
    put(session, items)
    return str(session.commit(f"commit {number}"))


def start(ic: Any, root: Path, *, spec_version: int = 2) -> Any:
    """A repository with two arrays of four chunks."""
    repo = create(ic, root, spec_version=spec_version)
    session = repo.writable_session("main")
    put(
        session,
        {
            "zarr.json": GROUP,
            "x/zarr.json": array_json((4000,), (1000,)),
            "y/zarr.json": array_json((4000,), (1000,)),
            "y/c/0": b"shared" * 200,
        },
    )
    session.commit("begin")
    return repo


def grow(repo: Any, seed: int, steps: int = 14) -> list[str]:
    """A random history of commits, branches, tags, resets and deletions; gives the snapshot ids."""
    chance = random.Random(seed)
    ids = [repo.lookup_branch("main")]
    for number in range(steps):
        branches = sorted(repo.list_branches())
        action = chance.choice(["commit"] * 5 + ["branch", "tag", "reset", "delete branch", "delete tag"])
        branch = chance.choice(branches)
        if action == "commit":
            ids.append(commit(repo, branch, number))
        elif action == "branch":
            repo.create_branch(f"b{number}", chance.choice(ids))
        elif action == "tag":
            repo.create_tag(f"t{number}", chance.choice(ids))
        elif action == "reset":
            repo.reset_branch(branch, chance.choice(ids))
        elif action == "delete branch" and branch != "main":
            repo.delete_branch(branch)
        elif action == "delete tag" and repo.list_tags():
            repo.delete_tag(chance.choice(sorted(repo.list_tags())))
    return ids


def times(repo: Any) -> list[datetime]:
    """When the reachable snapshots were committed, oldest first."""
    refs = [("branch", n) for n in repo.list_branches()] + [("tag", n) for n in repo.list_tags()]
    return sorted({s.written_at for kind, name in refs for s in repo.ancestry(**{kind: name})})


def state(ic: Any, root: Path) -> dict[str, Any]:
    """Everything readable, and the objects there are."""
    return {**everything(open_repo(ic, root)), "keys": keys(root)}
