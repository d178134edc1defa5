"""What arrives pickled again and again in one process, and should be there once.

Task schedulers send a store with each task. Were each of them to open the storage anew, every
task would pay for a client, a connection and the base snapshot, and nothing that one task has
read would be there for the next.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakValueDictionary

__all__ = ["Unreachable", "arrived"]

T = TypeVar("T")

_KEPT = 4
"""So many are kept although nobody uses them: between two tasks nobody does."""

_lock = threading.Lock()
_present: WeakValueDictionary[bytes, Any] = WeakValueDictionary()
_recent: OrderedDict[bytes, Any] = OrderedDict()


def _after_fork_in_child() -> None:
    # A thread that does not exist here may have held it.
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def arrived(token: bytes, make: Callable[[], T]) -> T:
    """The object that pickles with this token as it is in this process, made if it is not here yet.

    The four that arrived last stay here.

    >>> class Thing: ...
    >>> arrived(b"doctest", Thing) is arrived(b"doctest", Thing)
    True
    """
    with _lock:
        found: T | None = _present.get(token)
        if found is None:
            found = _present[token] = make()
        _recent[token] = found
        _recent.move_to_end(token)
        if len(_recent) > _KEPT:
            _recent.popitem(last=False)
        return found


class Unreachable:
    """In place of what could not be opened where it arrived: whoever uses it is told why.

    Unpickling itself does not fail, for schedulers do not tell that to anybody: they log it and try
    again for ever.

    >>> Unreachable(ValueError("no such place")).storage
    Traceback (most recent call last):
    ValueError: no such place
    """

    may_suspend = False

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what Python itself looks for
            raise AttributeError(name)
        raise self._error

    def __reduce__(self) -> tuple[type[Unreachable], tuple[Exception]]:
        return Unreachable, (self._error,)

    def __repr__(self) -> str:
        return f"<what could not be opened here: {self._error}>"
