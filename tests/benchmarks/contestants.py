"""What is measured: stores of icechunk-core, of Icechunk, and zarr's own, behind one small interface."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

__all__ = ["CONTESTANTS", "Contestant", "make"]

CONTESTANTS = ("ours", "peer", "zarr")


class Contestant(Protocol):
    """A place to write an array to, and to read it back from."""

    def writer(self) -> Any:
        """A store to write to."""
        ...

    def commit(self) -> None:
        """Publish what was written."""
        ...

    def reader(self) -> Any:
        """A store, opened anew, that shows what was committed."""
        ...


class Versioned:
    """A repository of icechunk-core or of Icechunk, which have one API."""

    def __init__(self, module: Any, storage: Any) -> None:
        self._repo = module.Repository.create(storage)
        self._module, self._storage = module, storage

    def writer(self) -> Any:
        self._session = self._repo.writable_session("main")
        return self._session.store

    def commit(self) -> None:
        self._session.commit("written")

    def reader(self) -> Any:
        return self._module.Repository.open(self._storage).readonly_session("main").store


class Plain:
    """One of zarr's own stores: there is nothing to commit."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def writer(self) -> Any:
        return self._store

    def commit(self) -> None:
        pass

    def reader(self) -> Any:
        return self._store


def make(name: str, place: str, folder: Path) -> Contestant:
    """A contestant on a place: ``memory``, ``file`` (without syncing), or ``durable``.

    Icechunk never syncs; neither does zarr's LocalStore, so that what stands beside ``durable`` is zarr's
    MemoryStore: the time that zarr itself needs.
    """
    root = folder / "data"
    if name == "ours":
        import icechunk_core

        storage = icechunk_core.in_memory_storage()
        if place != "memory":
            storage = icechunk_core.local_filesystem_storage(root, durable=place == "durable")
        return Versioned(icechunk_core, storage)
    if name == "peer":
        import icechunk

        icechunk.set_logs_filter("off")
        if place == "memory":
            return Versioned(icechunk, icechunk.in_memory_storage())
        return Versioned(icechunk, icechunk.local_filesystem_storage(str(root)))
    from zarr.storage import LocalStore, MemoryStore

    return Plain(LocalStore(root) if place == "file" else MemoryStore())
