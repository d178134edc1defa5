"""Files that stay open between reads, because opening one costs more than reading a few KiB of it.

Random readers come back to the same packs again and again. An open file is only read from
after a look at its path: it has to be the very file that the path names now, unchanged. So
what was deleted or replaced, here or by another process, is never seen; while a file is
open, no other can get its number.

The limits are the process's, for all storages together: few descriptors, fewer where
the system grants few. A descriptor is closed when nobody reads from it any more.
"""

from __future__ import annotations

import os
from typing import Final

from icechunk_core.contract import ObjectInfo
from icechunk_filesystem._system import WINDOWS

__all__ = ["KEEPS_FILES_OPEN", "OpenFile", "forget_below", "forget_file", "keep_open", "kept_file"]

KEEPS_FILES_OPEN: Final = not WINDOWS and hasattr(os, "pread")
"""Windows neither removes nor replaces a file that somebody has open."""

_MOST: Final = 64
_SHARE: Final = 8
"""One of so many descriptors that the process may have."""


def _limit() -> int:
    try:
        import resource
    except ImportError:  # a system that has no limits either
        return _MOST
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if allowed == resource.RLIM_INFINITY else min(_MOST, allowed // _SHARE)


class OpenFile:
    """A descriptor that is closed with its last reference, so never while somebody reads from it."""

    __slots__ = ("_identity", "descriptor", "info")

    def __init__(self, descriptor: int, status: os.stat_result, info: ObjectInfo) -> None:
        self.descriptor = descriptor
        self.info = info
        self._identity = _identity(status)

    def is_at(self, path: str) -> bool:
        """Whether the path names this file, and the file is as it was."""
        try:
            return _identity(os.lstat(path)) == self._identity
        except OSError:
            return False

    def __del__(self) -> None:
        os.close(self.descriptor)


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_ino, status.st_mtime_ns, status.st_size, status.st_dev


# In order of opening. Only single steps that no other thread can come between, and no lock
# that a forked child could find held.
_files: dict[str, OpenFile] = {}
_most: int = _limit()


def kept_file(path: str) -> OpenFile | None:
    """The open file of a path; ``None`` if there is none, or another file is there now."""
    file = _files.get(path)
    if file is None or file.is_at(path):
        return file
    _files.pop(path, None)
    return None


def keep_open(path: str, file: OpenFile) -> None:
    """Keep a file for later readers, and close the one that was opened first if there are too many."""
    _files[path] = file
    while len(_files) > _most:
        try:
            _files.pop(next(iter(_files)), None)
        except (StopIteration, RuntimeError):  # another thread does the same
            break


def forget_file(path: str) -> None:
    """Close the file of a path, if it is open."""
    _files.pop(path, None)


def forget_below(base: str) -> bool:
    """Close all files whose path begins so; whether there were any."""
    found = [path for path in list(_files) if path.startswith(base)]
    for path in found:
        forget_file(path)
    return bool(found)
