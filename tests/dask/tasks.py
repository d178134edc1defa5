"""What runs on Dask's workers."""

from __future__ import annotations

import os
import signal
from typing import Any

__all__ = ["kill_once", "mortal", "openings", "start_counting"]


def kill_once(marker: str) -> None:
    """Kill this process, unless it was done before."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def mortal(values: Any, marker: str, at: int, block_id: tuple[int, ...] | None = None) -> Any:
    """The block itself; at one block the worker dies, once."""
    if block_id is not None and block_id[0] == at:
        kill_once(marker)
    return values


def start_counting() -> None:
    """From now on, count how often this process opens a storage and reads a snapshot."""
    from icechunk_core import contract
    from icechunk_core.assets.manager import AssetManager

    counts = {"opened": 0, "snapshots": 0}
    make, read = contract.Storage.__init__, AssetManager.snapshot

    def opened(self: Any, *args: Any, **kwargs: Any) -> None:
        counts["opened"] += 1
        make(self, *args, **kwargs)

    async def fetched(self: Any, *args: Any, **kwargs: Any) -> Any:
        counts["snapshots"] += 1
        return await read(self, *args, **kwargs)

    contract.Storage.__init__ = opened  # type: ignore[method-assign]
    AssetManager.snapshot = fetched  # type: ignore[method-assign]
    _COUNTS.append(counts)


_COUNTS: list[dict[str, int]] = []


def openings() -> dict[str, int]:
    """What was counted."""
    return _COUNTS[-1]
