"""Stores of sessions have no version control of their own and say what to do instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from icechunk_core import IcechunkStore, Repository, SessionStateError, StorageConfig
from tests.classic.helpers import make_array, values, write

REFUSED: dict[str, Callable[[IcechunkStore], Any]] = {
    "branch": lambda store: store.branch,
    "snapshot_id": lambda store: store.snapshot_id,
    "has_uncommitted_changes": lambda store: store.has_uncommitted_changes,
    "set_read_only": lambda store: store.set_read_only(),
    "set_writeable": lambda store: store.set_writeable(),
    "as_read_only": lambda store: store.as_read_only(),
    "as_writeable": lambda store: store.as_writeable(),
    "commit": lambda store: store.commit("message"),
    "distributed_commit": lambda store: store.distributed_commit("message", []),
    "merge": lambda store: store.merge(b""),
    "change_set_bytes": lambda store: store.change_set_bytes(),
    "reset": lambda store: store.reset(),
    "checkout": lambda store: store.checkout(branch="main"),
    "new_branch": lambda store: store.new_branch("dev"),
    "reset_branch": lambda store: store.reset_branch("1CECHNKREP0F1RSTCMT0"),
    "tag": lambda store: store.tag("v1", "1CECHNKREP0F1RSTCMT0"),
    "ancestry": lambda store: store.ancestry(),
    "preserve_read_only": lambda store: store.preserve_read_only().__enter__(),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("writable", [True, False])
def test_refused(name: str, writable: bool) -> None:
    """Every version control method and property names the session, and the store stays as it is."""
    repository = Repository.create("memory:")
    session = repository.writable_session("main") if writable else repository.readonly_session("main")
    store = session.store
    if writable:
        make_array(store)
    with pytest.raises(SessionStateError, match=r"session.*IcechunkStore\.open_existing"):
        REFUSED[name](store)
    assert store.read_only is not writable
    if writable:
        session.commit("array")
        assert values(repository.readonly_session("main").store) == [0, 0, 0, 0]


async def _outcome(result: Any) -> Any:
    return [item async for item in result] if hasattr(result, "__aiter__") else await result


@pytest.mark.parametrize("name", [name for name in REFUSED if hasattr(IcechunkStore, f"async_{name}")])
async def test_async_twins_are_refused(name: str) -> None:
    """So do the async twins."""
    arguments = {"commit": ["m"], "distributed_commit": ["m", []], "merge": [b""], "new_branch": ["b"]}
    arguments |= {"reset_branch": ["1CECHNKREP0F1RSTCMT0"], "tag": ["v", "1CECHNKREP0F1RSTCMT0"]}
    store = Repository.create("memory:").writable_session("main").store
    with pytest.raises(SessionStateError, match=r"session.*IcechunkStore\.open_existing"):
        await _outcome(getattr(store, f"async_{name}")(*arguments.get(name, [])))


def test_the_session_of_a_store_with_version_control() -> None:
    """It can be asked for, and shows the store's snapshot, branch and changes."""
    store = IcechunkStore.create(StorageConfig.memory("x"))
    make_array(store)
    assert store.session.snapshot_id == store.snapshot_id
    assert store.session.branch == "main"
    assert store.session.has_uncommitted_changes


def test_a_commit_through_that_session() -> None:
    """It ends the session, as commits of sessions do; checking out a branch lets the store go on."""
    store = IcechunkStore.create(StorageConfig.memory("x"))
    make_array(store)
    snapshot = store.session.commit("array")
    assert (store.read_only, store.snapshot_id) == (True, snapshot)
    store.checkout(branch="main")
    store.set_writeable()
    write(store, 0, 4)
    store.commit("four")
    assert [version.message for version in store.ancestry()][:2] == ["four", "array"]
