"""Writing files: a complete temporary file, published in one step.

Unconditional puts rename it. Conditional ones do it under the key's lock, after a look at
what is there, and leave a version record; from then on every writer of that key takes the
lock. An unconditional writer that did not see the record of the first conditional one is
caught by its temporary file: it is either visible to that one, which withdraws it, or was
made later, and then the record is visible to its writer.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from attrs import frozen

from icechunk_core.contract import Buffer, Condition, DeleteResult, IfAbsent, IfVersion, Version
from icechunk_core.contract.errors import (
    AlreadyExists,
    InvalidKey,
    OutcomeUnknown,
    StorageError,
    Unavailable,
    VersionMismatch,
)
from icechunk_filesystem._directories import Directories
from icechunk_filesystem._errors import translated
from icechunk_filesystem._locks import KeyLocks
from icechunk_filesystem._paths import KeyCodec
from icechunk_filesystem._system import System
from icechunk_filesystem._temporary import PLAIN, UNDER_LOCK, TemporaryFiles
from icechunk_filesystem._versions import VersionRecords, digest_of, identity, is_coarse

__all__ = ["Writer"]

_ATTEMPTS = 20


@frozen
class _Doomed:
    """An object that is to be deleted."""

    key: str
    target: str
    digest: str


class Writer:
    """Writes and deletes the objects of one storage. Nothing here suspends."""

    def __init__(
        self,
        directories: Directories,
        codec: KeyCodec,
        records: VersionRecords,
        temporary: TemporaryFiles,
        locks: KeyLocks,
        system: System,
        *,
        durable: bool,
    ) -> None:
        self._base = directories.root.rstrip("/") + "/"
        self._directories = directories
        self._codec = codec
        self._records = records
        self._temporary = temporary
        self._locks = locks
        self._system = system
        self._durable = durable

    def put(self, key: str, data: Sequence[Buffer]) -> Version:
        """Write an object whatever is there."""
        target = self._codec.path(key)
        digest = digest_of(key)
        try:
            return self._put_plain(key, target, digest, data)
        except OSError as error:
            raise translated(error, key) from error

    def put_if(
        self, key: str, data: Sequence[Buffer], condition: Condition, *, link: bool, lock: bool
    ) -> Version:
        """Write an object under a condition, with what the filesystem has: links, locks or both."""
        target = self._codec.path(key)
        try:
            if lock:
                return self._put_locked(key, target, digest_of(key), data, condition, link=link)
            return self._create_by_link(key, target, digest_of(key), data)
        except OSError as error:
            raise translated(error, key) from error

    def delete(self, keys: Sequence[str], *, lock: bool) -> list[DeleteResult]:
        """Delete objects, and directories that become empty; what held them is synced once.

        Where there are locks, each object is deleted under that of its key: a delete that comes between the
        look and the step of a conditional write would be undone by it, and the delete that is repeated
        for this reason could meet the object of somebody who came after it.
        """
        failed: dict[str, StorageError] = {}
        groups: dict[str, list[_Doomed]] = {}
        for key in dict.fromkeys(keys):
            try:
                doomed = _Doomed(key, self._codec.path(key), digest_of(key))
                if self._is_there(doomed):
                    groups.setdefault(self._locks.name_of(doomed.digest), []).append(doomed)
            except StorageError as error:
                failed[key] = error
        gone = [
            target for group in groups.values() for target in self._delete_group(group, failed, lock=lock)
        ]
        staying = {
            self._directories.prune(directory)
            for directory in sorted({_directory(target) for target in gone}, reverse=True)
        }
        if self._durable and staying:
            try:
                self._directories.sync(staying)
            except OSError as error:
                raise translated(error, None) from error
        return [DeleteResult(key, failed.get(key)) for key in keys]

    # --- unconditional

    def _put_plain(self, key: str, target: str, digest: str, data: Sequence[Buffer]) -> Version:
        path = self._base + target
        directory = _directory(target)
        known = self._directories.known
        for _ in range(_ATTEMPTS):
            if directory not in known:
                self._directories.ensure(directory)
            # A name that is reused must not come back empty after power loss.
            sync = self._durable and os.path.exists(path)
            source, status = self._temporary.write(digest, data, PLAIN, sync=sync)
            # Without fine times only a record tells a file from the one that it replaces.
            indistinct = is_coarse(status.st_mtime_ns) and os.path.exists(path)
            if indistinct or self._records.exists(digest):
                self._temporary.discard(source)
                return self._put_locked(key, target, digest, data, None, link=False)
            try:
                self._system.replace(source, path)
            except OSError as error:
                self._temporary.discard(source)
                self._make_way(error, key, target)
            else:
                return Version(identity(status))
        raise _restless(key)

    # --- conditional

    def _put_locked(
        self,
        key: str,
        target: str,
        digest: str,
        data: Sequence[Buffer],
        condition: Condition | None,
        *,
        link: bool,
    ) -> Version:
        self._directories.ensure(_directory(target))
        # A look before the work; the one that counts is under the lock.
        self._check(key, target, condition)
        source, status = self._temporary.write(digest, data, UNDER_LOCK, sync=self._durable)
        try:
            with self._locks.hold(digest, key):
                if self._records.begin(digest):
                    self._temporary.withdraw(digest)
                current = self._check(key, target, condition)
                token = self._records.write(digest, status, current)
                atomically = link and isinstance(condition, IfAbsent)
                self._publish(key, source, target, self._link if atomically else self._system.replace)
        finally:
            self._temporary.discard(source)
        self._sync_entry(key, target)
        return Version(token)

    def _create_by_link(self, key: str, target: str, digest: str, data: Sequence[Buffer]) -> Version:
        self._directories.ensure(_directory(target))
        self._check(key, target, IfAbsent())
        source, status = self._temporary.write(digest, data, PLAIN, sync=self._durable)
        try:
            self._publish(key, source, target, self._link)
        finally:
            self._temporary.discard(source)
        self._sync_entry(key, target)
        return Version(identity(status))

    def _check(self, key: str, target: str, condition: Condition | None) -> os.stat_result | None:
        """The present file's status, if the condition holds for it."""
        try:
            status = os.lstat(self._base + target)
        except (FileNotFoundError, NotADirectoryError):
            status = None
        if status is not None and stat.S_ISDIR(status.st_mode):
            status = None
        if isinstance(condition, IfAbsent):
            if status is not None:
                raise _exists(key)
        elif isinstance(condition, IfVersion):
            found = "no object" if status is None else "another version"
            if status is None or self._records.token(key, status) != condition.version.token:
                raise VersionMismatch(f"found {found} under {key!r}; nothing was written", key=key)
        return status

    def _publish(self, key: str, source: str, target: str, step: Callable[[str, str], None]) -> None:
        path = self._base + target
        for _ in range(_ATTEMPTS):
            try:
                step(source, path)
            except FileExistsError:
                if os.path.isdir(path):
                    self._make_way(IsADirectoryError(errno.EISDIR, "Is a directory", path), key, target)
                    continue
                raise _exists(key) from None
            except OSError as error:
                if isinstance(error, FileNotFoundError) and not os.path.exists(source):
                    break
                self._make_way(error, key, target)
            else:
                return
        raise _restless(key)

    def _link(self, source: str, path: str) -> None:
        try:
            self._system.link(source, path)
        except FileExistsError:
            # On network filesystems a repeated request can fail on its own success.
            if os.lstat(source).st_nlink != 2:
                raise

    def _sync_entry(self, key: str, target: str) -> None:
        if self._durable:
            try:
                self._directories.sync([_directory(target)])
            except OSError as error:
                raise OutcomeUnknown(
                    f"object {key!r} was written, but the system could not sync its directory; "
                    f"after power loss it may be gone ({error.strerror})",
                    key=key,
                ) from error

    # --- helpers

    def _make_way(self, error: OSError, key: str, target: str) -> None:
        """Mend what kept a file from being published, or raise."""
        directory = _directory(target)
        if isinstance(error, FileNotFoundError):
            # The directory was removed by somebody who saw it empty, or the temporary file withdrawn.
            self._directories.forget(directory)
            self._directories.ensure(directory)
        elif not os.path.isdir(self._base + target):
            raise error
        elif not self._directories.remove_if_empty(target):
            raise InvalidKey(
                f"object {key!r}: there are objects under '{key}/', and 'a' and 'a/b' "
                "cannot both exist in a directory",
                key=key,
            ) from error

    def _is_there(self, doomed: _Doomed) -> bool:
        try:
            if not self._directories.check(_directory(doomed.target)):
                return False
            os.lstat(self._base + doomed.target)
        except (FileNotFoundError, NotADirectoryError):
            return self._records.exists(doomed.digest)
        except OSError as error:
            raise translated(error, doomed.key) from error
        return True

    def _delete_group(
        self, group: Sequence[_Doomed], failed: dict[str, StorageError], *, lock: bool
    ) -> list[str]:
        """Delete objects whose keys share a lock; the files that were there."""
        gone = []
        first = group[0]
        try:
            with self._locks.hold(first.digest, first.key) if lock else nullcontext():
                for doomed in group:
                    try:
                        if self._unlink(doomed.target):
                            gone.append(doomed.target)
                        if lock:
                            self._records.remove(doomed.digest)
                    except OSError as error:
                        failed[doomed.key] = translated(error, doomed.key)
        except (OSError, StorageError) as error:  # no lock, so nothing was deleted
            for doomed in group:
                failed[doomed.key] = translated(error, doomed.key) if isinstance(error, OSError) else error
        return gone

    def _unlink(self, target: str) -> bool:
        path = self._base + target
        try:
            self._system.unlink(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            if os.path.isdir(path):
                return False
            raise
        return True


def _directory(target: str) -> str:
    return target.rpartition("/")[0]


def _exists(key: str) -> AlreadyExists:
    return AlreadyExists(f"there is an object {key!r} already", key=key)


def _restless(key: str) -> Unavailable:
    return Unavailable(f"object {key!r}: its directory kept changing under the writer; repeat", key=key)
