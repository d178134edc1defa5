"""The operations of S3 storage."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from attrs import evolve

from icechunk_core.clock import Clock
from icechunk_core.contract import (
    AtomicityScope,
    Buffer,
    ByteRange,
    Capabilities,
    Condition,
    DeleteResult,
    ObjectInfo,
    Version,
    hookimpl,
)
from icechunk_core.contract.errors import (
    Closed,
    NotFound,
    PermissionDenied,
    ReadOnly,
    StorageError,
    Unsupported,
)
from icechunk_core.ids import IdSource
from icechunk_s3._client import ObjectClient, WriteOptions, info_from
from icechunk_s3._config import S3Config, TigrisConfig
from icechunk_s3._deleting import delete_objects
from icechunk_s3._keys import Names
from icechunk_s3._listing import list_objects
from icechunk_s3._reading import read_range
from icechunk_s3._requests import Requests
from icechunk_s3._writing import write
from icechunk_s3.plugin import CAPABILITIES

__all__ = ["S3Storage"]

_OLD_NAMES = ("/repo", "/config.yaml", "/refs/", "/snapshots/", "/manifests/", "/chunks/", "/transactions/")


async def _nothing(client: ObjectClient) -> None:
    """A request that is none."""


class S3Storage:
    """One bucket, or a prefix of it."""

    def __init__(self, config: S3Config, clock: Clock | None = None, ids: IdSource | None = None) -> None:
        weak = isinstance(config, TigrisConfig) and config.use_weak_consistency
        self._read_only = config.read_only or weak
        self._requests = Requests(config, clock, ids)
        self._names = self._known_names(config)
        self._answered = False

    @hookimpl
    def capabilities(self) -> Capabilities:
        quirks = self._requests.quirks
        if self._read_only:
            return evolve(
                CAPABILITIES,
                create=False,
                update=False,
                atomicity=AtomicityScope.NONE,
                copy=False,
                read_only=True,
            )
        atomicity = AtomicityScope.GLOBAL if quirks.create or quirks.update else AtomicityScope.NONE
        return evolve(
            CAPABILITIES,
            create=quirks.create,
            update=quirks.update,
            atomicity=atomicity,
            key_space=quirks.key_space,
        )

    @hookimpl
    async def get_range(
        self, key: str, byte_range: ByteRange, if_version: Version | None
    ) -> tuple[Buffer, ObjectInfo]:
        names = self._names or await self._find_names()
        found = await read_range(self._requests, names.of(key), key, byte_range, if_version)
        self._answered = True
        return found

    @hookimpl
    async def head(self, key: str) -> ObjectInfo:
        names = self._names or await self._find_names()
        name = names.of(key)
        try:
            reply = await self._requests.run(lambda client: client.head(name), key)
        except StorageError as error:
            if (
                error.retryable
                or isinstance(error, Closed)
                or (isinstance(error, NotFound) and self._answered)
            ):
                raise
            # Answers to HEAD do not say why; those to GET do.
            await self._requests.run(lambda client: client.get(name, "bytes=0-0", None), key)
            raise
        self._answered = True
        return info_from(reply.headers, key)

    @hookimpl
    async def list(self, prefix: str, start_after: str | None) -> AsyncIterator[ObjectInfo]:
        names = self._names or await self._find_names()
        async for info in list_objects(self._requests, names, prefix, start_after):
            yield info

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
        names = self._names or await self._find_names()
        version = await write(
            self._requests, names.of(key), key, data, condition, metadata, content_type, storage_class
        )
        self._answered = True
        return version

    @hookimpl
    async def delete(self, keys: Sequence[str]) -> Sequence[DeleteResult]:
        self._check_writable()
        names = self._names or await self._find_names()
        await self._requests.run(_nothing)  # tells when this storage was closed
        return await delete_objects(self._requests, names, keys)

    @hookimpl
    async def copy(self, source: str, target: str) -> Version:
        self._check_writable()
        names = self._names or await self._find_names()
        there, here = names.of(target), names.of(source)
        options = WriteOptions()
        return Version(
            await self._requests.run_full(lambda client: client.copy(here, there, options), source)
        )

    @hookimpl
    async def close(self) -> None:
        await self._requests.connections.close()

    def _check_writable(self) -> None:
        if self._read_only:
            raise ReadOnly("this S3 storage was opened read-only")

    # --- where the objects are

    def _known_names(self, config: S3Config) -> Names | None:
        if config.prefix:
            return Names(config.prefix + "/", self._requests.quirks.refused)
        if config.legacy_rooted_keys is None:
            return None
        return Names("/" if config.legacy_rooted_keys else "", self._requests.quirks.refused)

    async def _find_names(self) -> Names:
        """At the root of a bucket, whether the names begin with a slash, as old versions had it."""
        try:
            page = await self._requests.run_full(
                lambda client: client.list_page("/", None, None, folders=False, limit=1)
            )
            old = any(entry.name.startswith(_OLD_NAMES) for entry in page.objects)
        except (PermissionDenied, Unsupported):
            old = False  # where listing is not allowed, the usual names are assumed
        self._names = Names("/" if old else "", self._requests.quirks.refused)
        return self._names
