"""Reading files: one descriptor gives the data, the size and the version."""

from __future__ import annotations

import errno
import os
import stat
import weakref
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime

from icechunk_core.contract import Buffer, ByteRange, ObjectInfo, Range, Version, resolve_range
from icechunk_core.contract.errors import InvalidKey, NotFound, Unavailable, VersionMismatch
from icechunk_filesystem._directories import Directories
from icechunk_filesystem._errors import translated
from icechunk_filesystem._open_files import (
    KEEPS_FILES_OPEN,
    OpenFile,
    forget_below,
    forget_file,
    keep_open,
    kept_file,
)
from icechunk_filesystem._paths import KeyCodec
from icechunk_filesystem._system import READ_FLAGS
from icechunk_filesystem._versions import VersionRecords, is_marked

__all__ = ["Reader", "last_modified"]

_fromtimestamp = datetime.fromtimestamp
_HAS_PREAD = hasattr(os, "pread")
_LARGEST_READ = 1 << 30
_CHECKS_LINKS = not hasattr(os, "O_NOFOLLOW")


_EXHAUSTED = (errno.EMFILE, errno.ENFILE)


class Reader:
    """Reads the objects of one storage. Nothing here suspends.

    Parameters
    ----------
    keep_open
        Whether objects that are read in parts stay open for the next part.
    """

    def __init__(
        self,
        directories: Directories,
        codec: KeyCodec,
        records: VersionRecords,
        *,
        keep_open: bool = False,
    ) -> None:
        self._base = directories.root.rstrip("/") + "/"
        self._directories = directories
        self._known = directories.known
        self._path = codec.path
        self._records = records
        self._keeps_open = keep_open and KEEPS_FILES_OPEN
        if self._keeps_open:
            weakref.finalize(self, forget_below, self._base).atexit = False

    def close(self) -> None:
        """Close what stayed open."""
        forget_below(self._base)

    def forget(self, keys: Iterable[str]) -> None:
        """Close these objects before they are deleted: the space of an open file is not free."""
        if self._keeps_open:
            for key in keys:
                with suppress(InvalidKey):
                    forget_file(self._base + self._path(key))

    def get_range(
        self, key: str, byte_range: ByteRange, if_version: Version | None
    ) -> tuple[Buffer, ObjectInfo]:
        """A part of an object, from one version, and what is known about that version."""
        try:
            path = self._locate(key)
            if self._keeps_open and if_version is None and type(byte_range) is Range:
                return self._get_part(key, path, byte_range)
            descriptor = self._opened(path)
            try:
                info = self._info(key, os.fstat(descriptor))
                if if_version is not None and info.version != if_version:
                    raise VersionMismatch(f"object {key!r} has another version", key=key)
                return _data(key, descriptor, byte_range, info.size), info
            finally:
                os.close(descriptor)
        except OSError as error:
            raise translated(error, key, reading=True) from error

    def _get_part(self, key: str, path: str, byte_range: Range) -> tuple[Buffer, ObjectInfo]:
        """The same, from a file that stays open for the next part."""
        file = kept_file(path)
        if file is not None:
            return _data(key, file.descriptor, byte_range, file.info.size), file.info
        descriptor = self._opened(path)
        try:
            status = os.fstat(descriptor)
            info = self._info(key, status)
        except BaseException:
            os.close(descriptor)
            raise
        file = OpenFile(descriptor, status, info)
        data = _data(key, descriptor, byte_range, info.size)
        # The version of a marked file is in a record that changes without it.
        if len(data) < info.size and not is_marked(status.st_mtime_ns):
            keep_open(path, file)
        return data, info

    def _opened(self, path: str) -> int:
        try:
            return os.open(path, READ_FLAGS)
        except OSError as error:
            if error.errno not in _EXHAUSTED or not forget_below(""):
                raise
        return os.open(path, READ_FLAGS)

    def head(self, key: str) -> ObjectInfo:
        """What is known about an object."""
        try:
            status = os.lstat(self._locate(key))
        except OSError as error:
            raise translated(error, key, reading=True) from error
        return self._info(key, status)

    def _locate(self, key: str) -> str:
        path = self._path(key)
        slash = path.rfind("/")
        directory = path[:slash] if slash > 0 else ""
        if directory not in self._known and not self._directories.check(directory):
            raise NotFound(f"no object {key!r}", key=key)
        if _CHECKS_LINKS and os.path.islink(self._base + path):
            raise translated(OSError(errno.ELOOP, "symbolic link"), key)
        return self._base + path

    def _info(self, key: str, status: os.stat_result) -> ObjectInfo:
        if not stat.S_ISREG(status.st_mode):
            if stat.S_ISLNK(status.st_mode):
                raise translated(OSError(errno.ELOOP, "symbolic link"), key)
            raise NotFound(f"no object {key!r}", key=key)
        mtime = status.st_mtime_ns
        size = status.st_size
        if is_marked(mtime):
            version = Version(self._records.token(key, status))
        else:
            version = Version(f"{status.st_ino:x}.{size:x}.{mtime:x}")
        return ObjectInfo(key, size, version, last_modified(mtime))


def last_modified(mtime_ns: int) -> datetime:
    """A file's time; 1970 for one that no calendar has."""
    try:
        return _fromtimestamp(mtime_ns / 1e9, UTC)
    except (OverflowError, ValueError, OSError):
        return _fromtimestamp(0, UTC)


def _data(key: str, descriptor: int, byte_range: ByteRange, size: int) -> bytes:
    if byte_range is None:
        start, end = 0, size
    elif type(byte_range) is Range and 0 <= byte_range.start < byte_range.end <= size:
        start, end = byte_range.start, byte_range.end
    else:
        start, end = resolve_range(byte_range, size, key=key)
    data = _read(descriptor, start, end - start)
    if len(data) != end - start:
        raise Unavailable(f"object {key!r} was cut short by another program; repeat", key=key)
    return data


def _read(descriptor: int, start: int, length: int) -> bytes:
    if _HAS_PREAD:  # the position in the file belongs to all who read from it
        data = os.pread(descriptor, length, start)
    else:
        os.lseek(descriptor, start, os.SEEK_SET)
        data = os.read(descriptor, length)
    if len(data) == length:
        return data
    # One call reads at most 2 GiB.
    pieces = [data]
    at, end = start + len(data), start + length
    while at < end:
        size = min(end - at, _LARGEST_READ)
        piece = os.pread(descriptor, size, at) if _HAS_PREAD else os.read(descriptor, size)
        if not piece:
            break
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)
