"""Directories under the root: checked once, made when needed, synced with what they hold."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress

from icechunk_core.contract.errors import InvalidKey
from icechunk_filesystem._system import System

__all__ = ["Directories"]

_MOST_REMEMBERED = 50_000
_ATTEMPTS = 20


def _in_turn(call: Callable[[str], None], items: Iterable[str]) -> None:
    for item in items:
        call(item)


class Directories:
    """What is known about the directories of one storage.

    Paths are relative to the root; the root is ``""``. A directory that is in ``known``
    was seen to be a real directory, reached without a symbolic link, so that no key leads
    out of the root. Links are not followed at all below the root.
    """

    def __init__(self, root: str, system: System) -> None:
        self.root = root
        self.known: set[str] = set()
        self._system = system
        self._root_is_synced = False
        self._made_above: list[str] = []

    def absolute(self, relative: str) -> str:
        """The path for system calls."""
        return f"{self.root}/{relative}" if relative else self.root

    def check(self, relative: str) -> bool:
        """Whether the directory is there.

        Raises
        ------
        InvalidKey
            If the way to it leads through a symbolic link.
        """
        if relative in self.known:
            return True
        for part in _lineage(relative):
            try:
                mode = os.lstat(self.absolute(part)).st_mode
            except (FileNotFoundError, NotADirectoryError):
                return False
            if stat.S_ISLNK(mode) or _is_junction(self.absolute(part)):
                raise InvalidKey(
                    f"{part!r} is a symbolic link; links below the root {self.root!r} are not followed"
                )
            if not stat.S_ISDIR(mode):
                return False
        self._remember(relative)
        return True

    def ensure(self, relative: str) -> None:
        """Make the directory and those above it, the root included, unless they are there.

        Raises
        ------
        InvalidKey
            If the way leads through a symbolic link.
        OSError
            E.g. `NotADirectoryError` where a file is in the way.
        """
        for _ in range(_ATTEMPTS):
            if self.check(relative):
                return
            try:
                self._make(relative)
            except FileNotFoundError:
                continue  # Removed by somebody who saw it empty.
        raise FileNotFoundError(errno.ENOENT, "No such directory", self.absolute(relative))

    def _make(self, relative: str) -> None:
        self._make_root()
        for part in _lineage(relative):
            path = self.absolute(part)
            try:
                self._system.make_directory(path)
            except FileExistsError:
                # One look: it may be gone again, which is for the caller to repeat.
                if not stat.S_ISDIR(os.stat(path).st_mode):
                    raise _in_the_way(path) from None

    def forget(self, relative: str) -> None:
        """Look again next time: the directory turned out to be gone."""
        for part in ("", *_lineage(relative)):
            self.known.discard(part)
        self._root_is_synced = False

    def remove_if_empty(self, relative: str) -> bool:
        """Remove a directory that holds nothing but empty directories; whether it is gone.

        Deleted objects leave their directories behind; they must not be in the way of an
        object of that name.
        """
        path = self.absolute(relative)
        for folder, _, files in os.walk(path, topdown=False):
            if files:
                return False
            try:
                self._system.remove_directory(folder)
            except OSError:
                return False
        # Whatever was known below is void.
        self.known -= {known for known in list(self.known) if f"{known}/".startswith(f"{relative}/")}
        return not os.path.isdir(path)

    def sync(
        self,
        relatives: Iterable[str],
        each: Callable[[Callable[[str], None], Iterable[str]], None] = _in_turn,
    ) -> None:
        """Make the entries of these directories survive power loss, and the directories themselves.

        Each directory is synced once per call, with those above it up to the root: another
        process may have made, or removed and made, any of them and not synced it yet.
        ``each`` calls a function for each of several paths.
        """
        wanted = {"", *(part for relative in relatives for part in _lineage(relative))}
        each(self._sync_if_there, sorted(wanted))
        if not self._root_is_synced:
            above, self._made_above = {os.path.dirname(self.root), *self._made_above}, []
            for path in sorted(above):
                # The directory that holds the root may belong to somebody else.
                with suppress(PermissionError):
                    self._system.sync_directory(path)
            self._root_is_synced = True

    def _sync_if_there(self, relative: str) -> None:
        with suppress(FileNotFoundError):  # who removed it meanwhile saw it empty
            self._system.sync_directory(self.absolute(relative))

    def prune(self, relative: str) -> str:
        """Remove a directory if it is empty, and those above it; the nearest one that stays."""
        while relative:
            try:
                self._system.remove_directory(self.absolute(relative))
            except OSError:
                break
            self.known.discard(relative)
            relative = relative.rpartition("/")[0]
        return relative

    def _make_root(self) -> None:
        missing = []
        path = self.root
        while not os.path.isdir(path):
            missing.append(path)
            parent = os.path.dirname(path)
            if parent == path:
                break
            path = parent
        for path in reversed(missing):
            try:
                self._system.make_directory(path)
            except FileExistsError:
                if not os.path.isdir(path):
                    raise _in_the_way(path) from None
            self._made_above.append(os.path.dirname(path))
            self._root_is_synced = False

    def _remember(self, relative: str) -> None:
        if len(self.known) >= _MOST_REMEMBERED:
            self.known.clear()
        self.known.add(relative)


def _lineage(relative: str) -> list[str]:
    """The directory and those above it, outermost first, without the root.

    >>> _lineage("a/b/c")
    ['a', 'a/b', 'a/b/c']
    """
    if not relative:
        return []
    parts = relative.split("/")
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def _in_the_way(path: str) -> NotADirectoryError:
    return NotADirectoryError(errno.ENOTDIR, "Not a directory", path)


def _is_junction(path: str) -> bool:
    isjunction = getattr(os.path, "isjunction", None)  # Python 3.12, Windows
    return isjunction is not None and bool(isjunction(path))
