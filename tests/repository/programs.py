"""Short programs on repositories, written for any implementation of the API."""

from __future__ import annotations

from typing import Any

import zarr

__all__ = ["commit_array", "commit_group", "families"]

_FAMILIES = (
    "IcechunkError", "ConflictError", "NotFoundError", "RefNotFoundError", "SnapshotNotFoundError",
    "RepositoryNotFoundError", "AlreadyExistsError", "ReadOnlyError", "InvalidInputError",
    "SessionStateError", "FormatError", "StorageError",
)  # fmt: skip


def commit_group(repo: Any, name: str, branch: str = "main", **options: Any) -> str:
    """Commit a new group; gives the snapshot."""
    session = repo.writable_session(branch)
    zarr.create_group(session.store, path=name)
    return str(session.commit(f"add {name}", **options))


def commit_array(repo: Any, name: str, *, size: int = 10, chunk: int = 5, dtype: str = "i4") -> str:
    """Commit a new array filled with ones, not compressed; gives the snapshot."""
    session = repo.writable_session("main")
    array = zarr.create_array(
        session.store, name=name, shape=(size,), chunks=(chunk,), dtype=dtype, compressors=None
    )
    array[:] = 1
    return str(session.commit(f"add {name}"))


def families(ic: Any, error: BaseException) -> set[str]:
    """Which public errors of an implementation an error is an instance of, and which of Python's."""
    names = {name for name in _FAMILIES if isinstance(error, getattr(ic, name))}
    return names | {kind.__name__ for kind in (ValueError, KeyError, TypeError) if isinstance(error, kind)}
