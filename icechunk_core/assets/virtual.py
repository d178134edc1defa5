"""Chunks that are parts of objects outside the repository (FORMAT.md, section 20).

A location belongs to the *container* with the longest matching URL prefix. Containers
are part of the stored configuration; nothing is read from one unless whoever opened the
repository authorised it. The bytes come through the backend plugin of the location's
scheme.

The format knows a few kinds of stores. For schemes of other plugins, and for storages that
are open already, whoever opens the repository authorises a prefix with a mapping of the
backend's options, or with the `Storage`: such a prefix needs no container.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from icechunk_core.assets.pack_config import PackConfig
from icechunk_core.assets.range_readers import CoalescingReader, DirectReader, RangeReader
from icechunk_core.assets.streams import Streams
from icechunk_core.clock import us_from_datetime
from icechunk_core.contract import Buffer, ByteRange, ObjectInfo, Storage, resolve_range
from icechunk_core.contract.io_stats import IoStats
from icechunk_core.contract.wrappers import observed
from icechunk_core.drive import child_safe, driven_directly, run
from icechunk_core.errors import (
    ErrorKind,
    IcechunkError,
    InvalidInputError,
    InvalidRange,
    NotFound,
    StorageError,
)
from icechunk_core.format.configuration import ObjectStoreConfig, RepositoryConfig
from icechunk_core.format.refs import VirtualRef

__all__ = ["VirtualChunks"]

_RELATIVE = "vcc://"

OpenContainer = Callable[[str, Any, Any], Storage]
"""Opens the storage at a URL prefix, given the container's store options and the credentials."""


