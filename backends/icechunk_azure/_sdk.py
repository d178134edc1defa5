"""The way through ``azure-storage-blob``."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
from azure.core import MatchConditions
from azure.core.credentials import AccessToken, AzureNamedKeyCredential, AzureSasCredential
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.blob import (
    BlobBlock,
    BlobProperties,
    BlobSasPermissions,
    ContentSettings,
    StandardBlobTier,
    generate_blob_sas,
)
from azure.storage.blob.aio import BlobClient, ContainerClient

from icechunk_azure._config import AzureConfig
from icechunk_azure._errors import FAILURES, Explainer
from icechunk_azure._identity import Bearer, Identity, SasToken, SharedKey
from icechunk_azure._location import Location
from icechunk_azure._names import decode_metadata, is_folder
from icechunk_azure._wire import Entry, Facts, Got, PutOptions
from icechunk_core.clock import Clock, datetime_from_us
from icechunk_core.contract import Buffer

__all__ = ["API_VERSION", "LARGEST_PUT", "SdkWire"]

API_VERSION = "2023-11-03"
"""Of the service's interface: old enough for every cloud and emulator, and the same on both ways."""

_WHOLE = 1 << 62

LARGEST_PUT = (1 << 20) - 1
"""Bytes of the largest blob that is one request here: the SDK hands over what it uploads as one
piece of memory, and aiohttp warns of larger ones, since they hold the event loop."""


