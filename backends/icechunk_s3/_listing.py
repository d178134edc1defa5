"""List objects in the order of their keys, page after page.

Where a server's own order is not that of the keys' bytes (SeaweedFS has ``a/b`` before ``a!``),
or is not known, the listing is asked for folder by folder. Within one folder an order by name
differs in one thing only: where a folder ``a/`` stands among siblings such as ``a!``. So it is
held back until they have passed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from attrs import frozen

from icechunk_core.contract import ObjectInfo, Version
from icechunk_s3._client import Client, Listed, Page
from icechunk_s3._keys import Names
from icechunk_s3._requests import Requests

__all__ = ["list_objects"]


@frozen
class _Folder:
    name: str


async def list_objects(
    requests: Requests, names: Names, prefix: str, start_after: str | None
) -> AsyncIterator[ObjectInfo]:
    """See `OperationHooks.list`."""
    after = None if start_after is None else names.root + start_after
    walk = _flat if requests.quirks.flat_listing else _by_folder
    async for entry in walk(requests, names.root + prefix, after):
        key = names.key_of(entry.name)
        if key is not None:
            version = Version(entry.etag) if entry.etag else None
            yield ObjectInfo(key, entry.size, version, entry.last_modified, {}, entry.etag or None)


async def _flat(requests: Requests, prefix: str, after: str | None) -> AsyncIterator[Listed]:
    async for page in _pages(requests, prefix, after, folders=False):
        for entry in page.objects:
            yield entry


async def _by_folder(requests: Requests, prefix: str, after: str | None) -> AsyncIterator[Listed]:
    async for entry in _level(requests, prefix):
        if isinstance(entry, Listed):
            if after is None or entry.name.encode() > after.encode():
                yield entry
        elif after is None or after.startswith(entry.name) or entry.name.encode() > after.encode():
            async for inner in _by_folder(requests, entry.name, after):
                yield inner


async def _level(requests: Requests, prefix: str) -> AsyncIterator[Listed | _Folder]:
    """The objects and folders right below a prefix, in the order of their names' bytes."""
    held: list[_Folder] = []
    async for page in _pages(requests, prefix, None, folders=True):
        entries: list[Listed | _Folder] = [
            *page.objects,
            *(_Folder(name) for name in page.folders if name != prefix),
        ]
        # As the server may sort them: a folder's slash does not count.
        for entry in sorted(entries, key=lambda each: each.name.removesuffix("/").encode()):
            while held and held[0].name.encode() < entry.name.encode():
                yield held.pop(0)
            if isinstance(entry, _Folder):
                held.append(entry)
                held.sort(key=lambda each: each.name.encode())
            else:
                yield entry
    for folder in held:
        yield folder


async def _pages(requests: Requests, prefix: str, after: str | None, *, folders: bool) -> AsyncIterator[Page]:
    token: str | None = None
    while True:

        async def request(client: Client, token: str | None = token) -> Page:
            return await client.list_page(prefix, None if token else after, token, folders=folders)

        page = await requests.run_full(request)
        yield page
        token = page.token
        if token is None:
            return
