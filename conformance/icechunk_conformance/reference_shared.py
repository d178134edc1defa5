"""The reference storage between processes: its objects are in an SQLite file."""

from __future__ import annotations

import atexit
import os
import pickle
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Iterator, MutableMapping
from types import TracebackType
from typing import ClassVar

from attrs import evolve, frozen

from icechunk_conformance.reference import REFERENCE, Entry, Place, ReferenceConfig, ReferenceStorage
from icechunk_core.contract import AtomicityScope, Capabilities, Version
from icechunk_core.ids import SystemIds

__all__ = ["SHARED", "SharedConfig", "SharedPlace", "SharedStorage"]

SHARED = evolve(REFERENCE, atomicity=AtomicityScope.PROCESS, fork_safe=True)


class Connections:
    """A connection per process and thread: SQLite's must not cross a fork."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._local = threading.local()

    def get(self) -> sqlite3.Connection:
        """This thread's connection, in this process."""
        if getattr(self._local, "pid", None) != os.getpid():
            # What a forked child inherited is kept, unused: closing it would touch the parent's locks.
            self._local.inherited = getattr(self._local, "connection", None)
            self._local.connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
            self._local.connection.execute("PRAGMA synchronous=OFF")
            self._local.connection.execute(
                "CREATE TABLE IF NOT EXISTS objects (key TEXT PRIMARY KEY, entry BLOB)"
            )
            self._local.pid = os.getpid()
        connection: sqlite3.Connection = self._local.connection
        return connection


class Transaction:
    """Holds the database's write lock; may be entered again by the thread that holds it."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._depth = threading.local()

    def __enter__(self) -> None:
        depth = getattr(self._depth, "value", 0)
        if depth == 0:
            self._connections.get().execute("BEGIN IMMEDIATE")
        self._depth.value = depth + 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth.value -= 1
        if self._depth.value == 0:
            self._connections.get().execute("COMMIT")


class SharedObjects(MutableMapping[str, Entry]):
    """The objects, as a mapping."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def __getitem__(self, key: str) -> Entry:
        row = self._connections.get().execute("SELECT entry FROM objects WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise KeyError(key)
        entry: Entry = pickle.loads(row[0])
        return entry

    def __setitem__(self, key: str, entry: Entry) -> None:
        data = pickle.dumps(entry)
        self._connections.get().execute("INSERT OR REPLACE INTO objects VALUES (?, ?)", (key, data))

    def __delitem__(self, key: str) -> None:
        if not self._connections.get().execute("DELETE FROM objects WHERE key = ?", (key,)).rowcount:
            raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        rows = self._connections.get().execute("SELECT key FROM objects").fetchall()
        return iter([key for (key,) in rows])

    def __len__(self) -> int:
        count: int = self._connections.get().execute("SELECT count(*) FROM objects").fetchone()[0]
        return count


class SharedPlace(Place):
    """A place in a file, for any number of processes."""

    def __init__(self, path: str) -> None:
        super().__init__()
        connections = Connections(path)
        self.objects = SharedObjects(connections)
        self.lock = Transaction(connections)

    def version(self) -> Version:
        return Version(SystemIds().write_id())


_opened: dict[str, SharedPlace] = {}


@frozen
class SharedConfig(ReferenceConfig):
    """The file of a shared place."""

    PLACE: ClassVar[type[SharedPlace]] = SharedPlace

    @classmethod
    def new_place(cls) -> str:
        folder = tempfile.mkdtemp(prefix="conformance-reference-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return os.path.join(folder, "objects.sqlite")

    def place(self) -> Place:
        return _opened.setdefault(self.name, self.PLACE(self.name))


class SharedStorage(ReferenceStorage):
    """A client of a `SharedPlace`."""

    CAPABILITIES: ClassVar[Capabilities] = SHARED
    CONFIG: ClassVar[type[ReferenceConfig]] = SharedConfig