class VirtualChunks:
    """Resolves and reads virtual refs.

    Parameters
    ----------
    config
        Where the containers are.
    authorized
        URL prefixes that may be read, and with which credentials, options or `Storage`.
    direct
        Whether callers cannot suspend (see `icechunk_core.drive`).
    open_container
        How to open a storage for a container.
    open_schemes
        URL schemes whose every bucket may be read without a container, and with which options.
    over_read
        Bytes that one request for several chunks may fetch in vain.
    """

    def __init__(
        self,
        config: RepositoryConfig,
        authorized: Mapping[str, Any],
        *,
        direct: bool,
        open_container: OpenContainer,
        open_schemes: Mapping[str, Any] | None = None,
        over_read: int = PackConfig().over_read_bytes,
    ) -> None:
        self._containers = config.effective_virtual_chunk_containers()
        self._authorized = {_with_slash(prefix): value for prefix, value in authorized.items()}
        self._schemes = dict(open_schemes or {})
        self._prefixes = {*self._containers, *(p for p, v in self._authorized.items() if _is_place(v))}
        # What begins with one of these is an URL, and covered: no need to find out by which of them.
        self._sure = tuple(
            [p for p in self._prefixes if p.partition("://")[2] and not p.startswith(_RELATIVE)]
        )
        self._direct = direct
        self._open = open_container
        self._lock = child_safe(threading.Lock())
        self._over_read = over_read
        self._opened_storages: dict[str, Storage] = {}
        self._stats: tuple[IoStats, ...] = ()
        self._storages: dict[str, tuple[Storage, RangeReader]] = {}

    def observed_by(self, *stats: IoStats) -> VirtualChunks:
        """The same containers and opened storages, observed by counters."""
        seen = object.__new__(VirtualChunks)
        seen.__dict__.update(self.__dict__)
        seen._stats = stats
        seen._storages = {}
        return seen

    # --- resolving

    def resolve(self, location: str) -> tuple[str, str]:
        """The URL prefix of the container, and the object's key below it.

        Raises
        ------
        InvalidInputError
            If no container covers the location.
        """
        url = self.absolute(location)
        best = self._longest(url, self._prefixes) or self._bucket_prefix(url)
        if not best:
            # "file:///ocean data/" and "file:///ocean%20data/" are the same place.
            decoded = self._longest(_decoded(url), map(_decoded, self._prefixes))
            if decoded:
                best = next(prefix for prefix in self._prefixes if _decoded(prefix) == decoded)
                return best, _decoded(url)[len(decoded) :]
        if not best:
            raise InvalidInputError(
                f"no virtual chunk container covers {location!r}; add one for its URL prefix to the "
                "repository's configuration (RepositoryConfig.set_virtual_chunk_container), or open a store "
                "with a StoreConfig that has a virtual_ref_config. Where the format has no kind of store for "
                "the scheme, authorise the prefix with options of its backend: "
                "authorize_virtual_chunk_access={prefix: {...}}",
                kind=ErrorKind.NO_CONTAINER_FOR_VIRTUAL_CHUNK,
            )
        rest = url[len(best) :]
        return best, _decoded(rest)

    @staticmethod
    def _longest(url: str, prefixes: Iterable[str]) -> str:
        """The longest of the prefixes that an URL begins with, or nothing."""
        return max((prefix for prefix in prefixes if url.startswith(prefix)), key=len, default="")

    def _bucket_prefix(self, url: str) -> str:
        """``scheme://bucket/`` if any bucket of that scheme may be read, else nothing."""
        scheme, _, rest = url.partition("://")
        bucket, slash, _ = rest.partition("/")
        return f"{scheme}://{bucket}/" if slash and bucket and scheme in self._schemes else ""

    def covers(self, location: str) -> bool:
        """Whether a container covers the location; `InvalidInputError` if it is no URL."""
        try:
            self.resolve(location)
        except InvalidInputError as error:
            if error.kind != ErrorKind.NO_CONTAINER_FOR_VIRTUAL_CHUNK:
                raise
            return False
        return True

    def uncovered(self, locations: Iterable[str]) -> set[str]:
        """Those locations that no container covers; `InvalidInputError` if one is no URL."""
        sure = self._sure
        # An empty one stands for chunks that are not there.
        unsure = [location for location in locations if location and not location.startswith(sure)]
        return {location for location in unsure if not self.covers(location)}

    def require_container(self, location: str) -> None:
        """Raise unless a container covers the location."""
        self.resolve(location)

    def absolute(self, location: str) -> str:
        """The URL of a location, which may be relative to a container (``vcc://name/key``).

        Raises
        ------
        InvalidInputError
            If it is no URL, or names a container that is not configured.
        """
        if not location.startswith(_RELATIVE):
            scheme, separator, rest = location.partition("://")
            if not separator or not rest:
                raise InvalidInputError(
                    f"virtual chunk location {location!r} is not a URL such as s3://bucket/key",
                    kind=ErrorKind.INVALID_VIRTUAL_REF,
                )
            return f"{scheme.lower()}://{rest}"
        name, _, key = location[len(_RELATIVE) :].partition("/")
        for prefix, container in self._containers.items():
            if container.name == name:
                return _with_slash(prefix) + key
        raise InvalidInputError(
            f"{location!r} names the virtual chunk container {name!r}, which is not configured; "
            "add a container of that name to the repository's configuration",
            kind=ErrorKind.NO_CONTAINER_FOR_VIRTUAL_CHUNK,
        )

    # --- reading

    async def read(self, ref: VirtualRef, byte_range: ByteRange) -> Buffer:
        """The bytes of a virtual chunk or a part of it.

        Raises
        ------
        InvalidInputError
            If no container covers the location, or it was not authorised.
        StorageError
            If the object is gone, was modified, or is too short.
        InvalidRange
            If the range does not fit the chunk.
        """
        start, end = (0, ref.length) if byte_range is None else resolve_range(byte_range, ref.length)
        prefix, key = self.resolve(ref.location)
        try:
            storage, reader = self._storage(prefix, ref.location)
        except StorageError as error:  # for example its plugin is missing
            raise _cannot_fetch(ref, error.message) from error
        try:
            reading = reader.read(key, ref.offset + start, ref.offset + end)
            if self._direct and storage.may_suspend and driven_directly():
                data, about = run(reading, may_suspend=True)
            else:
                data, about = await reading
        except (NotFound, InvalidRange) as error:
            raise _cannot_fetch(ref, error.message) from error
        except IcechunkError as error:
            raise _cannot_fetch(ref, f"{error.message} (container {prefix})") from error
        _check_unchanged(ref, about)
        if len(data) != end - start:
            raise _cannot_fetch(ref, f"the object ends after {len(data)} of {end - start} bytes")
        return data

    async def object_size(self, location: str) -> int:
        """Size in bytes of the object at a location.

        Raises
        ------
        InvalidInputError, StorageError
            As `read`.
        """
        prefix, key = self.resolve(location)
        try:
            storage, _ = self._storage(prefix, location)
            asking = storage.head(key)
            if self._direct and storage.may_suspend and driven_directly():
                return run(asking, may_suspend=True).size
            return (await asking).size
        except StorageError as error:
            raise StorageError(
                f"the size of {location!r} cannot be asked for: {error.message} (container {prefix})",
                kind=ErrorKind.VIRTUAL_CHUNK_FETCH,
            ) from error

    def _storage(self, prefix: str, location: str) -> tuple[Storage, RangeReader]:
        with self._lock:
            known = self._storages.get(prefix)
        if known is not None:
            return known
        with self._lock:
            storage = self._opened_storages.get(prefix)
        if storage is None:
            storage = self._open(prefix, *self._settings(prefix, location))
        return self._opened(prefix, storage)

    def _opened(self, prefix: str, storage: Storage) -> tuple[Storage, RangeReader]:
        with self._lock:
            storage = self._opened_storages.setdefault(prefix, storage)
        storage = observed(storage, *self._stats, place="virtual")
        # Nothing is read ahead: these objects may change, and what was fetched before would hide it.
        reader: RangeReader = DirectReader(storage, Streams(0))
        if storage.may_suspend:
            reader = CoalescingReader(storage, Streams(0), self._over_read, joins=False)
        with self._lock:
            return self._storages.setdefault(prefix, (storage, reader))

    def _settings(self, prefix: str, location: str) -> tuple[ObjectStoreConfig | None, Any]:
        """The container's store and the reader's credentials."""
        container = self._containers.get(prefix)
        if prefix in self._authorized:
            return (container.store if container is not None else None), self._authorized[prefix]
        if container is None:
            return None, self._schemes[prefix.partition("://")[0]]
        raise InvalidInputError(
            f"reading {location!r} is not authorised: pass "
            f"authorize_virtual_chunk_access={{{prefix!r}: {_example(prefix)}}} when opening the repository",
            kind=ErrorKind.UNAUTHORIZED_VIRTUAL_CHUNK_CONTAINER,
        )


