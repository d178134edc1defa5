"""What the tests of the filesystem backend share."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from icechunk_core.contract import Storage, open_backend
from icechunk_core.drive import run_direct
from icechunk_filesystem._config import FilesystemConfig
from icechunk_filesystem._storage import FilesystemStorage, make_storage
from icechunk_filesystem._system import System
from icechunk_filesystem.plugin import icechunk_backends

T = TypeVar("T")

(SPEC,) = icechunk_backends()
HIDDEN = ".icechunk-core"


def reopen(config: FilesystemConfig) -> Storage:
    """Open a storage from its configuration, as unpickling does."""
    return open_backend(make_storage(config), SPEC, config=config, reopen=reopen)


def open_at(root: Path | str, **options: Any) -> Storage:
    """A storage on a directory; without syncing unless asked for, to keep tests fast."""
    return reopen(FilesystemConfig(root=str(root), **{"durable": False, **options}))


def open_with(system: System, root: Path | str, **options: Any) -> Storage:
    """A direct storage whose changes go through ``system``."""
    config = FilesystemConfig(root=str(root), **{"durable": False, **options})
    return open_backend(FilesystemStorage(config, system=system), SPEC, config=config)


def now(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a call on a direct storage."""
    return run_direct(coroutine)


def read(storage: Storage, key: str) -> bytes:
    """A whole object of a direct storage."""
    return bytes(now(storage.get_range(key))[0])


def keys_of(storage: Storage, prefix: str = "", start_after: str | None = None) -> list[str]:
    """The keys that a direct storage lists."""

    async def collect() -> list[str]:
        return [info.key async for info in storage.list(prefix, start_after)]

    return now(collect())


def files_below(root: Path) -> list[str]:
    """Paths of all files below a directory, hidden ones included."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())
