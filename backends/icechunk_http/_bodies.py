"""Cut what was asked for out of an answer's body, and read no more than that."""

from __future__ import annotations

import aiohttp

from icechunk_core.contract import Buffer, ByteRange, resolve_range
from icechunk_core.contract.errors import Unavailable
from icechunk_core.contract.http_bodies import receive_body
from icechunk_http._answers import Extent

__all__ = ["read_part"]

_WORTH_READING = 256 * 1024
"""A rest of up to this many bytes is read, so that the connection can be used again."""


async def read_part(
    response: aiohttp.ClientResponse, extent: Extent, byte_range: ByteRange, key: str
) -> tuple[Buffer, int | None]:
    """The bytes of the range, and the object's size if the answer tells.

    A server that knows no ranges sends the object from its beginning: it is read up to the
    range's end, and cut.

    Raises
    ------
    InvalidRange
        If the range does not fit the object.
    Unavailable
        If the body is not what the headers say.
    """
    body: Buffer
    if extent.total is None:
        body = await response.read()
        if extent.end is None:  # the body is the whole object, of unknown length until now
            start, end = resolve_range(byte_range, len(body), key=key)
            return memoryview(body)[start:end], len(body)
        _check_length(body, extent.end - extent.start, key)
        return body, None
    start, end = resolve_range(byte_range, extent.total, key=key)
    assert extent.end is not None
    if not extent.start <= start <= end <= extent.end:
        raise Unavailable(
            f"object {key!r}: asked for bytes {start}..{end}, the server sent {extent.start}..{extent.end}",
            key=key,
        )
    if end == extent.end:
        body = await receive_body(response)
        _check_length(body, extent.end - extent.start, key)
    else:
        body = await response.content.readexactly(end - extent.start)
        if extent.end - end > _WORTH_READING:
            response.close()
        else:
            await response.read()
    return (body if start == extent.start else memoryview(body)[start - extent.start :]), extent.total


def _check_length(body: Buffer, expected: int, key: str) -> None:
    if len(body) != expected:
        raise Unavailable(
            f"object {key!r}: the server announced {expected} bytes and sent {len(body)}", key=key
        )
