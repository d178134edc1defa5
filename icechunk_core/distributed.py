"""Helpers for frameworks that write one array from many workers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from icechunk_core.session import ForkSession, Session
from icechunk_core.store import IcechunkStore

if TYPE_CHECKING:
    import zarr

__all__ = ["extract_session", "merge_sessions"]


def extract_session(zarray: zarr.Array[Any], axis: Any = None, keepdims: Any = None) -> Session:
    """The session that an array of a worker was written through.

    Parameters
    ----------
    zarray
        An array on the store of a session.
    axis, keepdims
        Accepted because reductions of arrays pass them; they have no effect.

    Raises
    ------
    TypeError
        If the array is not on such a store.
    """
    store = zarray.store
    if not isinstance(store, IcechunkStore):
        raise TypeError(f"the array is on a {type(store).__name__}, not on the store of a session")
    session: Session = store.session
    return session


def merge_sessions(*sessions: ForkSession | list[ForkSession] | list[list[ForkSession]]) -> ForkSession:
    """Merge forks, given one by one or in nested lists, into the first of them.

    Raises
    ------
    TypeError
        If one is not a fork; to merge into the session that commits, call its ``merge``.
    ValueError
        If there is none.
    """
    forks = list(_flat(sessions))
    if not forks:
        raise ValueError("there are no sessions to merge")
    for fork in forks:
        if not isinstance(fork, ForkSession):
            raise TypeError(
                f"merge_sessions merges forks, not a {type(fork).__name__}; call session.merge(*forks) to "
                "merge them into the session that they were forked from"
            )
    first: ForkSession = forks[0]
    first.merge(*forks[1:])
    return first


def _flat(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        if isinstance(item, list | tuple):
            yield from _flat(item)
        else:
            yield item
