"""Versions of files: unique per write, although inode numbers repeat at once.

The *identity* of a file is its inode number, size and time of modification, whose
digits below the millisecond are random (`stamp`). All three come with the open file, so
a reader gets data and version from one descriptor.

For keys that were written conditionally there is also a *record*, a small file under
``<root>/.icechunk-core/versions`` with the random write id of the newest and of the
preceding write and the identities they belong to. It is replaced, under the key's lock,
before the object is published. It counts only for a file of that identity, so one that
got lost, or that a killed writer left ahead of its object, does no harm: the identity
alone is the version then. Files that may have a record are marked in their time's digits,
so that reading all others costs nothing more; a time in whole milliseconds (a filesystem
that keeps no finer ones) counts as marked.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress

from icechunk_core.ids import IdSource
from icechunk_filesystem._directories import Directories
from icechunk_filesystem._paths import HIDDEN
from icechunk_filesystem._system import READ_FLAGS, System

__all__ = ["VersionRecords", "digest_of", "identity", "is_coarse", "is_marked", "stamp"]

_MILLISECOND = 1_000_000
_MARK = 5
_LARGEST_RECORD = 4096


def digest_of(key: str) -> str:
    """A short name for a key, for the bookkeeping files."""
    return hashlib.blake2b(key.encode(), digest_size=10).hexdigest()


def identity(status: os.stat_result) -> str:
    """What tells a file from the one it replaced."""
    return f"{status.st_ino:x}.{status.st_size:x}.{status.st_mtime_ns:x}"


def stamp(mtime_ns: int, uniform: float, *, marked: bool) -> int:
    """A time within the same millisecond, with random digits below it.

    The digit of the microseconds modulo 8 says whether there may be a record.

    >>> stamp(1_000_000_000_123, 0.25, marked=True)
    1000000253000
    """
    micro, nano = divmod(int(uniform * _MILLISECOND), 1000)
    if marked:
        micro = (micro & ~7) | _MARK
    elif micro & 7 == _MARK:
        micro -= 1
    # Whole milliseconds mean a coarse clock.
    return mtime_ns - mtime_ns % _MILLISECOND + (micro * 1000 + nano or 1000)


def is_coarse(mtime_ns: int) -> bool:
    """Whether the filesystem dropped the random digits."""
    return mtime_ns % _MILLISECOND == 0


def is_marked(mtime_ns: int) -> bool:
    """Whether there may be a record for a file of that time."""
    below = mtime_ns % _MILLISECOND
    return below == 0 or (below // 1000) & 7 == _MARK


class VersionRecords:
    """The records of one storage, one file per conditionally written key."""

    def __init__(self, directories: Directories, system: System, ids: IdSource) -> None:
        self._directory = f"{HIDDEN}/versions"
        self._directories = directories
        self._path = directories.absolute(self._directory)
        self._system = system
        self._ids = ids

    def token(self, key: str, status: os.stat_result) -> str:
        """The version of a file, as text."""
        text = identity(status)
        if is_marked(status.st_mtime_ns):
            write_id = self._read(digest_of(key)).get(text)
            if write_id is not None:
                return f"{text}.{write_id}"
        return text

    def exists(self, digest: str) -> bool:
        """Whether the key was ever written conditionally."""
        return os.path.exists(f"{self._path}/{digest}")

    def begin(self, digest: str) -> bool:
        """Make an empty record; whether there was none. Call it under the key's lock."""
        path = f"{self._path}/{digest}"
        while True:
            try:
                os.close(self._system.create(path))
            except FileExistsError:
                return False
            except FileNotFoundError:
                self._directories.forget(self._directory)
                self._directories.ensure(self._directory)
            else:
                return True

    def write(self, digest: str, new: os.stat_result, current: os.stat_result | None) -> str:
        """Record a write that is about to be published; its version. Call it under the key's lock."""
        text, write_id = identity(new), self._ids.write_id()
        writes = {text: write_id}
        if current is not None:
            # Until the new file is published, and for readers that hold the old one.
            before = identity(current)
            known = self._read(digest).get(before)
            if known is not None:
                writes[before] = known
        path = f"{self._path}/{digest}"
        # Under the key's lock the name is ours; what is there was left by a killed writer.
        fresh = f"{path}.new"
        with suppress(FileNotFoundError):
            self._system.unlink(fresh)
        descriptor = self._system.create(fresh)
        try:
            self._system.write(descriptor, json.dumps(writes).encode())
        finally:
            os.close(descriptor)
        self._system.replace(fresh, path)
        return f"{text}.{write_id}"

    def remove(self, digest: str) -> None:
        """Forget a key that was deleted. Call it under the key's lock."""
        with suppress(FileNotFoundError):
            self._system.unlink(f"{self._path}/{digest}")

    def _read(self, digest: str) -> dict[str, str]:
        try:
            descriptor = os.open(f"{self._path}/{digest}", READ_FLAGS)
        except OSError:
            return {}
        try:
            writes = json.loads(os.read(descriptor, _LARGEST_RECORD))
        except (OSError, ValueError):
            return {}
        finally:
            os.close(descriptor)
        return writes if isinstance(writes, dict) else {}
