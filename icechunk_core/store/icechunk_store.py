"""`IcechunkStore`: a session as a zarr store."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import Any, Literal

import numpy as np
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.core.buffer.cpu import Buffer as _CpuBuffer
from zarr.core.common import BytesLike
from zarr.core.sync import SyncMixin

from icechunk_core.assets.later import LATER, Later
from icechunk_core.assets.streams import Bytes
from icechunk_core.contract import Buffer as BytesBuffer
from icechunk_core.drive import blocking, gather, run
from icechunk_core.errors import (
    ErrorKind,
    IcechunkError,
    InvalidInputError,
    InvalidRange,
    ReadOnlyError,
    SessionStateError,
)
from icechunk_core.html import facts, page
from icechunk_core.ids import SystemIds
from icechunk_core.store import listing
from icechunk_core.store.byte_ranges import KeyRange, as_request, reads_nothing, slice_value, to_byte_range
from icechunk_core.store.chunk_iteration import ChunkIteration
from icechunk_core.store.face import SESSION_FACE, StoreControl
from icechunk_core.store.key_errors import naming_key
from icechunk_core.store.keys import V2_NAMES, normalize_directory, parse_key
from icechunk_core.store.partial_writes import parts_by_key, spliced
from icechunk_core.store.session_protocol import Coords, StoreSession
from icechunk_core.store.version_control import VersionControl, refuse_unknown
from icechunk_core.store.virtual_methods import VirtualRefMethods

__all__ = ["IcechunkStore"]

_BYTE = np.dtype("B")
_new = object.__new__
_IS_PLAIN = list(vars(_CpuBuffer(np.zeros(1, _BYTE)))) == ["_data"]
"""Whether a buffer of zarr's consists of its array, as it does up to now."""


