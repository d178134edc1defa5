"""Delete objects in batches, with an answer for each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from icechunk_core.contract import DeleteResult
from icechunk_core.contract.errors import InvalidKey, NotFound, StorageError
from icechunk_s3._client import Client
from icechunk_s3._errors import Refused, Where, failure_of
from icechunk_s3._keys import Names
from icechunk_s3._requests import Requests

__all__ = ["delete_objects"]

BATCH = 1000
"""Objects in one request: S3's limit."""


async def delete_objects(requests: Requests, names: Names, keys: Sequence[str]) -> list[DeleteResult]:
    """See `OperationHooks.delete`."""
    outcome: dict[str, StorageError | None] = {}
    valid: dict[str, str] = {}
    for key in keys:
        try:
            valid[names.of(key)] = key
        except InvalidKey as error:
            outcome[key] = error
    pending = list(valid)
    if len(pending) == 1 or not requests.quirks.batch_delete:
        outcome.update(await _one_by_one(requests, valid))
    else:
        for start in range(0, len(pending), BATCH):
            outcome.update(await _batch(requests, valid, pending[start : start + BATCH]))
    return [DeleteResult(key, outcome.get(key)) for key in keys]


async def _batch(
    requests: Requests, valid: dict[str, str], batch: Sequence[str]
) -> dict[str, StorageError | None]:
    """One request for many; those that could not be deleted just then are tried alone."""
    failed = await requests.run_full(lambda client: client.delete_many(batch))
    outcome: dict[str, StorageError | None] = {}
    again: dict[str, str] = {}
    for name, (code, message) in failed.items():
        key = valid.get(name, name)
        failure = failure_of(Refused(400, code, message, {}, None), Where(requests.config.place, key))
        if failure.retry or code == "InternalError":
            again[name] = key
        elif not isinstance(failure.error, NotFound):
            outcome[key] = failure.error
    outcome.update(await _one_by_one(requests, again))
    return outcome


async def _one_by_one(requests: Requests, valid: dict[str, str]) -> dict[str, StorageError | None]:
    slots = asyncio.Semaphore(requests.config.concurrent_parts)

    async def delete(name: str, key: str) -> StorageError | None:
        async def request(client: Client) -> None:
            await client.delete(name)

        async with slots:
            try:
                await requests.run_full(request, key)
            except NotFound:
                return None
            except StorageError as error:
                return error
        return None

    results = await asyncio.gather(*(delete(name, key) for name, key in valid.items()))
    return dict(zip(valid.values(), results, strict=True))
