"""Storages as VirtualiZarr's parsers read files from them: a few methods of the ``obspec`` protocols.

So whatever a plugin opens can be looked into, with the options that it has here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from attrs import frozen

from icechunk_core.contract import Buffer, ByteRange, From, Range, Storage
from icechunk_core.drive import gather, run
from icechunk_core.errors import InvalidInputError
from icechunk_core.plugins.urls import is_url
from icechunk_core.storage._containers import open_container

__all__ = ["ObjectReader", "folder_and_name", "registry_for", "url_of"]


def url_of(source: str | os.PathLike[str]) -> str:
    """The location of a file for virtual references: a URL as it is, a path as a ``file:`` URL.

    >>> url_of("/data/day 1.nc"), url_of("s3://bucket/day-1.nc")
    ('file:///data/day 1.nc', 's3://bucket/day-1.nc')
    """
    text = os.fspath(source)
    return text if is_url(text) else f"file://{Path(text).expanduser().absolute()}"


def folder_and_name(url: str) -> tuple[str, str]:
    """The URL of the folder of a file, with a slash at the end, and the file's name.

    Raises
    ------
    InvalidInputError
        If the URL names no file.
    """
    folder, slash, name = url.rpartition("/")
    if not slash or not name or folder.endswith("/"):
        raise InvalidInputError(f"{url!r} names no file in a folder, bucket or web server")
    return folder + slash, name


def registry_for(folder: str, storage_options: Mapping[str, Any] | None = None) -> Any:
    """VirtualiZarr's registry with the storage that a plugin opens at a folder's URL."""
    from obspec_utils.registry import ObjectStoreRegistry

    storage = open_container(folder, None, dict(storage_options or {}))
    return ObjectStoreRegistry({folder: ObjectReader(storage, urlsplit(folder).path.strip("/"))})


@frozen
class _Whole:
    data: Buffer

    def buffer(self) -> Buffer:
        return self.data


@frozen
class ObjectReader:
    """The objects of a storage. The methods are those of ``obspec``: Get, GetRange, GetRanges, Head.

    Attributes
    ----------
    prefix
        The path of the storage's root in URLs; VirtualiZarr takes it off.
    """

    storage: Storage
    prefix: str

    def head(self, path: str) -> dict[str, Any]:
        """What is known of an object."""
        about = run(self.storage.head(unquote(path)), may_suspend=self.storage.may_suspend)
        return {
            "path": path,
            "size": about.size,
            "last_modified": about.last_modified,
            "e_tag": about.etag,
            "version": None,
        }

    def get(self, path: str, *, options: Any = None) -> _Whole:
        """All of an object."""
        return _Whole(run(self._read(path, None), may_suspend=self.storage.may_suspend))

    def get_range(
        self, path: str, *, start: int, end: int | None = None, length: int | None = None
    ) -> Buffer:
        """A part of an object."""
        return run(self._read(path, _part(start, end, length)), may_suspend=self.storage.may_suspend)

    async def get_range_async(
        self, path: str, *, start: int, end: int | None = None, length: int | None = None
    ) -> Buffer:
        """A part of an object."""
        return await self._read(path, _part(start, end, length))

    def get_ranges(
        self,
        path: str,
        *,
        starts: Sequence[int],
        ends: Sequence[int] | None = None,
        lengths: Sequence[int] | None = None,
    ) -> list[Buffer]:
        """Several parts of an object."""
        nothing = [None] * len(starts)
        parts = [_part(*each) for each in zip(starts, ends or nothing, lengths or nothing, strict=True)]
        reading = gather(
            [lambda part=part: self._read(path, part) for part in parts],  # type: ignore[misc]
            may_suspend=self.storage.may_suspend,
        )
        return run(reading, may_suspend=self.storage.may_suspend)

    async def _read(self, path: str, part: ByteRange) -> Buffer:
        return (await self.storage.get_range(unquote(path), part))[0]


def _part(start: int, end: int | None, length: int | None) -> ByteRange:
    if end is None and length is None:
        return From(start)
    return Range(start, start + length if end is None and length is not None else int(end or 0))