def _decoded(url: str) -> str:
    """The path of an URL, or a part of one, as object stores know it."""
    return unquote(url.split("?", maxsplit=1)[0].split("#", maxsplit=1)[0])


def _is_place(authorized: Any) -> bool:
    """Whether a prefix was authorised with all that is needed to open it."""
    return isinstance(authorized, Mapping | Storage)


_EXAMPLES = {
    **dict.fromkeys(("s3", "tigris"), "s3_credentials(from_env=True)"),
    **dict.fromkeys(("gs", "gcs"), "gcs_credentials(from_env=True)"),
    **dict.fromkeys(("az", "azure", "abfs"), "azure_credentials(from_env=True)"),
    "file": "Credentials.LocalFileSystemAccess()",
    **dict.fromkeys(("http", "https"), "Credentials.HttpAccess()"),
}


def _example(prefix: str) -> str:
    """What to write for the credentials of a prefix."""
    return _EXAMPLES.get(prefix.partition("://")[0], "{...}")


def _with_slash(prefix: str) -> str:
    return prefix if prefix.endswith("/") else prefix + "/"


def _check_unchanged(ref: VirtualRef, about: ObjectInfo) -> None:
    if ref.etag is not None:
        if about.etag is not None and _bare(about.etag) != _bare(ref.etag):
            raise _modified(ref, "its ETag is another one")
        if about.etag is None:
            raise _modified(ref, "the storage has no ETags to compare with the recorded one")
    elif ref.last_modified is not None:
        newest = (ref.last_modified + 1) * 1_000_000
        if us_from_datetime(about.last_modified) >= newest:
            raise _modified(
                ref,
                "it is newer than the recorded time (a server that does not tell the time of modification "
                "counts as newer: for such a one record no time)",
            )


def _bare(etag: str) -> str:
    """An ETag without quotes and without the sign of a weak one."""
    return etag.removeprefix("W/").strip('"')


def _modified(ref: VirtualRef, why: str) -> StorageError:
    return StorageError(
        f"the object of virtual chunk {ref.location!r} changed since it was referenced: {why}; "
        "set the reference again",
        kind=ErrorKind.VIRTUAL_CHUNK_MODIFIED,
    )


def _cannot_fetch(ref: VirtualRef, why: str) -> StorageError:
    return StorageError(
        f"virtual chunk {ref.location!r} ({ref.length} bytes from {ref.offset}) cannot be read: {why}",
        kind=ErrorKind.VIRTUAL_CHUNK_FETCH,
    )
