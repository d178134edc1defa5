"""Configuration of filesystem storage."""

from __future__ import annotations

import os
from typing import Any

from attrs import field, frozen

from icechunk_core.errors import StorageConfigError

__all__ = ["FilesystemConfig"]

_MODES = {"auto": "auto", "true": "yes", "yes": "yes", "1": "yes", "false": "no", "no": "no", "0": "no"}


def _absolute(root: Any) -> str:
    text = os.fsdecode(root)
    if not text or "\0" in text:
        raise StorageConfigError("the option 'root' cannot be empty or contain NUL")
    return os.path.abspath(os.path.expanduser(text))


def _mode(value: Any) -> str:
    mode = _MODES.get(str(value).lower())
    if mode is None:
        raise StorageConfigError(f"the option 'threaded' must be auto, true or false, not {value!r}")
    return mode


def _positive(instance: object, attribute: Any, value: float) -> None:
    if not value > 0:
        raise StorageConfigError(f"the option {attribute.name!r} must be greater than 0, not {value!r}")


@frozen
class FilesystemConfig:
    """Which directory to open, and how.

    Attributes
    ----------
    root
        The directory; made absolute at once, so that a later change of the working
        directory or a trip to another process does not move it. Created on first write.
    durable
        Sync files and directories to the disk: conditional puts before they return,
        others when the engine asks with ``sync``. Without it a power loss (not a killed
        process) can lose acknowledged writes.
    threaded
        ``auto``, ``true`` or ``false``. Threaded, operations run in worker threads and
        keep the event loop free, which pays for slow disks and network filesystems.
        Otherwise they run where they are called, never suspend, and cost microseconds.
        ``auto`` is threaded on network filesystems only.
    read_only
        Refuse all writes, and touch nothing.
    lock_timeout
        Seconds that a conditional put waits for other writers of the same key before it
        gives up with `Unavailable`, having written nothing.
    threads
        Worker threads of a threaded storage.
    verbatim
        Keys are file names as they are, for data that other programs wrote. Repositories
        escape what not every system can hold in a file name (FORMAT.md, section 2).
    """

    root: str = field(converter=_absolute)
    durable: bool = True
    threaded: str = field(default="auto", converter=_mode)
    read_only: bool = False
    lock_timeout: float = field(default=60.0, validator=_positive)
    threads: int = field(default=16, validator=_positive)
    verbatim: bool = False

    @property
    def location(self) -> str:
        """The path."""
        return self.root