class _FixedToken:
    """A bearer token as the SDK wants it; it is replaced together with the client."""

    def __init__(self, token: str, clock: Clock) -> None:
        self._token = token
        self._clock = clock

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return AccessToken(self._token, self._clock.now_us() // 1_000_000 + 3600)

    async def close(self) -> None:
        """Nothing is held."""

    async def __aenter__(self) -> _FixedToken:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()


def _credential(identity: Identity, clock: Clock) -> Any:
    if isinstance(identity, SharedKey):
        return AzureNamedKeyCredential(identity.account, identity.key)
    if isinstance(identity, SasToken):
        return AzureSasCredential(identity.token)
    if isinstance(identity, Bearer):
        return _FixedToken(identity.token, clock)
    return None


class SdkWire:
    """Single requests through the SDK's clients, whose own retries are off."""

    def __init__(
        self,
        location: Location,
        config: AzureConfig,
        session: aiohttp.ClientSession,
        identity: Identity,
        explain: Explainer,
        clock: Clock,
        proxy: str | None,
    ) -> None:
        self._location = location
        self._identity = identity
        self._explain = explain
        self._clock = clock
        self._lists_folders = config.hierarchical
        self._client = ContainerClient(
            location.endpoint,
            location.container,
            credential=_credential(identity, clock),
            transport=AioHttpTransport(
                session=session,
                session_owner=False,
                connection_timeout=config.connect_timeout,
                read_timeout=config.read_timeout,
            ),
            api_version=API_VERSION,
            user_agent=config.user_agent,
            proxies={"http": proxy, "https": proxy} if proxy else None,
            retry_total=0,
            # Each call is one request; what is large is divided above.
            max_single_get_size=_WHOLE,
            max_single_put_size=_WHOLE,
        )

    def _blob(self, name: str) -> BlobClient:
        return self._client.get_blob_client(name)

    # --- reading

    async def get(self, name: str, key: str, span: tuple[int, int | None] | None, etag: str | None) -> Got:
        options: dict[str, Any] = {}
        if span is not None:
            start, end = span
            options["offset"] = start
            if end is not None:
                options["length"] = end - start
        if etag is not None:
            options.update(etag=f'"{etag}"', match_condition=MatchConditions.IfNotModified)
        try:
            stream = await self._blob(name).download_blob(**options)
            data = await stream.readall()
            size = 0 if not data and span is None else int(stream.properties.content_range.rpartition("/")[2])
            return Got(data, _facts(stream.properties, size))
        except FAILURES as error:
            raise self._explain.exception(error, key) from None

    async def head(self, name: str, key: str) -> Facts:
        try:
            found = await self._blob(name).get_blob_properties()
        except FAILURES as error:
            raise self._explain.exception(error, key) from None
        return _facts(found, found.size)

    # --- writing

    async def put(self, name: str, key: str, data: Buffer, options: PutOptions) -> str:
        try:
            written = await self._blob(name).upload_blob(
                bytes(data),
                length=len(data),
                overwrite=not options.conditions.absent,
                **_put_options(options),
            )
        except FAILURES as error:
            raise self._explain.exception(error, key) from None
        return _plain(written["etag"])

    async def stage(self, name: str, key: str, block: str, data: bytes) -> None:
        try:
            await self._blob(name).stage_block(block, io.BytesIO(data), length=len(data))
        except FAILURES as error:
            raise self._explain.exception(error, key) from None

    async def commit(self, name: str, key: str, blocks: Sequence[str], options: PutOptions) -> str:
        given = _put_options(options)
        if options.conditions.absent:
            given["match_condition"] = MatchConditions.IfMissing
        try:
            written = await self._blob(name).commit_block_list(
                [BlobBlock(block) for block in blocks], **given
            )
        except FAILURES as error:
            raise self._explain.exception(error, key) from None
        return _plain(written["etag"])

    # --- listing, deleting, copying

    async def page(self, prefix: str, after: str | None) -> tuple[list[Entry], str | None]:
        include = ["metadata"] if self._lists_folders else None
        pages: Any = self._client.list_blobs(prefix or None, include=include).by_page(after)
        try:
            page = [_entry(blob) async for blob in await anext(pages)]
        except StopAsyncIteration:
            return [], None
        except FAILURES as error:
            raise self._explain.exception(error, None) from None
        return page, pages.continuation_token or None

    async def delete(self, name: str, key: str) -> None:
        try:
            await self._blob(name).delete_blob(delete_snapshots="include")
        except FAILURES as error:
            failed = self._explain.exception(error, key)
            if failed.code != "BlobNotFound":
                raise failed from None

    async def copy(self, source: str, target: str, key: str, tier: str | None) -> str:
        options: dict[str, Any] = {"standard_blob_tier": StandardBlobTier(tier)} if tier else {}
        url = self._blob(source).url
        if isinstance(self._identity, SharedKey):
            url += "?" + self._source_token(source, self._identity)
        elif isinstance(self._identity, Bearer):
            options["source_authorization"] = f"Bearer {self._identity.token}"
        elif isinstance(self._identity, SasToken) and "?" not in url:
            url += "?" + self._identity.token
        try:
            copied = await self._blob(target).start_copy_from_url(url, requires_sync=True, **options)
        except FAILURES as error:
            raise self._explain.exception(error, key) from None
        return _plain(copied["etag"])

    def _source_token(self, name: str, identity: SharedKey) -> str:
        """A SAS token that lets the service read one blob for a few minutes."""
        now = datetime_from_us(self._clock.now_us())
        return generate_blob_sas(
            self._location.account,
            self._location.container,
            name,
            account_key=identity.key,
            permission=BlobSasPermissions(read=True),
            start=now - timedelta(minutes=15),
            expiry=now + timedelta(minutes=30),
        )


def _put_options(options: PutOptions) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if options.conditions.etag is not None:
        given["etag"] = f'"{options.conditions.etag}"'
        given["match_condition"] = MatchConditions.IfNotModified
    if options.metadata:
        given["metadata"] = dict(options.metadata)
    if options.content_type:
        given["content_settings"] = ContentSettings(content_type=options.content_type)
    if options.tier:
        given["standard_blob_tier"] = StandardBlobTier(options.tier)
    return given


def _facts(found: BlobProperties, size: int) -> Facts:
    return Facts(
        size, _plain(found.etag), _moment(found.last_modified), decode_metadata(found.metadata or {})
    )


def _entry(found: BlobProperties) -> Entry:
    return Entry(
        str(found.name),
        found.size,
        _plain(found.etag),
        _moment(found.last_modified),
        is_folder(found.metadata or {}),
    )


def _plain(etag: object) -> str:
    return str(etag or "").strip('"')


def _moment(value: datetime | None) -> datetime:
    return value if value is not None else datetime.fromtimestamp(0, UTC)
