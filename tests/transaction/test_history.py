"""Walking the table of snapshots."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icechunk_core.errors import Corrupt, RefNotFoundError, SnapshotNotFoundError
from icechunk_core.format.base32 import encode
from icechunk_core.format.repo_info import SnapshotTable
from icechunk_core.transaction import history
from tests.transaction.model import object_id
from tests.transaction.repo_model import info_of, repo_info


def table(*parents: int | None) -> SnapshotTable:
    """Snapshot i (from 1) at time 100 * i with the given parent."""
    return SnapshotTable.from_infos(
        info_of(number, parent, 100 * number) for number, parent in enumerate(parents, start=1)
    )


def numbers(infos: object) -> list[int]:
    return [int.from_bytes(info.id, "big") for info in infos]  # type: ignore[attr-defined]


def test_ancestry() -> None:
    """A snapshot and all its ancestors, newest first."""
    tree = table(None, 1, 2, 2, 4)
    assert numbers(history.ancestry(tree, object_id(5))) == [5, 4, 2, 1]
    assert numbers(history.ancestry(tree, object_id(1))) == [1]


def test_ancestry_of_the_unknown() -> None:
    """A snapshot that is not in the repository is an error that names it."""
    with pytest.raises(SnapshotNotFoundError, match=encode(object_id(9))):
        list(history.ancestry(table(None), object_id(9)))


@pytest.mark.parametrize("parents", [(3, 1, 2), (1,), (7,)])
def test_broken_ancestry_is_corrupt(parents: tuple[int, ...]) -> None:
    """Cycles and missing parents end with `Corrupt`, never in an endless walk."""
    with pytest.raises(Corrupt):
        list(history.ancestry(table(*parents), object_id(1)))
    assert not history.is_ancestor(table(*parents), object_id(50), object_id(1))


@given(st.lists(st.integers(0, 20), max_size=15), st.integers(0, 15), st.integers(0, 15))
def test_is_ancestor_agrees_with_ancestry(choices: list[int], one: int, two: int) -> None:
    """`is_ancestor` says what walking the ancestry says, in any tree."""
    parents: list[int | None] = [None]
    for choice in choices:
        parents.append(choice % len(parents) + 1)
    tree = table(*parents)
    older, newer = one % len(parents) + 1, two % len(parents) + 1
    chain = numbers(history.ancestry(tree, object_id(newer)))
    assert history.is_ancestor(tree, object_id(older), object_id(newer)) is (older in chain)


def test_own_commit_is_found_under_later_ones() -> None:
    """A commit has landed if it is anywhere in the branch's ancestry; a lost branch proves nothing."""
    repo = repo_info(None, 1, 2, branches={"main": 3, "old": 1})
    assert history.own_commit_status(repo, "main", object_id(2))
    assert not history.own_commit_status(repo, "old", object_id(2))
    assert not history.own_commit_status(repo, "gone", object_id(2))


def test_refs() -> None:
    """Branches and tags are looked up by name; unknown ones are errors that name them."""
    repo = repo_info(None, 1, branches={"main": 2}, tags={"v1": 1})
    assert history.branch_tip(repo, "main") == object_id(2)
    assert history.tag_target(repo, "v1") == object_id(1)
    for look_up in (history.branch_tip, history.tag_target):
        with pytest.raises(RefNotFoundError, match="nope"):
            look_up(repo, "nope")