class IcechunkStore(VersionControl, VirtualRefMethods, ChunkIteration, Store, SyncMixin):
    """The zarr store of a session: pass it wherever zarr or xarray take a store.

    Reads see the session's snapshot and its uncommitted changes; writes go into the
    session and become part of the history by ``session.commit``.

    Get one from ``session.store``, or from `open_or_create`, `open_existing` and `create`:
    those stores commit and check out by themselves.

    Parameters
    ----------
    store
        The session's side of the store (see `StoreSession`). Users do not call this constructor.
    read_only
        Refuse writes through this store. The store of a read-only session always does.
    control
        What depends on where the store came from.

    Notes
    -----
    A key that names nothing is *not found* on reading (``None``, ``False``) and refused on
    writing with an `InvalidInputError` that says why. All errors are `IcechunkError`,
    except that a size asked of a missing key is a `FileNotFoundError`, as zarr expects.

    Where the storage never suspends, the synchronous methods (``get_sync`` ...) need no
    event loop, and zarr's fused codec pipeline uses them.
    """

    _session: StoreSession
    _control: StoreControl
    _supports_sync_io: bool

    def __init__(
        self,
        store: StoreSession,
        read_only: bool | None = False,
        *args: Any,
        control: StoreControl = SESSION_FACE,
        **kwargs: Any,
    ) -> None:
        refuse_unknown("IcechunkStore", args, kwargs)
        super().__init__(read_only=bool(read_only))
        self._session = store
        self._control = control
        # zarr asks for this before it takes its synchronous path; on a storage that
        # suspends, its own event loop overlaps requests better than blocking threads do.
        self._supports_sync_io = not store.may_suspend

    @classmethod
    def from_session(cls, session: StoreSession, read_only: bool | None = None) -> IcechunkStore:
        """The store of a session, by the rules of ``session.store``."""
        return cls(session, bool(read_only), control=SESSION_FACE)

    @property
    def _may_suspend(self) -> bool:
        return self._session.may_suspend

    # --- identity

    @property
    def session(self) -> Any:
        """The session whose data this store shows."""
        return self._session.public_session()

    @property
    def read_only(self) -> bool:
        """Whether writes are refused, by this store or by its session (after a commit)."""
        return self._read_only or self._session.read_only

    def with_read_only(self, read_only: bool = False) -> IcechunkStore:
        """A store on the same session with its own ``read_only``.

        A store on a read-only session stays read-only.
        """
        return type(self)(self._session, read_only, control=self._control)

    def __eq__(self, value: object) -> bool:
        if not isinstance(value, IcechunkStore):
            return NotImplemented
        return self._session is value._session or bool(self._session == value._session)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        mode = "read-only" if self.read_only else "writable"
        return f"<IcechunkStore {mode} of {self._session!r}>"

    def __str__(self) -> str:
        return "icechunk://"

    def _repr_html_(self) -> str:
        mode = "read-only" if self.read_only else "writable"
        return page("IcechunkStore", facts([("mode", mode), ("session", self.session)]))

    def __reduce__(self) -> tuple[Callable[..., IcechunkStore], tuple[Any, ...]]:
        read_only = self._control.read_only_after_pickling(self._session, read_only=self._read_only)
        return _unpickle, (type(self), self._session, read_only, self._control, self._is_open)

    def __dask_tokenize__(self) -> tuple[str, str]:
        """What dask names arrays of this store by: the snapshot, or nothing lasting while it can change.

        So the arrays of two versions differ in name, those of one version agree, in all processes.
        """
        session = self.session
        shown = session.snapshot_id if session.read_only else SystemIds().object_id().hex()
        return type(self).__name__, shown

    # --- capabilities

    @property
    def supports_writes(self) -> bool:
        """True; whether writes are allowed now is ``read_only``."""
        return True

    @property
    def supports_deletes(self) -> bool:
        """True."""
        return True

    @property
    def supports_listing(self) -> bool:
        """True."""
        return True

    @property
    def supports_partial_writes(self) -> Literal[False]:
        """False: `set_partial_values` reads a value and writes it whole."""
        return False

    @property
    def supports_consolidated_metadata(self) -> bool:
        """False: a snapshot already holds all metadata in one object."""
        return False

    # --- reading

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """The value of a key or a part of it, or ``None`` if there is none.

        A range that ends past the value is clamped, one that holds no byte gives an empty
        buffer.

        Raises
        ------
        InvalidInputError
            If the byte range is negative, reversed or of another type.
        StorageError
            If the bytes cannot be had, naming the key and, of a virtual chunk, the location.
        """
        try:
            path, coords = parse_key(key)
        except InvalidInputError:
            return None
        try:
            data: BytesBuffer | Bytes | Later | None = LATER
            if byte_range is None and coords is not None:
                data = self._session.read_chunk_at_once(path, coords)
            if data is LATER:
                data = await self._read(path, coords, byte_range)
        except IcechunkError as error:
            raise naming_key(error, key) from error
        return None if data is None else _buffer(prototype, data)

    async def _read(
        self, path: str, coords: Coords | None, request: ByteRequest | None
    ) -> BytesBuffer | None:
        """All cases but the hot one, which is a whole chunk that is at hand."""
        if coords is None:
            document = await self._session.read_metadata(path)
            return None if document is None else slice_value(document, request)
        byte_range = None if request is None else to_byte_range(request)
        try:
            return await self._session.read_chunk(path, coords, byte_range)
        except InvalidRange:
            size = await self._session.chunk_size(path, coords)
            if size is None or reads_nothing(byte_range, size):
                return None if size is None else b""
            raise  # the stored object is shorter than its ref says

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, KeyRange]]
    ) -> builtins.list[Buffer | None]:
        """Several values or parts of values, in the order asked; ``None`` for missing keys.

        A range is a zarr byte request or a pair ``(start, length)``, of which ``None`` means
        from the beginning and to the end. So many are read at once as the configuration's
        ``get_partial_values_concurrency`` says.
        """
        requests = [(key, as_request(key_range)) for key, key_range in key_ranges]
        jobs = [
            lambda key=key, byte_range=byte_range: self.get(key, prototype, byte_range)
            for key, byte_range in requests
        ]
        session = self._session
        return await gather(jobs, may_suspend=session.may_suspend, limit=session.read_concurrency)

    async def exists(self, key: str) -> bool:
        """Whether a key has a value; chunks are looked up without reading them."""
        try:
            path, coords = parse_key(key)
        except InvalidInputError:
            return False
        if coords is None:
            return await self._session.get_node(path) is not None
        return await self._session.chunk_exists(path, coords)

    async def getsize(self, key: str) -> int:
        """Bytes of a value, without reading chunks.

        Raises
        ------
        FileNotFoundError
            If there is no value under the key.
        """
        size: int | None = None
        try:
            path, coords = parse_key(key)
        except InvalidInputError:
            raise FileNotFoundError(key) from None
        if coords is None:
            data = await self._session.read_metadata(path)
            size = None if data is None else len(data)
        else:
            size = await self._session.chunk_size(path, coords)
        if size is None:
            raise FileNotFoundError(key)
        return size

    async def getsize_prefix(self, prefix: str) -> int:
        """Bytes of all values in a directory and below it."""
        return await listing.size_under(self._session, normalize_directory(prefix))

    # --- writing

    def _check_writable(self) -> None:
        if self.read_only:
            raise ReadOnlyError(
                "store was opened in read-only mode and does not support writing; "
                + self._control.how_to_write,
                kind=ErrorKind.READ_ONLY_STORE,
            )

    async def set(self, key: str, value: Buffer) -> None:
        """Store metadata or a chunk in the session.

        Raises
        ------
        InvalidInputError
            If the key, the metadata or the chunk's place in the grid is invalid, or the
            chunk is empty; ``kind`` tells which.
        NodeNotFoundError
            If it is a chunk of an array that does not exist.
        ReadOnlyError
            If the store or its session is read-only.
        """
        if self._read_only or self._session.read_only:
            self._check_writable()
        path, coords, data = _checked_write(key, value)
        if coords is None or not self._session.write_chunk_at_once(path, coords, data):
            await self._write(path, coords, data)

    async def _write(self, path: str, coords: Coords | None, array: Bytes) -> None:
        """All cases but the hot one, which is a small chunk that nobody has to wait for."""
        data = memoryview(array)
        if coords is None:
            await _refuse_among_chunks(self._session, path)
            await self._session.write_metadata(path, bytes(data))
        else:
            await self._session.write_chunk(path, coords, data)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Store a value unless the key has one."""
        self._check_writable()
        if not await self.exists(key):
            await self.set(key, value)

    async def set_partial_values(self, key_start_values: Iterable[tuple[str, int, BytesLike]]) -> None:
        """Replace parts of values: from a position on, the given bytes.

        Each value is read, changed and written whole, so this saves no transfer. A value may
        grow at its end, and a new one begins at position 0. If a part is refused, nothing is
        written.

        Raises
        ------
        InvalidInputError
            If parts of a value overlap or would leave a gap, or as `set`.
        """
        self._check_writable()
        prototype = default_buffer_prototype()
        values: dict[str, Buffer] = {}
        for key, parts in parts_by_key(key_start_values).items():
            value = await self.get(key, prototype)
            whole = spliced(key, b"" if value is None else value.to_bytes(), parts)
            values[key] = prototype.buffer.from_bytes(whole)
        for key, buffer in values.items():
            await self.set(key, buffer)

    async def delete(self, key: str) -> None:
        """Delete a chunk, an array (by its metadata key), or a group with all below it.

        Nothing happens if the key has no value.
        """
        self._check_writable()
        try:
            path, coords = parse_key(key)
        except InvalidInputError:
            return
        if coords is None:
            await self._session.delete_node(path)
        else:
            await self._session.delete_chunk(path, coords)

    async def delete_dir(self, prefix: str) -> None:
        """Delete a group, an array, or the chunks whose coordinates begin as the prefix says."""
        self._check_writable()
        await listing.delete_under(self._session, normalize_directory(prefix))

    async def clear(self) -> None:
        """Delete everything from the session. The history keeps what was committed."""
        self._check_writable()
        await self._session.clear()

    sync_clear = blocking(clear)

    # --- listing

    async def is_empty(self, prefix: str) -> bool:
        """Whether there is no key in a directory or below it."""
        return not await listing.has_keys(self._session, normalize_directory(prefix))

    async def list(self) -> AsyncIterator[str]:
        """All keys."""
        async with aclosing(listing.keys_under(self._session, "")) as batches:
            async for keys in batches:
                for key in keys:
                    yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """All keys that begin with a prefix."""
        async with aclosing(listing.keys_with_prefix(self._session, prefix)) as batches:
            async for keys in batches:
                for key in keys:
                    yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Names of keys and directories directly in a directory."""
        directory = normalize_directory(prefix)
        async with aclosing(listing.names_in(self._session, directory)) as names:
            async for name in names:
                yield name

    # --- zarr's synchronous protocol

    def get_sync(
        self,
        key: str,
        *,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Blocking `get`."""
        try:
            path, coords = parse_key(key)
        except InvalidInputError:
            return None
        session = self._session
        try:
            data: BytesBuffer | Bytes | Later | None = LATER
            if byte_range is None and coords is not None:
                data = session.read_chunk_at_once(path, coords)
            if data is LATER:
                data = run(self._read(path, coords, byte_range), may_suspend=session.may_suspend)
        except IcechunkError as error:
            raise naming_key(error, key) from error
        return None if data is None else _buffer(prototype or default_buffer_prototype(), data)

    def set_sync(self, key: str, value: Buffer) -> None:
        """Blocking `set`."""
        if self._read_only or self._session.read_only:
            self._check_writable()
        path, coords, data = _checked_write(key, value)
        session = self._session
        if coords is None or not session.write_chunk_at_once(path, coords, data):
            run(self._write(path, coords, data), may_suspend=session.may_suspend)

    delete_sync = blocking(delete)


def _buffer(prototype: BufferPrototype, data: BytesBuffer | Bytes) -> Buffer:
    """zarr's buffer object for bytes, which it looks at."""
    kind = prototype.buffer
    array = data if type(data) is np.ndarray else np.frombuffer(data, _BYTE)
    if kind is not _CpuBuffer:
        return kind.from_array_like(array)
    if _IS_PLAIN:  # what its constructor does, without looking whether these are bytes
        made = _new(kind)
        made._data = array
        return made
    return kind(array)


def _checked_write(key: str, value: Buffer) -> tuple[str, Coords | None, Bytes]:
    """Where a value goes and its bytes, viewed, not copied."""
    # What encoders make is of this very class; to ask whether it is of any is slower.
    if type(value) is not _CpuBuffer and not isinstance(value, Buffer):
        raise TypeError(
            f"IcechunkStore.set(): `value` must be a Buffer instance. "
            f"Got an instance of {type(value)} instead."
        )
    try:
        path, coords = parse_key(key)
    except InvalidInputError as error:
        if key.rpartition("/")[2] in V2_NAMES:
            raise SessionStateError(str(error), kind=ErrorKind.UNIMPLEMENTED) from error
        raise
    # typed loosely by zarr; as a memoryview it would cost more than its copy
    data: Any = value.as_array_like()
    if type(data) is not np.ndarray:
        data = value.as_numpy_array()
    if coords is not None and not len(data):
        raise InvalidInputError(
            f"zero-length chunk {key!r}: an encoded chunk has at least one byte; to make a chunk read as "
            "fill values, delete its key",
            kind=ErrorKind.ZERO_LENGTH_CHUNK,
        )
    return path, coords, data


async def _refuse_among_chunks(session: StoreSession, path: str) -> None:
    """Refuse a node ``ARRAY/c...``: its keys would lie among the array's chunks."""
    if "/c" not in path:
        return
    segments = path.split("/")
    for at, segment in enumerate(segments):
        if segment == "c":
            owner = "/".join(segments[:at]) or "/"
            node = await session.get_node(owner)
            if node is not None and node.is_array:
                raise InvalidInputError(
                    f"no node can be at {path!r}: {owner!r} is an array and keeps its chunks there",
                    kind=ErrorKind.INVALID_PATH,
                )


def _unpickle(
    cls: type[IcechunkStore],
    session: StoreSession,
    read_only: bool,
    control: StoreControl,
    is_open: bool,
) -> IcechunkStore:
    store = cls(session, read_only, control=control)
    store._is_open = is_open
    return store
