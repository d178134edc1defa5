"""The operations of storage on Google Cloud Storage."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from attrs import evolve

from icechunk_core.clock import Clock
from icechunk_core.contract import (
    Buffer,
    ByteRange,
    Capabilities,
    Condition,
    DeleteResult,
    IfAbsent,
    ObjectInfo,
    Range,
    Version,
    hookimpl,
    joined,
)
from icechunk_core.contract.errors import (
    AlreadyExists,
    NotFound,
    ReadOnly,
    StorageConfigError,
    StorageError,
    Unavailable,
    VersionMismatch,
)
from icechunk_core.ids import IdSource, SystemIds
from icechunk_gcs._calls import Attempt, Calls
from icechunk_gcs._checksum import crc32c, damaged
from icechunk_gcs._config import GcsConfig
from icechunk_gcs._errors import AttemptFailed, names_the_object, no_bucket
from icechunk_gcs._large_reads import is_large, read_in_parts
from icechunk_gcs._operations import Operations
from icechunk_gcs._replies import (
    Reply,
    incomplete,
    page_of,
    read_reply,
    size_from_head,
    told_by_headers,
    told_by_json,
    version_from_upload,
)
from icechunk_gcs._requests import (
    Request,
    checked_name,
    delete_object,
    get_object,
    head_object,
    list_objects,
    upload_object,
    wanted_generation,
)
from icechunk_gcs._settings import settings_of
from icechunk_gcs._threads import settled
from icechunk_gcs.plugin import CAPABILITIES

__all__ = ["GcsStorage"]

T = TypeVar("T")

_PAGE = 1000
_ONE_REQUEST = 256 << 20
"""Conditional puts up to this size take one request: emulators ignore the conditions of others."""


class GcsStorage:
    """A prefix of a bucket. Usable from any number of threads and event loops."""

    def __init__(self, config: GcsConfig, *, clock: Clock | None = None, ids: IdSource | None = None) -> None:
        self._settings = settings_of(config)
        self._config = self._settings.config
        self._ids: IdSource = ids if ids is not None else SystemIds()
        self._calls = Calls(self._settings, clock, self._ids)
        self._bucket_seen = False

    @hookimpl
    def capabilities(self) -> Capabilities:
        return evolve(CAPABILITIES, read_only=self._config.read_only)

    # --- reading

    @hookimpl
    async def get_range(
        self, key: str, byte_range: ByteRange, if_version: Version | None
    ) -> tuple[Buffer, ObjectInfo]:
        self._calls.check_open()
        part = self._config.read_part_size
        if isinstance(byte_range, Range) and is_large(byte_range, part):
            return await read_in_parts(
                functools.partial(self._get, key),
                byte_range,
                if_version,
                size=part,
                parallel=self._config.concurrent_parts,
            )
        return await self._get(key, byte_range, if_version)

    async def _get(
        self, key: str, byte_range: ByteRange, if_version: Version | None
    ) -> tuple[Buffer, ObjectInfo]:
        name = self._name(key)
        request = get_object(self._config.bucket, key, name, byte_range, if_version, xml=self._settings.xml)
        described = head_object(self._config.bucket, name, xml=False)
        size = byte_range.end - byte_range.start if isinstance(byte_range, Range) else None

        async def attempt() -> tuple[Buffer, ObjectInfo]:
            reply = await self._calls.plain(request, key, size)
            data, whole = read_reply(key, byte_range, reply)
            if byte_range is None and damaged(data, reply.headers):
                raise Unavailable(f"object {key!r}: the bytes that came do not fit their checksum", key=key)
            if incomplete(reply):  # some emulators'
                about = await self._calls.plain(described, key, 0)
                info = told_by_json(key, about.told)
                if info.size != whole:
                    raise Unavailable(f"object {key!r} was replaced while it was read", key=key)
                return data, info
            return data, told_by_headers(key, reply, whole)

        data, info = await self._found(key, attempt)
        if if_version is not None and info.version != if_version:  # emulators ignore the condition
            raise VersionMismatch(f"object {key!r} has another version than {if_version.token}", key=key)
        return data, info

    @hookimpl
    async def head(self, key: str) -> ObjectInfo:
        self._calls.check_open()
        name = self._name(key)
        request = head_object(self._config.bucket, name, xml=self._settings.xml)

        async def attempt() -> ObjectInfo:
            reply = await self._calls.plain(request, key, 0)
            if self._settings.xml:
                return told_by_headers(key, reply, size_from_head(key, reply))
            return told_by_json(key, reply.told)

        return await self._found(key, attempt)

    async def _found(self, key: str, attempt: Attempt[T]) -> T:
        """A read's result; where nothing is found, whether the bucket is there is looked up once."""
        try:
            found = await self._calls.repeated(attempt)
        except NotFound as error:
            if not self._bucket_seen and not names_the_object(error):
                self._calls.check_open()
                await self._look_for_bucket()
            raise
        self._bucket_seen = True
        return found

    async def _look_for_bucket(self) -> None:
        """Some answers do not tell a missing bucket from a missing object.

        Raises
        ------
        StorageConfigError
            If it is missing.
        """
        try:
            await self._calls.plain(list_objects(self._config.bucket, "", None, None, 1), None, 0)
        except AttemptFailed as failed:
            if isinstance(failed.error, StorageConfigError):
                raise failed.error from failed.__cause__
            return  # not allowed to list, for example
        self._bucket_seen = True

    @hookimpl
    async def list(self, prefix: str, start_after: str | None) -> AsyncIterator[ObjectInfo]:
        self._calls.check_open()
        root = len(self._settings.object_name(""))
        beginning = self._settings.object_name(prefix)
        # The server's start is included; what is not wanted of it is left out below.
        start = None if start_after is None else self._settings.object_name(start_after)
        token: str | None = None
        while True:
            request = list_objects(self._config.bucket, beginning, start, token, _PAGE)

            async def attempt(request: Request = request) -> Reply:
                return await self._calls.plain(request, None, 0)

            page, token = page_of((await self._calls.repeated(attempt)).told)
            for name, info in page:
                if start is None or name.encode() > start.encode():
                    yield evolve(info, key=name[root:])
                    self._calls.check_open()
            if token is None:
                return

    # --- writing

    @hookimpl
    async def put(
        self,
        key: str,
        data: Sequence[Buffer],
        condition: Condition,
        metadata: Mapping[str, str] | None,
        content_type: str | None,
        storage_class: str | None,
    ) -> Version:
        self._check_writable()
        name = self._name(key)
        generation = wanted_generation(condition, key)
        size = sum([memoryview(each).nbytes for each in data])
        storage_class = storage_class or self._config.storage_class
        if size >= (self._config.resumable_from if generation is None else _ONE_REQUEST):
            whole = joined(data)

            async def attempt() -> Version:
                return await self._calls.client_call(
                    *(key, size, Operations.upload, name, whole, generation),
                    *(metadata, content_type, storage_class),
                )
        else:
            request = upload_object(
                self._config.bucket,
                name,
                data,
                generation=generation,
                metadata=metadata,
                content_type=content_type,
                storage_class=storage_class,
                kms_key_name=self._config.kms_key_name,
                acl=self._settings.acl,
                boundary=self._ids.write_id(),
                checksum=crc32c,
            )

            async def attempt() -> Version:
                reply = await self._calls.plain(request, key, size)
                return version_from_upload(key, reply.told)

        return await self._written(key, attempt, condition)

    async def _written(self, key: str, attempt: Attempt[Version], condition: Condition) -> Version:
        """A put's result, with the errors that its condition calls for."""
        conditional = wanted_generation(condition, key) is not None
        try:
            return await settled(self._calls.repeated(attempt, conditional=conditional))
        except VersionMismatch as error:
            if isinstance(condition, IfAbsent):
                raise AlreadyExists(f"there is an object {key!r} already", key=key) from error
            raise
        except NotFound as error:
            raise no_bucket(self._config.bucket, key) from error

    @hookimpl
    async def copy(self, source: str, target: str) -> Version:
        self._check_writable()
        names = self._name(source), self._name(target)

        async def attempt() -> Version:
            return await self._calls.client_call(source, None, Operations.copy, *names)

        return await settled(self._calls.repeated(attempt))

    @hookimpl
    async def delete(self, keys: Sequence[str]) -> Sequence[DeleteResult]:
        self._check_writable()
        gate = asyncio.Semaphore(self._config.concurrency)

        async def one(key: str) -> DeleteResult:
            async with gate:
                return await self._delete(key)

        return await settled(_all([one(key) for key in keys]))

    async def _delete(self, key: str) -> DeleteResult:
        async def attempt() -> None:
            await self._calls.plain(request, key, 0)

        try:
            request = delete_object(self._config.bucket, self._name(key))
            await self._calls.repeated(attempt)
        except NotFound:
            return DeleteResult(key)
        except StorageError as error:
            return DeleteResult(key, error)
        return DeleteResult(key)

    @hookimpl
    async def close(self) -> None:
        await self._calls.close()

    # --- checks

    def _name(self, key: str) -> str:
        return checked_name(key, self._settings.object_name(key))

    def _check_writable(self) -> None:
        self._calls.check_open()
        if self._config.read_only:
            raise ReadOnly(f"the storage on bucket {self._config.bucket!r} was opened read-only")


async def _all(jobs: Sequence[Coroutine[Any, Any, DeleteResult]]) -> list[DeleteResult]:
    return list(await asyncio.gather(*jobs))
