"""Typed objects over a storage: snapshots, manifests, transaction logs and chunks, cached."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from functools import lru_cache, partial
from typing import Final, TypeVar

from icechunk_core.assets.cache import LoadingCache
from icechunk_core.assets.counted_cache import CountedCache
from icechunk_core.assets.later import LATER, Later
from icechunk_core.assets.pack_config import PackConfig
from icechunk_core.assets.range_readers import CoalescingReader, DirectReader, RangeReader
from icechunk_core.assets.settings import EngineSettings
from icechunk_core.assets.streams import Bytes, Streams
from icechunk_core.contract import ALWAYS, Buffer, ByteRange, Range, Storage, resolve_range
from icechunk_core.contract.io_stats import IoStats
from icechunk_core.drive import gather, in_thread, wait_for
from icechunk_core.errors import Corrupt, InvalidRange, NotFound, SnapshotObjectNotFound
from icechunk_core.format import base32, layout
from icechunk_core.format.chunk_refs import NativeRef
from icechunk_core.format.envelope import IMPLEMENTATION_NAME
from icechunk_core.format.manifest import Manifest, decode_manifest, encode_manifest
from icechunk_core.format.snapshot import ManifestFileInfo, Snapshot, decode_snapshot, encode_snapshot
from icechunk_core.format.transaction_log import (
    TransactionLog,
    decode_transaction_log,
    encode_transaction_log,
)

__all__ = ["MANY_REFS", "AssetManager"]

T = TypeVar("T")
MANY_REFS: Final = 1 << 14
"""Files about so many chunks are encoded in threads, if there is something to do beside that."""
_ENCODED_AHEAD = 3  # manifests in memory at a time
_WRITES_AT_ONCE = 16


class AssetManager:
    """Reads and writes the immutable objects of one repository.

    Objects never change, so they are cached by id, and shared by all sessions of a
    repository. (Spec 1 expiration rewrites a snapshot's *parent*; see `snapshot`.)
    """

    def __init__(
        self,
        storage: Storage,
        settings: EngineSettings,
        spec_version: int,
        packs: PackConfig | None = None,
    ) -> None:
        self.storage = storage
        self.settings = settings
        self.spec_version = spec_version
        self.may_suspend = storage.may_suspend
        suspends = storage.may_suspend
        self._snapshots: LoadingCache[Snapshot] | CountedCache[Snapshot] = LoadingCache(
            settings.snapshot_cache_nodes, lambda s: len(s.nodes), may_suspend=suspends
        )
        self._manifests: LoadingCache[Manifest] | CountedCache[Manifest] = LoadingCache(
            settings.manifest_cache_refs, lambda m: m.num_chunk_refs, may_suspend=suspends
        )
        self._chunks: LoadingCache[bytes] | CountedCache[bytes] = LoadingCache(
            settings.chunk_cache_bytes, len, may_suspend=suspends
        )
        self._caches_chunks = settings.chunk_cache_bytes > 0
        packs = packs or PackConfig()
        self._over_read = packs.over_read_bytes
        self._reader = _make_reader(storage, packs)

    def observed_by(self, storage: Storage, *stats: IoStats) -> AssetManager:
        """The same assets and caches, reached through the same storage as it is observed by counters."""
        seen = object.__new__(AssetManager)
        seen.__dict__.update(self.__dict__)
        seen.storage = storage
        seen._snapshots = CountedCache(self._snapshots, stats)
        seen._manifests = CountedCache(self._manifests, stats)
        seen._chunks = CountedCache(self._chunks, stats)
        seen._reader = self._reader.on(storage)
        return seen

    # --- reading

    async def snapshot(self, snapshot_id: bytes, *, fresh: bool = False) -> Snapshot:
        """A snapshot by id; ``fresh`` reads it again (spec 1: expiration may have moved its parent).

        Raises
        ------
        SnapshotObjectNotFound
            If there is none; a `SnapshotNotFoundError` and a `NotFound`.
        Corrupt
            If it is malformed.
        """
        if fresh:
            self._snapshots.discard(snapshot_id)
        return await self._snapshots.get(snapshot_id, lambda: self._load_snapshot(snapshot_id))

    async def _load_snapshot(self, snapshot_id: bytes) -> Snapshot:
        key = layout.snapshot_key(snapshot_id)
        try:
            data, _ = await self.storage.get_range_hook(key, None, None)
        except NotFound as error:
            raise SnapshotObjectNotFound(
                f"snapshot {base32.encode(snapshot_id)} does not exist at this location", key=key
            ) from error
        return decode_snapshot(data, name=key)

    async def manifest(self, manifest_id: bytes, size_bytes: int = 0) -> Manifest:
        """A manifest by id; ``size_bytes`` as recorded in the snapshot, 0 if unknown."""
        return await self._manifests.get(manifest_id, lambda: self._load_manifest(manifest_id, size_bytes))

    async def _load_manifest(self, manifest_id: bytes, size_bytes: int) -> Manifest:
        key = layout.manifest_key(manifest_id)
        wanted: ByteRange = Range(0, size_bytes) if size_bytes > 0 else None
        data = await self._required(key, wanted, "a snapshot refers to it")
        return decode_manifest(data, name=key)

    async def transaction_log(self, snapshot_id: bytes) -> TransactionLog | None:
        """The log of a snapshot; ``None`` where there is none (initial snapshot of spec 1)."""
        key = layout.transaction_key(snapshot_id)
        try:
            data, _ = await self.storage.get_range_hook(key, None, None)
        except NotFound:
            return None
        return decode_transaction_log(data, name=key)

    async def chunk(self, ref: NativeRef, byte_range: ByteRange) -> Buffer:
        """The payload of a native ref, or a part of it.

        Raises
        ------
        InvalidRange
            If the range does not fit the chunk.
        Corrupt
            If the chunk object is missing or too short.
        """
        length = ref.length
        if byte_range is None and not self._caches_chunks:  # the hot path
            return await self._read_chunk(ref.chunk_id, ref.offset, ref.offset + length)
        start, end = (0, length) if byte_range is None else resolve_range(byte_range, length)
        first = ref.offset + start
        if self._caches_chunks:
            return await self._cached_part(ref, start, end)
        return await self._read_chunk(ref.chunk_id, first, ref.offset + end)

    def chunk_at_once(self, ref: NativeRef) -> Bytes | Later:
        """The payload of a native ref, if nothing has to be waited for: `chunk` without a coroutine.

        Raises
        ------
        Corrupt
            As `chunk`.
        """
        if self._caches_chunks:
            return LATER
        chunk_id, start, length = ref
        key = _chunk_key(chunk_id)
        try:
            data = self._reader.at_once(key, start, start + length)
        except (NotFound, InvalidRange) as error:
            raise _broken_chunk(key, error.message) from error
        if data is LATER or len(data) == length:
            return data
        raise _broken_chunk(key, f"{length} bytes were expected at {start}, {len(data)} are there")

    @property
    def caches_chunks(self) -> bool:
        """Whether chunks are kept in a cache."""
        return self._caches_chunks

    async def part(self, chunk_id: bytes, start: int, end: int) -> Buffer:
        """Bytes of a chunk object in which several chunks may be; the cache of chunks is passed by.

        Raises
        ------
        Corrupt
            As `chunk`.
        """
        return await self._read_chunk(chunk_id, start, end)

    async def _cached_part(self, ref: NativeRef, start: int, end: int) -> Buffer:
        """A part of a chunk; the cache gets the whole chunk unless too much would be read in vain."""
        chunk_id, offset, length = ref
        if end - start + self._over_read < length and self._chunks.peek(ref) is None:
            ref = NativeRef(chunk_id, offset + start, end - start)
            start, end = 0, ref.length
        whole = await self._chunks.get(ref, lambda: self._load_chunk(ref))
        return memoryview(whole)[start:end]

    async def _load_chunk(self, ref: NativeRef) -> bytes:
        return bytes(await self._read_chunk(ref.chunk_id, ref.offset, ref.offset + ref.length))

    async def _read_chunk(self, chunk_id: bytes, start: int, end: int) -> Buffer:
        key = _chunk_key(chunk_id)
        try:
            data, _ = await self._reader.read(key, start, end)
        except (NotFound, InvalidRange) as error:
            raise _broken_chunk(key, error.message) from error
        if len(data) != end - start:
            raise _broken_chunk(key, f"{end - start} bytes were expected at {start}, {len(data)} are there")
        return data

    async def _required(self, key: str, byte_range: ByteRange, why: str) -> Buffer:
        try:
            data, _ = await self.storage.get_range_hook(key, byte_range, None)
        except (NotFound, InvalidRange) as error:
            raise Corrupt(f"missing or too short ({why}): {error.message}", object_name=key) from error
        return data

    # --- writing

    async def write_snapshot(self, snapshot: Snapshot) -> str:
        """Write a snapshot; gives its key."""
        key = layout.snapshot_key(snapshot.id)
        data = encode_snapshot(
            snapshot, spec_version=self.spec_version, level=self.settings.compression_level
        )
        await self._put_metadata_file(key, data, "snapshot")
        self._snapshots.put(snapshot.id, snapshot)
        return key

    async def write_manifest(self, manifest: Manifest) -> tuple[str, ManifestFileInfo]:
        """Write a manifest; gives its key and the entry for the snapshot."""
        return await self._put_manifest(manifest, self._encoded(manifest))

    async def write_manifests(self, manifests: Sequence[Manifest]) -> list[tuple[str, ManifestFileInfo]]:
        """Write several manifests at once; gives what `write_manifest` gives, in order.

        Large ones are encoded in threads: the next ones while one is written.
        """
        suspends = self.storage.may_suspend
        if len(manifests) < 2 or sum(manifest.num_chunk_refs for manifest in manifests) < MANY_REFS:
            jobs = [partial(self.write_manifest, manifest) for manifest in manifests]
            return await gather(jobs, may_suspend=suspends, limit=_WRITES_AT_ONCE)
        encoding: dict[int, Future[bytes]] = {}
        started = 0

        async def write(number: int) -> tuple[str, ManifestFileInfo]:
            nonlocal started
            while started < min(number + _ENCODED_AHEAD, len(manifests)):
                encoding[started] = in_thread(partial(self._encoded, manifests[started]))
                started += 1
            data = await wait_for(encoding.pop(number), may_suspend=suspends)
            return await self._put_manifest(manifests[number], data)

        try:
            writes = [partial(write, number) for number in range(len(manifests))]
            return await gather(writes, may_suspend=suspends, limit=_WRITES_AT_ONCE)
        finally:
            for future in encoding.values():
                future.cancel()

    def _encoded(self, manifest: Manifest) -> bytes:
        return encode_manifest(
            manifest,
            spec_version=self.spec_version,
            level=self.settings.compression_level,
            location_compression=self.settings.location_compression,
        )

    async def _put_manifest(self, manifest: Manifest, data: bytes) -> tuple[str, ManifestFileInfo]:
        key = layout.manifest_key(manifest.id)
        await self._put_metadata_file(key, data, "manifest")
        self._manifests.put(manifest.id, manifest)
        return key, ManifestFileInfo(manifest.id, len(data), manifest.num_chunk_refs)

    def encode_transaction_log(self, log: TransactionLog) -> bytes:
        """The content of a transaction log's file."""
        return encode_transaction_log(
            log, spec_version=self.spec_version, level=self.settings.compression_level
        )

    async def write_transaction_log(self, snapshot_id: bytes, data: bytes) -> str:
        """Write an encoded transaction log; gives its key."""
        key = layout.transaction_key(snapshot_id)
        await self._put_metadata_file(key, data, "transaction-log")
        return key

    async def _put_metadata_file(self, key: str, data: bytes, file_type: str) -> None:
        metadata = self.object_metadata(file_type)
        storage_class = self.settings.metadata_storage_class
        await self.storage.put_hook(key, [data], ALWAYS, metadata, None, storage_class)

    def object_metadata(self, file_type: str) -> dict[str, str] | None:
        """User metadata of a metadata file (FORMAT.md, section 11.4); ``None`` where there is none."""
        if not (self.settings.use_metadata and self.storage.capabilities.metadata):
            return None
        return {
            "icspecver": str(self.spec_version),
            "icclient": IMPLEMENTATION_NAME.decode().rstrip(),
            "icfiletype": file_type,
            "iccompalg": "zstd",
        }


# Neighbours in a pack have one key.
_chunk_key = lru_cache(maxsize=256)(layout.chunk_key)

_MOST_AHEAD_DIRECT = 256 << 10
"""Without a server to wait for, larger reads gain nothing."""


def _make_reader(storage: Storage, packs: PackConfig) -> RangeReader:
    """How chunks are read on a storage."""
    if storage.may_suspend:
        return CoalescingReader(storage, Streams(packs.read_ahead_bytes), packs.over_read_bytes)
    return DirectReader(storage, Streams(min(packs.read_ahead_bytes, _MOST_AHEAD_DIRECT)))


def _broken_chunk(key: str, why: str) -> Corrupt:
    return Corrupt(f"the chunk cannot be read: {why}", object_name=key)
