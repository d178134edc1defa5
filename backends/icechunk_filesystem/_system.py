"""The operating system's file calls that change something, in one place that tests can replace."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable

from icechunk_core.clock import Clock, SystemClock

if sys.platform == "darwin":
    import fcntl

__all__ = ["READ_FLAGS", "WINDOWS", "System"]

WINDOWS = os.name == "nt"

# O_NONBLOCK: a named pipe in the directory must not hang a reader. Regular files do not care.
READ_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)
_CREATE_FLAGS = (
    os.O_WRONLY
    | os.O_CREAT
    | os.O_EXCL
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_BINARY", 0)
)
_SYNC_FLAGS = (os.O_RDWR if WINDOWS else os.O_RDONLY) | (READ_FLAGS & ~os.O_RDONLY)
_IN_USE_SECONDS = 5.0
_NO_DIRECTORY_SYNC = (errno.EINVAL, errno.ENOTSUP)


class System:
    """Creates, syncs, publishes and removes files.

    On Windows a file that somebody reads cannot be replaced or removed at once; those
    calls are repeated for a few seconds.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock: Clock = clock if clock is not None else SystemClock()

    def create(self, path: str) -> int:
        """Open a new file for writing; `FileExistsError` if there is one."""
        return os.open(path, _CREATE_FLAGS, 0o666)

    def write(self, descriptor: int, data: memoryview | bytes | bytearray) -> int:
        """Write some of the data; returns how many bytes."""
        return os.write(descriptor, data)

    def set_mtime(self, file: int | str, mtime_ns: int) -> None:
        """Set the time of modification of a file, given by its descriptor or path."""
        os.utime(file, ns=(mtime_ns, mtime_ns))

    def sync_descriptor(self, descriptor: int, path: str) -> None:
        """Make a file's content survive power loss.

        ``fsync`` and not ``fdatasync``: the files are new, so their metadata has to be
        written anyway. On macOS only ``F_FULLFSYNC`` empties the drive's own cache.
        """
        if sys.platform == "darwin":
            try:
                fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            except OSError:
                os.fsync(descriptor)
        else:
            os.fsync(descriptor)

    def sync_file(self, path: str) -> None:
        """Make a published file survive power loss."""
        descriptor = os.open(path, _SYNC_FLAGS)
        try:
            self.sync_descriptor(descriptor, path)
        finally:
            os.close(descriptor)

    def sync_directory(self, path: str) -> None:
        """Make a directory's entries survive power loss.

        Windows and some network filesystems have nothing of the kind; they write entries at once.
        """
        if not WINDOWS:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            except OSError as error:
                if error.errno not in _NO_DIRECTORY_SYNC:
                    raise
            finally:
                os.close(descriptor)

    def replace(self, source: str, target: str) -> None:
        """Rename over what is there, atomically."""
        self._patiently(os.replace, source, target)

    def link(self, source: str, target: str) -> None:
        """Give a file a second name, atomically; `FileExistsError` if the name is taken."""
        os.link(source, target)

    def unlink(self, path: str) -> None:
        """Remove a file."""
        self._patiently(os.unlink, path)

    def make_directory(self, path: str) -> None:
        """Make one directory."""
        os.mkdir(path)

    def remove_directory(self, path: str) -> None:
        """Remove one empty directory."""
        os.rmdir(path)

    def _patiently(self, call: Callable[..., None], *arguments: str) -> None:
        if not WINDOWS:
            call(*arguments)
            return
        deadline = self._clock.monotonic() + _IN_USE_SECONDS
        while True:
            try:
                call(*arguments)
            except PermissionError:
                # A directory in the way is denied as well, and stays so.
                if os.path.isdir(arguments[-1]) or self._clock.monotonic() > deadline:
                    raise
                self._clock.sleep(0.002)
            else:
                return
