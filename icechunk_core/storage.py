"""Open storages: by URL, by path, or with a constructor per kind."""

from __future__ import annotations

import os
from typing import Any, TypeAlias

from icechunk_core.contract import Storage
from icechunk_core.errors import StorageConfigError
from icechunk_core.plugins.opening import open_storage

__all__ = [
    "Storage",
    "StorageLike",
    "as_storage",
    "in_memory_storage",
    "local_filesystem_storage",
    "storage_from_url",
]

StorageLike: TypeAlias = Storage | str | os.PathLike[str]
"""What is accepted wherever a storage is asked for: an open one, a URL, or a local path."""


def storage_from_url(url: str, **options: Any) -> Storage:
    """Open the storage at a URL with the plugin of its scheme; query parameters are options.

    Raises
    ------
    PluginError
        If there is no usable plugin for the scheme.
    StorageConfigError
        If an option is wrong; names it.
    """
    return open_storage(url, **options)


def in_memory_storage() -> Storage:
    """A fresh storage in this process's memory."""
    return open_storage("memory:")


def local_filesystem_storage(path: str | os.PathLike[str]) -> Storage:
    """A directory; it is made when something is written."""
    return open_storage({"scheme": "file", "root": os.path.abspath(os.fspath(path))})


def as_storage(storage: StorageLike) -> Storage:
    """The storage that an argument stands for: itself, a URL, or a local path."""
    if isinstance(storage, Storage):
        return storage
    if isinstance(storage, os.PathLike):
        return local_filesystem_storage(storage)
    if isinstance(storage, str):
        scheme, colon, _ = storage.partition(":")
        if colon and len(scheme) > 1 and scheme.replace("+", "").replace("-", "").isalnum():
            return storage_from_url(storage)
        return local_filesystem_storage(storage)
    raise StorageConfigError(
        f"a storage, a URL or a path was expected, not {type(storage).__name__}"
    )
