"""Upload large objects in parts, several at a time; nothing is left behind where that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

from attrs import evolve

from icechunk_core.contract import Buffer
from icechunk_core.contract.errors import OutcomeUnknown, StorageError
from icechunk_s3._client import Client, ObjectClient, WriteOptions, combined_etag
from icechunk_s3._requests import Requests

__all__ = ["part_size_for", "upload"]

MOST_PARTS = 10_000
ABORT_SECONDS = 10.0


def part_size_for(size: int, preferred: int) -> int:
    """Bytes of a part, so that there are no more parts than S3 allows.

    >>> part_size_for(100, 8), part_size_for(1_000_000, 8)
    (8, 100)
    """
    return max(preferred, -(-size // MOST_PARTS))


async def upload(requests: Requests, name: str, key: str, body: Buffer, options: WriteOptions) -> str:
    """Upload an object; its ETag. The condition is checked when the parts are put together.

    Raises
    ------
    StorageError
        The upload was given up, and its parts were removed.
    OutcomeUnknown
        Whether the parts were put together is not known.
    """
    unconditional = evolve(options, if_match=None, if_absent=False)
    creating = asyncio.ensure_future(
        requests.run_full(lambda client: client.create_upload(name, unconditional), key)
    )
    try:
        identifier = await asyncio.shield(creating)
    except asyncio.CancelledError:
        await _abort(requests, name, key, creating)
        raise
    try:
        parts = await _upload_parts(requests, name, key, body, identifier)
        return await _complete(requests, name, key, identifier, parts, options)
    except OutcomeUnknown:
        raise
    except BaseException:
        await _abort(requests, name, key, creating)
        raise


async def _upload_parts(
    requests: Requests, name: str, key: str, body: Buffer, identifier: str
) -> list[Mapping[str, str]]:
    size = part_size_for(len(body), requests.config.multipart_part_size)
    view = memoryview(body)
    slots = asyncio.Semaphore(requests.config.concurrent_parts)

    async def send(number: int, part: memoryview) -> Mapping[str, str]:
        async def request(client: ObjectClient) -> Mapping[str, str]:
            return await client.upload_part(name, identifier, number, part)

        async with slots:
            return await requests.run(request, key, size=len(part))

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(send(number, view[start : start + size]))
                for number, start in enumerate(range(0, len(body), size), 1)
            ]
    except* StorageError as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


async def _complete(
    requests: Requests,
    name: str,
    key: str,
    identifier: str,
    parts: Sequence[Mapping[str, str]],
    options: WriteOptions,
) -> str:
    conditional = options.if_absent or options.if_match is not None

    async def request(client: Client) -> str:
        return await client.complete_upload(name, identifier, parts, options)

    try:
        return await requests.run_full(request, key, conditional=conditional)
    except StorageError as error:
        if "NoSuchUpload" not in error.message and not isinstance(error, OutcomeUnknown):
            raise
        # An earlier try may have landed: then the upload is gone, and the object has its ETag.
        if await _landed(requests, name, key, parts):
            return str(combined_etag(parts))
        raise OutcomeUnknown(
            f"object {key!r}: the server did not say whether its {len(parts)} parts were put together; "
            "look before repeating it",
            key=key,
        ) from error


async def _landed(requests: Requests, name: str, key: str, parts: Sequence[Mapping[str, str]]) -> bool:
    expected = combined_etag(parts)
    try:
        reply = await requests.run(lambda client: client.head(name), key)
    except StorageError:
        return False
    return expected is not None and reply.headers.get("etag", "").strip('"') == expected


async def _abort(requests: Requests, name: str, key: str, creating: asyncio.Future[str]) -> None:
    """Remove the parts, also when the upload was cancelled; a failure to do so changes nothing."""

    async def abort() -> None:
        with suppress(StorageError, TimeoutError):
            async with asyncio.timeout(ABORT_SECONDS):
                identifier = await creating
                await requests.run_full(lambda client: client.abort_upload(name, identifier), key)

    await asyncio.shield(asyncio.ensure_future(abort()))
