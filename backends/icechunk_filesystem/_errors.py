"""What the operating system's errors mean to a caller. The only place where they are named."""

from __future__ import annotations

import errno

from icechunk_core.contract.errors import (
    InvalidKey,
    NotFound,
    PermissionDenied,
    ReadOnly,
    StorageError,
    StorageFull,
    Timeout,
    Unavailable,
)

__all__ = ["translated"]

_FULL = (StorageFull, "the disk or quota is full; free some space and repeat")
_DENIED = (PermissionDenied, "the operating system denies access; check owner and mode")
_BUSY = (Unavailable, "the file is in use; repeat later")
_FAILED = (Unavailable, "the disk or filesystem failed; check the system log")
_LIMIT = (Unavailable, "out of file descriptors or memory; raise the limit or use fewer threads")
_NAME = (InvalidKey, "the filesystem cannot hold a file of that name")
_TREE = (InvalidKey, "another object's key is in the way: 'a' and 'a/b' cannot both exist in a directory")

_TABLE: dict[int, tuple[type[StorageError], str]] = {
    errno.ENOENT: (Unavailable, "the directory vanished while it was written; repeat"),
    errno.ENOTDIR: _TREE,
    errno.EISDIR: _TREE,
    errno.ENOTEMPTY: _TREE,
    errno.EEXIST: _TREE,
    errno.ENOSPC: _FULL,
    errno.EFBIG: (StorageFull, "the file is larger than the filesystem or the process's limit allows"),
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: (ReadOnly, "the filesystem is mounted read-only"),
    errno.ENAMETOOLONG: (InvalidKey, "the name is too long for the filesystem"),
    errno.EINVAL: _NAME,
    errno.EILSEQ: _NAME,
    errno.ELOOP: (InvalidKey, "the path leads through a symbolic link, which is not followed below the root"),
    errno.EBUSY: _BUSY,
    errno.EAGAIN: _BUSY,
    errno.EIO: _FAILED,
    errno.ENXIO: _FAILED,
    errno.ENODEV: _FAILED,
    errno.EMFILE: _LIMIT,
    errno.ENFILE: _LIMIT,
    errno.ENOMEM: _LIMIT,
    errno.ETIMEDOUT: (Timeout, "the filesystem did not answer in time"),
}
for _name, _meaning in {"EDQUOT": _FULL, "ETXTBSY": _BUSY, "ESTALE": _FAILED, "EHOSTDOWN": _FAILED}.items():
    if hasattr(errno, _name):
        _TABLE[getattr(errno, _name)] = _meaning

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})


def translated(error: OSError, key: str | None, *, reading: bool = False) -> StorageError:
    """The storage error for an operating system's one; raise it ``from`` the original.

    Parameters
    ----------
    reading
        Whether an absent file means that there is no such object.

    >>> translated(OSError(errno.ENOSPC, "No space left on device"), "chunks/A").kind
    'storage-full'
    """
    if reading and error.errno in _ABSENT:
        return NotFound(f"no object {key!r}", key=key)
    cls, advice = _TABLE.get(error.errno or 0, (Unavailable, "the operating system reported an error"))
    about = f"object {key!r}: " if key is not None else ""
    return cls(f"{about}{advice} ({error.strerror or type(error).__name__})", key=key)
