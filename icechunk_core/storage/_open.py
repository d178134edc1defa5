"""Storages from URLs, paths and other things that name one; memory and the filesystem."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeAlias

from icechunk_core.contract import Storage
from icechunk_core.errors import StorageConfigError
from icechunk_core.plugins import known_schemes, open_storage
from icechunk_core.plugins.firstparty import FIRST_PARTY_EXTRAS
from icechunk_core.plugins.layers import layer_names
from icechunk_core.plugins.registry import has_wrapper
from icechunk_core.plugins.urls import is_url, scheme_of

__all__ = [
    "StorageLike",
    "as_storage",
    "in_memory_storage",
    "local_filesystem_storage",
    "storage_from_url",
]

StorageLike: TypeAlias = "Storage | str | os.PathLike[str] | Mapping[str, Any]"
"""What names a storage; a backend object (with the operation hooks) does too."""


def storage_from_url(url: str, **options: Any) -> Storage:
    """Open the storage that a URL names.

    Parameters
    ----------
    url
        E.g. ``file:///data/repo``, ``memory:``, ``memory:name``, ``s3://bucket/prefix``.
        Query parameters are options of the backend: ``file:///data/repo?read_only=true``.
    options
        More options; they win over those in the URL.

    Raises
    ------
    PluginError
        If no usable plugin opens the scheme; says what to install.
    StorageConfigError
        If the URL or an option is wrong; names the option. Also a `ValueError`.

    Examples
    --------
    >>> storage_from_url("memory:example", read_only=True)
    <Storage MemoryConfig(name='example', read_only=True)>
    """
    if not isinstance(url, str):
        raise StorageConfigError(f"a storage URL is text, not a {type(url).__name__}")
    return open_storage(url, **options)


def as_storage(storage: StorageLike | object, **options: Any) -> Storage:
    """A storage from whatever names one.

    Parameters
    ----------
    storage
        A `Storage`; a URL; a path of a directory; a mapping of options with the key
        ``scheme``; or an object that implements the operation hooks. A text is a URL when
        it contains ``://`` or begins with a scheme that is known (``memory:``), and a path
        otherwise.
    options
        Options of the backend, for a URL, path or mapping.

    Raises
    ------
    PluginError, StorageConfigError
        See `storage_from_url`; also if it is none of these.
    """
    if isinstance(storage, os.PathLike):
        return local_filesystem_storage(storage, **options)
    if isinstance(storage, str) and not _names_scheme(storage):
        _refuse_wrapped_path(storage)
        return local_filesystem_storage(storage, **options)
    if not isinstance(storage, str | Mapping | Storage) and not _has_hooks(storage):
        raise StorageConfigError(
            f"a {type(storage).__name__} names no storage: pass a URL, the path of a directory, or a storage "
            "that a function of icechunk_core made. Those that the package icechunk makes are for itself; "
            "use the functions of the same name in icechunk_core"
        )
    return open_storage(storage, **options)


def _has_hooks(value: object) -> bool:
    """Whether it looks like a backend: one that lacks something is told so where it is bound."""
    return any(callable(getattr(value, name, None)) for name in ("get_range", "put", "head"))


def _names_scheme(text: str) -> bool:
    scheme = scheme_of(text)
    if scheme is None or is_url(text):
        return scheme is not None
    _, inner = layer_names(scheme)
    return inner in FIRST_PARTY_EXTRAS or inner in known_schemes()


def _refuse_wrapped_path(text: str) -> None:
    """A wrapper in front of a path would be a part of it: what was to be encrypted, say, would not be."""
    name, plus, _ = text.partition("+")
    if plus and has_wrapper(name.lower()):
        raise StorageConfigError(
            f"the wrapper {name!r} goes in front of a URL, not of a path; write {name}+file:///absolute/path "
            f"(or ./{text.partition('?')[0]} for a directory of that name)"
        )


def in_memory_storage() -> Storage:
    """A new, empty storage in this process's memory.

    It is its own: nothing else shares its data, which is freed with it. For a storage that
    several parts of a program open by name, use ``storage_from_url("memory:name")``.
    """
    return open_storage({"scheme": "memory"})


def local_filesystem_storage(path: str | os.PathLike[str], **options: Any) -> Storage:
    """A directory of the local filesystem, created on first write.

    Parameters
    ----------
    path
        The directory; ``~`` is the home directory.
    options
        Options of the filesystem backend, e.g. ``durable=False``.

    Raises
    ------
    StorageConfigError
        If the path or an option is wrong. Also a `ValueError`.
    """
    if not isinstance(path, str | os.PathLike):
        raise StorageConfigError(f"a path is text or a pathlib.Path, not a {type(path).__name__}")
    return open_storage({"scheme": "file", "root": os.fspath(path), **options})
