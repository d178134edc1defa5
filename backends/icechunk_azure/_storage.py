"""The operations of Azure storage."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import aiohttp
from attrs import evolve

from icechunk_azure._config import AzureConfig
from icechunk_azure._connections import Connections, environment_proxy
from icechunk_azure._deleting import delete_all
from icechunk_azure._errors import Explainer
from icechunk_azure._identity import Identity, Source, secrets_of
from icechunk_azure._lean import LeanWire
from icechunk_azure._listing import in_key_order
from icechunk_azure._location import Location, locate
from icechunk_azure._names import BlobNames, access_tier, encode_metadata, is_folder
from icechunk_azure._reading import Reader
from icechunk_azure._retry import Retrying
from icechunk_azure._sdk import LARGEST_PUT, SdkWire
from icechunk_azure._sources import described, source_of
from icechunk_azure._wire import NO_CONDITION, Entry, Facts, PutConditions, PutOptions, Wire
from icechunk_azure._writing import Writer
from icechunk_azure.plugin import CAPABILITIES
from icechunk_core.clock import Clock, SystemClock
from icechunk_core.contract import (
    Always,
    Buffer,
    ByteRange,
    Capabilities,
    Condition,
    DeleteResult,
    IfAbsent,
    IfVersion,
    KeySpace,
    ObjectInfo,
    RetryPolicy,
    Version,
    hookimpl,
    within,
)
from icechunk_core.contract.errors import (
    AlreadyExists,
    Closed,
    NotFound,
    PermissionDenied,
    ReadOnly,
    Unauthenticated,
    Unsupported,
    VersionMismatch,
)
from icechunk_core.ids import IdSource, SystemIds

__all__ = ["AzureStorage", "make_storage"]

T = TypeVar("T")

_TOKEN = re.compile(r"[!#-~]+")
_DELETES = 32
"""Deletes that are under way at once."""
_LARGEST_COPY = 256 << 20
"""Bytes of the largest blob that the service copies within one request."""


def make_storage(config: AzureConfig) -> AzureStorage:
    """The backend object for a configuration; no request is sent.

    Raises
    ------
    StorageConfigError
        If the configuration, completed from the environment, leads nowhere.
    """
    return AzureStorage(config, locate(config, os.environ))


class AzureStorage:
    """A container, or the part of it below a prefix."""

    def __init__(
        self,
        config: AzureConfig,
        location: Location,
        *,
        source: Source | None = None,
        clock: Clock | None = None,
        ids: IdSource | None = None,
    ) -> None:
        self._config = config
        self._location = location
        self._clock: Clock = clock if clock is not None else SystemClock()
        ids = ids if ids is not None else SystemIds()
        self._source = source if source is not None else source_of(location, self._clock)
        self._way = described(location.credentials)
        self._names = BlobNames(location.prefix)
        self._connections = Connections(config, self._make_wire)
        policy = RetryPolicy(config.max_attempts, config.first_wait, config.longest_wait, config.deadline)
        self._retrying = Retrying(policy, self._clock, ids)
        self._reader = Reader(self._run, config.part_size, config.parallel)
        single_put = config.single_put if config.lean else min(config.single_put, LARGEST_PUT)
        self._writer = Writer(self._run, ids, single_put, config.block_size, config.parallel)
        self._tier = access_tier(config.storage_class) if config.storage_class else None
        self._closed = False

    @hookimpl
    def capabilities(self) -> Capabilities:
        if self._config.read_only:
            return Capabilities(metadata=True, read_only=True, fork_safe=True, durable=True)
        if self._config.hierarchical:
            return evolve(CAPABILITIES, ordered_list=False, key_space=KeySpace.TREE)
        return CAPABILITIES

    # --- reading

    @hookimpl
    async def get_range(
        self, key: str, byte_range: ByteRange, if_version: Version | None
    ) -> tuple[Buffer, ObjectInfo]:
        self._check_open()
        name = self._names.name(key)
        etag = None if if_version is None else _etag(if_version, key)
        got = await self._reader.read(name, key, byte_range, etag)
        return got.data, _info(key, got.facts)

    @hookimpl
    async def head(self, key: str) -> ObjectInfo:
        self._check_open()
        name = self._names.name(key)
        return _info(key, await self._run(lambda wire: wire.head(name, key)))

    @hookimpl
    async def list(self, prefix: str, start_after: str | None) -> AsyncIterator[ObjectInfo]:
        self._check_open()
        if not self._names.may_begin(prefix):
            return
        async for entry in in_key_order(self._pages(self._names.start + prefix)):
            self._check_open()
            key = self._names.key(entry.name)
            if not entry.folder and (start_after is None or key > start_after):
                version = Version(entry.etag) if entry.etag else None
                yield ObjectInfo(key, entry.size, version, entry.last_modified, etag=entry.etag or None)

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
        name = self._names.name(key)
        options = PutOptions(
            _conditions(condition, key),
            encode_metadata(metadata) if metadata else None,
            content_type,
            access_tier(storage_class) if storage_class else self._tier,
        )
        try:
            return Version(await self._writer.write(name, key, data, options))
        except VersionMismatch as error:
            # The service's words for "there is one" depend on how the object is uploaded.
            if options.conditions.absent:
                raise AlreadyExists(error.message, key=key) from error
            raise

    @hookimpl
    async def delete(self, keys: Sequence[str]) -> Sequence[DeleteResult]:
        self._check_writable()
        return await delete_all(keys, self._names, self._run, _DELETES)

    @hookimpl
    async def copy(self, source: str, target: str) -> Version:
        self._check_writable()
        found, name = self._names.name(source), self._names.name(target)
        facts = await self._run(lambda wire: wire.head(found, source))
        if facts.size <= _LARGEST_COPY:
            return Version(await self._run(lambda wire: wire.copy(found, name, source, self._tier)))
        got = await self._reader.read(found, source, None, facts.etag)
        options = PutOptions(NO_CONDITION, encode_metadata(got.facts.metadata) or None, None, self._tier)
        return Version(await self._writer.write(name, target, [got.data], options))

    @hookimpl
    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await self._connections.close()

    # --- requests

    async def _run(self, request: Callable[[Wire], Awaitable[T]], *, repeatable: bool = True) -> T:
        """Send requests with the current identity; with a new one if that is refused and can be renewed."""
        used: list[Identity] = []

        async def attempt() -> T:
            self._check_open()
            identity = await self._source.current()
            used.append(identity)
            return await request(await self._connections.wire(identity))

        async def repeated() -> T:
            total = self._config.total_timeout
            if total is None:
                return await self._retrying.run(attempt, repeatable=repeatable)
            return await within(total, lambda: self._retrying.run(attempt, repeatable=repeatable))

        try:
            return await repeated()
        except (Unauthenticated, PermissionDenied):
            if not self._source.renewable or not used:
                raise
            if await self._source.renewed(used[-1]) == used[-1]:
                raise
            return await repeated()

    async def _pages(self, prefix: str) -> AsyncIterator[Sequence[Entry]]:
        token: str | None = None
        while True:
            page, token = await self._run(partial(_page, prefix=prefix, after=token))
            yield page
            if not token:
                return

    def _make_wire(self, session: aiohttp.ClientSession, identity: Identity) -> Wire:
        explain = Explainer(
            str(self._location), self._location.host, self._way, secrets_of(identity), self._clock
        )
        proxy = environment_proxy(self._location.endpoint)
        sdk = SdkWire(self._location, self._config, session, identity, explain, self._clock, proxy)
        if not self._config.lean:
            return sdk
        return LeanWire(self._location, session, identity, explain, self._clock, sdk, proxy)

    # --- states

    def _check_open(self) -> None:
        if self._closed:
            raise Closed(f"the storage on {self._location} was closed; open it again")

    def _check_writable(self) -> None:
        self._check_open()
        if self._config.read_only:
            raise ReadOnly(f"the storage on {self._location} was opened read-only")


async def _page(wire: Wire, prefix: str, after: str | None) -> tuple[Sequence[Entry], str | None]:
    return await wire.page(prefix, after)


def _info(key: str, facts: Facts) -> ObjectInfo:
    if facts.metadata and is_folder(facts.metadata):
        raise NotFound(f"no object {key!r}; there is a folder of that name", key=key)
    return ObjectInfo(key, facts.size, Version(facts.etag), facts.last_modified, facts.metadata, facts.etag)


def _etag(version: Version, key: str) -> str:
    """The ETag of a version; one that cannot be an ETag is no object's version."""
    if not _TOKEN.fullmatch(version.token):
        raise VersionMismatch(f"object {key!r} has another version", key=key)
    return version.token


def _conditions(condition: Condition, key: str) -> PutConditions:
    if isinstance(condition, Always):
        return NO_CONDITION
    if isinstance(condition, IfAbsent):
        return PutConditions(absent=True)
    if isinstance(condition, IfVersion):
        return PutConditions(etag=_etag(condition.version, key))
    raise Unsupported(f"unknown condition {condition!r}; nothing was written", key=key)
