"""What a memory storage holds, and who finds it: spaces, shared by name or private."""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from typing import TypeAlias

from icechunk_core.contract import ObjectInfo
from icechunk_core.errors import StorageConfigError
from icechunk_core.ids import IdSource, SystemIds

__all__ = ["Entry", "Space", "find_space", "named_space", "private_space"]

Entry: TypeAlias = tuple[bytes, ObjectInfo]
"""A stored object: its bytes and what is said about it, made once, at the write."""


class Space:
    """Objects of one memory storage.

    Reads look ``objects`` up without a lock: an entry is replaced as a whole. Every
    change happens under ``lock``, which makes conditional writes linearizable.

    Attributes
    ----------
    forked
        This is the copy that a forked child inherited; writes to it would not reach the
        process that owns the space, and are refused.
    """

    def __init__(self, serial: int, process: str, ids: IdSource) -> None:
        self.serial = serial
        self.process = process
        self.objects: dict[str, Entry] = {}
        self.lock = threading.Lock()
        self.forked = False
        self._version_stem = ids.object_id().hex()
        self._writes = itertools.count(1)
        self._sorted: list[str] = []
        self._added: set[str] = set()
        self._removed: set[str] = set()

    def next_version(self) -> str:
        """A token that no other write of any space has."""
        return f"{self._version_stem}-{next(self._writes)}"

    def store(self, key: str, entry: Entry) -> None:
        """Put an entry; the lock is held."""
        if key not in self.objects:
            if key in self._removed:
                self._removed.remove(key)
            else:
                self._added.add(key)
        self.objects[key] = entry

    def remove(self, key: str) -> None:
        """Drop an entry, if it is there; the lock is held."""
        if self.objects.pop(key, None) is None:
            return
        if key in self._added:
            self._added.remove(key)
        else:
            self._removed.add(key)

    def sorted_keys(self) -> list[str]:
        """All keys in order, in a list that nobody changes.

        The order of code points is the order of UTF-8 bytes. What changed since the last
        call is merged into the sorted rest, which costs little more than a copy.
        """
        with self.lock:
            if self._added or self._removed:
                keys = [key for key in self._sorted if key not in self._removed]
                keys.extend(sorted(self._added))
                keys.sort()
                self._sorted = keys
                self._added.clear()
                self._removed.clear()
            return self._sorted


_registry_lock = threading.RLock()
_process = SystemIds().object_id().hex()
_serials = itertools.count(1)
_spaces: weakref.WeakValueDictionary[int, Space] = weakref.WeakValueDictionary()
_named: dict[str, Space] = {}


def private_space() -> Space:
    """A new, empty space that lives as long as a configuration refers to it."""
    with _registry_lock:
        space = Space(next(_serials), _process, SystemIds())
        _spaces[space.serial] = space
        return space


def named_space(name: str) -> Space:
    """The process's space of that name; it lives as long as the process."""
    with _registry_lock:
        space = _named.get(name)
        if space is None:
            space = _named[name] = private_space()
        return space


def find_space(process: str, serial: int) -> Space:
    """The space that a pickled configuration refers to.

    Raises
    ------
    StorageConfigError
        In another process, or when nothing in this one refers to the space any more.
    """
    if process != _process:
        raise StorageConfigError(
            "memory storage lives in the process that made it and cannot be opened in another one; "
            "use a storage that processes share, such as a directory (file:///path)"
        )
    with _registry_lock:
        space = _spaces.get(serial)
    if space is None:
        raise StorageConfigError(
            "this private memory storage is gone: nothing in the process referred to it any more; "
            "keep its storage object, or open it by name (memory:name)"
        )
    return space


def _after_fork_in_child() -> None:
    # The locks may be held by threads that do not exist here.
    global _registry_lock, _process
    _registry_lock = threading.RLock()
    _process = SystemIds().object_id().hex()
    for space in list(_spaces.values()):
        space.lock = threading.Lock()
        space.forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
