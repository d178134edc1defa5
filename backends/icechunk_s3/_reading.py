"""Read objects and parts of them; long parts in parallel, all from one version."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from icechunk_core.contract import Buffer, ByteRange, From, ObjectInfo, Range, Suffix, Version, resolve_range
from icechunk_core.contract.errors import InvalidRange, Unavailable, VersionMismatch
from icechunk_s3._client import ObjectClient, Reply, info_from
from icechunk_s3._conditions import header_of
from icechunk_s3._requests import Requests

__all__ = ["read_range"]


async def read_range(
    requests: Requests, name: str, key: str, byte_range: ByteRange, if_version: Version | None
) -> tuple[Buffer, ObjectInfo]:
    """See `OperationHooks.get_range`."""
    if_match = None
    if if_version is not None:
        if_match = header_of(if_version, requests.quirks)
        if if_match is None:
            raise VersionMismatch(f"object {key!r} has another version", key=key)
    part = requests.config.read_part_size
    if byte_range is None:
        first: ByteRange = Range(0, part)
    elif isinstance(byte_range, Range) and byte_range.end - byte_range.start > part:
        first = Range(byte_range.start, byte_range.start + part)
    else:
        return await _piece(requests, name, key, byte_range, if_match)
    try:
        data, info = await _piece(requests, name, key, first, if_match)
    except InvalidRange:
        if byte_range is not None:
            raise
        return await _piece(requests, name, key, None, if_match)  # an empty object has no range
    start, end = resolve_range(byte_range, info.size, key=key)
    if len(data) >= end - start:
        return data[: end - start], info
    return await _rest(requests, name, key, start, end, data, info), info


async def _rest(
    requests: Requests, name: str, key: str, start: int, end: int, first: Buffer, info: ObjectInfo
) -> bytearray:
    """The whole range, given its beginning; the other pieces must be of the same version."""
    part = requests.config.read_part_size
    assert info.version is not None
    if_match = header_of(info.version, requests.quirks)
    whole = bytearray(end - start)
    whole[: len(first)] = first
    slots = asyncio.Semaphore(requests.config.concurrent_parts)

    async def fetch(offset: int) -> None:
        async with slots:
            until = min(offset + part, end)
            data, _ = await _piece(requests, name, key, Range(offset, until), if_match)
            if len(data) != until - offset:
                raise Unavailable(
                    f"object {key!r}: the server sent {len(data)} of {until - offset} bytes", key=key
                )
            whole[offset - start : until - start] = data

    await _all([fetch(offset) for offset in range(start + len(first), end, part)], key)
    return whole


async def _all(fetches: Sequence[object], key: str) -> None:
    """Run all; the first failure cancels the others."""
    try:
        async with asyncio.TaskGroup() as group:
            for fetch in fetches:
                group.create_task(fetch)  # type: ignore[arg-type]
    except* VersionMismatch:
        raise Unavailable(
            f"object {key!r} was overwritten while it was read in parts; read it again", key=key
        ) from None
    except* Exception as group:
        raise group.exceptions[0] from None


async def _piece(
    requests: Requests, name: str, key: str, byte_range: ByteRange, if_match: str | None
) -> tuple[Buffer, ObjectInfo]:
    """One request's worth of an object."""
    wanted = _range_header(byte_range, key)

    async def get(client: ObjectClient) -> tuple[Buffer, ObjectInfo]:
        reply = await client.get(name, wanted, if_match)
        return _checked(reply, key, byte_range)

    size = byte_range.end - byte_range.start if isinstance(byte_range, Range) else 0
    data, info = await requests.run(get, key, size=size)
    return data, info


def _checked(reply: Reply, key: str, byte_range: ByteRange) -> tuple[Buffer, ObjectInfo]:
    """The bytes that were asked for, complete."""
    headers, data = reply.headers, reply.body
    info = info_from(headers, key)
    if byte_range is not None and "content-range" not in headers:
        # The server ignored the range and sent everything.
        start, end = resolve_range(byte_range, info.size, key=key)
        data = data[start:end]
        expected = end - start
    elif byte_range is not None:
        start, end = resolve_range(byte_range, info.size, key=key)
        expected = end - start
    else:
        expected = info.size
    if len(data) != expected:
        raise ConnectionError(f"{len(data)} of {expected} bytes arrived")
    return data, info


def _range_header(byte_range: ByteRange, key: str) -> str | None:
    if byte_range is None:
        return None
    if isinstance(byte_range, Suffix):
        if byte_range.length <= 0:
            raise InvalidRange(f"suffix of {byte_range.length} bytes; ask for at least 1", key=key)
        return f"bytes=-{byte_range.length}"
    if isinstance(byte_range, From):
        if byte_range.offset < 0:
            raise InvalidRange(f"negative byte offset {byte_range.offset}", key=key)
        return f"bytes={byte_range.offset}-"
    if byte_range.start < 0 or byte_range.end <= byte_range.start:
        raise InvalidRange(f"empty or negative byte range {byte_range.start}..{byte_range.end}", key=key)
    return f"bytes={byte_range.start}-{byte_range.end - 1}"
