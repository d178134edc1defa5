"""Deleting many objects: side by side, with a result for each.

The service's batch requests are not used: they need a permission of their own, count as many operations
as they hold, and Azurite refuses what the SDK sends. Single requests over open connections are as fast.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from icechunk_azure._names import BlobNames
from icechunk_azure._parallel import in_parallel
from icechunk_azure._reading import Run
from icechunk_core.contract import DeleteResult
from icechunk_core.contract.errors import InvalidKey, StorageError

__all__ = ["delete_all"]


async def delete_all(
    keys: Sequence[str], names: BlobNames, run: Run, parallel: int
) -> Sequence[DeleteResult]:
    """Delete the objects, ``parallel`` at once; a result for each key, in the order given."""
    results: dict[str, StorageError | None] = {}
    jobs = []
    for key in dict.fromkeys(keys):
        try:
            jobs.append(_single(names.name(key), key, run))
        except InvalidKey as error:
            results[key] = error
    results.update(await in_parallel(jobs, parallel))
    return [DeleteResult(key, results[key]) for key in keys]


def _single(name: str, key: str, run: Run) -> Callable[[], Awaitable[tuple[str, StorageError | None]]]:
    async def delete() -> tuple[str, StorageError | None]:
        try:
            await run(lambda wire: wire.delete(name, key))
        except StorageError as error:
            return key, error
        return key, None

    return delete
