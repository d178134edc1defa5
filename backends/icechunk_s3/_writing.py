"""Write objects, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from icechunk_core.contract import Buffer, Condition, IfAbsent, IfVersion, Version, as_one
from icechunk_core.contract.errors import AlreadyExists, NotFound, VersionMismatch
from icechunk_s3._client import ObjectClient, WriteOptions
from icechunk_s3._conditions import with_condition
from icechunk_s3._multipart import upload
from icechunk_s3._requests import Requests

__all__ = ["write"]


async def write(
    requests: Requests,
    name: str,
    key: str,
    data: Sequence[Buffer],
    condition: Condition,
    metadata: Mapping[str, str] | None,
    content_type: str | None,
    storage_class: str | None,
) -> Version:
    """See `OperationHooks.put`."""
    options = WriteOptions(metadata=metadata or {}, content_type=content_type, storage_class=storage_class)
    options = with_condition(options, condition, requests.quirks, key)
    conditional = options.if_absent or options.if_match is not None
    size = sum([memoryview(each).nbytes for each in data])
    in_parts = size > requests.config.multipart_threshold
    if conditional and not requests.quirks.conditional_multipart:
        in_parts = False
    try:
        if in_parts:
            return Version(await upload(requests, name, key, as_one(data), options))

        async def put(client: ObjectClient) -> str:
            return await client.put(name, data, options)

        return Version(await requests.run(put, key, size=size, conditional=conditional))
    except VersionMismatch as error:
        if isinstance(condition, IfAbsent):
            raise AlreadyExists(
                f"there is an object {key!r} already; nothing was written", key=key
            ) from error
        raise
    except NotFound as error:
        if isinstance(condition, IfVersion):
            raise VersionMismatch(f"found no object under {key!r}; nothing was written", key=key) from error
        raise
