"""A model of power loss: record what a storage does to files, then lose what was not synced.

The model is as unfriendly as file systems are allowed to be. Of a file only what was
written before its last sync is certain. Of a directory only the changes before its last
sync are certain; later ones may be there as far as the journal got (all changes up to
some moment), without the data of the files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from icechunk_filesystem._system import System

__all__ = ["Event", "Recorder", "states_after_power_loss"]


class Event(NamedTuple):
    """One change: ``what`` happened to ``path``, with ``other`` (a source path) or ``data``."""

    what: str
    path: str
    other: str = ""
    data: bytes = b""


class Recorder(System):
    """Does what `System` does and keeps a journal of it."""

    def __init__(self) -> None:
        super().__init__()
        self.journal: list[Event] = []
        self._paths: dict[int, str] = {}

    def create(self, path: str) -> int:
        descriptor = super().create(path)
        self._paths[descriptor] = path
        self.journal.append(Event("create", path))
        return descriptor

    def write(self, descriptor: int, data: memoryview | bytes | bytearray) -> int:
        written = super().write(descriptor, data)
        self.journal.append(Event("write", self._paths[descriptor], data=bytes(data[:written])))
        return written

    def sync_descriptor(self, descriptor: int, path: str) -> None:
        super().sync_descriptor(descriptor, path)
        self.journal.append(Event("sync", path))

    def sync_directory(self, path: str) -> None:
        super().sync_directory(path)
        self.journal.append(Event("sync directory", path))

    def replace(self, source: str, target: str) -> None:
        super().replace(source, target)
        self.journal.append(Event("replace", target, source))

    def link(self, source: str, target: str) -> None:
        super().link(source, target)
        self.journal.append(Event("link", target, source))

    def unlink(self, path: str) -> None:
        super().unlink(path)
        self.journal.append(Event("unlink", path))

    def make_directory(self, path: str) -> None:
        super().make_directory(path)
        self.journal.append(Event("make directory", path))

    def remove_directory(self, path: str) -> None:
        super().remove_directory(path)
        self.journal.append(Event("unlink", path))


class _Change(NamedTuple):
    """A directory's entry ``name`` came to mean file number ``file``, -1 a directory, ``None`` nothing."""

    when: int
    directory: str
    name: str
    file: int | None


_DIRECTORY = -1


class _Disk:
    """What is known about files and directories while a journal is replayed."""

    def __init__(self) -> None:
        self.changes: list[_Change] = []
        self.synced_at: dict[str, int] = {}
        self.written: dict[int, bytes] = {}
        self.certain: dict[int, bytes] = {}
        self._names: dict[str, int] = {}

    def apply(self, when: int, event: Event) -> None:
        """Take in one event of the journal."""
        if event.what == "create":
            self._names[event.path] = number = len(self.written)
            self.written[number], self.certain[number] = b"", b""
            self._change(when, event.path, number)
        elif event.what == "write":
            self.written[self._names[event.path]] += event.data
        elif event.what == "sync":
            number = self._names[event.path]
            self.certain[number] = self.written[number]
        elif event.what == "sync directory":
            self.synced_at[event.path] = when
        elif event.what in ("replace", "link"):
            self._names[event.path] = number = self._names[event.other]
            self._change(when, event.path, number)
            if event.what == "replace":
                self._change(when, event.other, None)
        elif event.what == "make directory":
            self._change(when, event.path, _DIRECTORY)
        else:
            self._change(when, event.path, None)

    def files(self, journalled: int) -> dict[str, bytes]:
        """Paths and contents after power loss, if the journal got as far as ``journalled``."""
        entries: dict[str, int | None] = {}
        for change in self.changes:
            if change.when < journalled or change.when < self.synced_at.get(change.directory, -1):
                entries[f"{change.directory}/{change.name}"] = change.file
        made = {change.directory + "/" + change.name for change in self.changes if change.file == _DIRECTORY}

        def reachable(path: str) -> bool:
            folder = os.path.dirname(path)
            return folder not in made or (entries.get(folder) == _DIRECTORY and reachable(folder))

        return {
            path: self.certain[number]
            for path, number in entries.items()
            if number is not None and number != _DIRECTORY and reachable(path)
        }

    def _change(self, when: int, path: str, file: int | None) -> None:
        self.changes.append(_Change(when, os.path.dirname(path), os.path.basename(path), file))


def states_after_power_loss(journal: list[Event]) -> Iterator[tuple[int, dict[str, bytes]]]:
    """What can be on the disk after power loss following each event: (events done, paths and contents)."""
    disk = _Disk()
    for when in range(len(journal) + 1):
        for journalled in range(0, when + 1):
            yield when, disk.files(journalled)
        if when < len(journal):
            disk.apply(when, journal[when])
