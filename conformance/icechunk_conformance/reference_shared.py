"""The reference storage between processes: a file per object, and one lock file."""

from __future__ import annotations

import atexit
import hashlib
import itertools
import os
import pickle
import shutil
import tempfile
import threading
from collections.abc import Iterator, MutableMapping
from types import TracebackType
from typing import ClassVar

from attrs import evolve, frozen

from icechunk_conformance.reference import REFERENCE, Entry, Place, ReferenceConfig, ReferenceStorage
from icechunk_core.contract import AtomicityScope, Capabilities, Version
from icechunk_core.ids import SystemIds

__all__ = ["SHARED", "FileLock", "SharedConfig", "SharedObjects", "SharedPlace", "SharedStorage"]

SHARED = evolve(REFERENCE, atomicity=AtomicityScope.PROCESS, fork_safe=True)


class FileLock:
    """One holder among all threads and processes; may be entered again by the thread that holds it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._held = threading.local()

    def __enter__(self) -> None:
        import fcntl

        depth = getattr(self._held, "depth", 0)
        if depth == 0:
            self._held.file = os.open(self._path, os.O_RDWR | os.O_CREAT)
            fcntl.flock(self._held.file, fcntl.LOCK_EX)
        self._held.depth = depth + 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import fcntl

        self._held.depth -= 1
        if self._held.depth == 0:
            # Said explicitly: a child forked meanwhile has the same open file, and never closes it.
            fcntl.flock(self._held.file, fcntl.LOCK_UN)
            os.close(self._held.file)


class SharedObjects(MutableMapping[str, Entry]):
    """The objects of a folder, as a mapping; each is replaced as a whole."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._count = itertools.count()

    def _path(self, key: str) -> str:
        return os.path.join(self._folder, hashlib.sha256(key.encode()).hexdigest())

    def __getitem__(self, key: str) -> Entry:
        try:
            with open(self._path(key), "rb") as file:
                entry: Entry = pickle.load(file)
        except FileNotFoundError:
            raise KeyError(key) from None
        return entry

    def __setitem__(self, key: str, entry: Entry) -> None:
        temporary = f"{self._path(key)}.{os.getpid()}-{threading.get_ident()}-{next(self._count)}.tmp"
        with open(temporary, "wb") as file:
            pickle.dump(entry, file)
        os.replace(temporary, self._path(key))

    def __delitem__(self, key: str) -> None:
        try:
            os.unlink(self._path(key))
        except FileNotFoundError:
            raise KeyError(key) from None

    def __iter__(self) -> Iterator[str]:
        for name in os.listdir(self._folder):
            if "." not in name:
                with open(os.path.join(self._folder, name), "rb") as file:
                    yield pickle.load(file).info.key

    def __len__(self) -> int:
        return sum("." not in name for name in os.listdir(self._folder))


class SharedPlace(Place):
    """A place in a folder, for any number of processes."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.objects = SharedObjects(folder)
        self.lock = FileLock(os.path.join(folder, ".lock"))

    def version(self) -> Version:
        return Version(SystemIds().write_id())


_opened: dict[str, Place] = {}


@frozen
class SharedConfig(ReferenceConfig):
    """The folder of a shared place."""

    PLACE: ClassVar[type[SharedPlace]] = SharedPlace

    @classmethod
    def new_place(cls) -> str:
        folder = tempfile.mkdtemp(prefix="conformance-reference-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return folder

    def place(self) -> Place:
        return _opened.setdefault(self.name, self.PLACE(self.name))


class SharedStorage(ReferenceStorage):
    """A client of a `SharedPlace`."""

    CAPABILITIES: ClassVar[Capabilities] = SHARED
    CONFIG: ClassVar[type[ReferenceConfig]] = SharedConfig
