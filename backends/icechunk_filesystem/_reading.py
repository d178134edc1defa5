"""Reading files: one descriptor gives the data, the size and the version."""

from __future__ import annotations

import errno
import os
import stat
from datetime import UTC, datetime

from icechunk_core.contract import Buffer, ByteRange, ObjectInfo, Range, Version, resolve_range
from icechunk_core.contract.errors import NotFound, Unavailable, VersionMismatch
from icechunk_filesystem._directories import Directories
from icechunk_filesystem._errors import translated
from icechunk_filesystem._paths import KeyCodec
from icechunk_filesystem._system import READ_FLAGS
from icechunk_filesystem._versions import VersionRecords, is_marked

__all__ = ["Reader", "last_modified"]

_fromtimestamp = datetime.fromtimestamp
_HAS_PREAD = hasattr(os, "pread")
_LARGEST_READ = 1 << 30
_CHECKS_LINKS = not hasattr(os, "O_NOFOLLOW")


class Reader:
    """Reads the objects of one storage. Nothing here suspends."""

    def __init__(self, directories: Directories, codec: KeyCodec, records: VersionRecords) -> None:
        self._base = directories.root.rstrip("/") + "/"
        self._directories = directories
        self._known = directories.known
        self._path = codec.path
        self._records = records

    def get_range(
        self, key: str, byte_range: ByteRange, if_version: Version | None
    ) -> tuple[Buffer, ObjectInfo]:
        """A part of an object, from one version, and what is known about that version."""
        try:
            descriptor = os.open(self._locate(key), READ_FLAGS)
        except OSError as error:
            raise translated(error, key, reading=True) from error
        try:
            status = os.fstat(descriptor)
            info = self._info(key, status)
            if if_version is not None and info.version != if_version:
                raise VersionMismatch(f"object {key!r} has another version", key=key)
            size = info.size
            if byte_range is None:
                start, end = 0, size
            elif type(byte_range) is Range and 0 <= byte_range.start < byte_range.end <= size:
                start, end = byte_range.start, byte_range.end
            else:
                start, end = resolve_range(byte_range, size, key=key)
            data: Buffer = _read(descriptor, start, end - start)
        except OSError as error:
            raise translated(error, key, reading=True) from error
        finally:
            os.close(descriptor)
        if len(data) != end - start:
            raise Unavailable(f"object {key!r} was cut short by another program; repeat", key=key)
        return data, info

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


def _read(descriptor: int, start: int, length: int) -> bytes:
    if start == 0:
        data = os.read(descriptor, length)
    elif _HAS_PREAD:
        data = os.pread(descriptor, length, start)
    else:
        os.lseek(descriptor, start, os.SEEK_SET)
        data = os.read(descriptor, length)
    if len(data) == length:
        return data
    # One call reads at most 2 GiB.
    os.lseek(descriptor, start + len(data), os.SEEK_SET)
    pieces = [data]
    missing = length - len(data)
    while missing:
        piece = os.read(descriptor, min(missing, _LARGEST_READ))
        if not piece:
            break
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)
