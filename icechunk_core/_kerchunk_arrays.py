"""Kerchunk's references as arrays whose chunks are in other objects."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from operator import lt, mul
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import define, evolve, field
from numpy.typing import NDArray
from zarr.core.metadata.v3 import ArrayV3Metadata

from icechunk_core._kerchunk_references import ParquetReferences, Reference, TextReferences, as_bytes
from icechunk_core._virtual_arrays import VirtualArray
from icechunk_core._zarr2_metadata import array_metadata_from_v2
from icechunk_core.drive import gather, run
from icechunk_core.errors import ErrorKind, InvalidInputError

if TYPE_CHECKING:
    from icechunk_core.store import IcechunkStore

__all__ = ["arrays_of", "groups_of", "location_of"]

_SCHEMES = {"gcs": "gs", "s3a": "s3", "local": "file"}


def groups_of(
    references: TextReferences | ParquetReferences, arrays: Iterable[str]
) -> dict[str, dict[str, Any]]:
    """The attributes of each group by path; the root is ``""``."""
    metadata = references.metadata()
    found: dict[str, dict[str, Any]] = {"": {}}
    known = set(arrays)
    for key, document in metadata.items():
        path, _, name = key.rpartition("/")
        if name == ".zgroup":
            found.setdefault(path, {})
        elif name == ".zattrs" and path not in known:
            found[path] = document
        elif name == "zarr.json" and document.get("node_type") == "group":
            found[path] = dict(document.get("attributes") or {})
    return found


def arrays_of(
    references: TextReferences | ParquetReferences, base_url: str | None, store: IcechunkStore
) -> dict[str, VirtualArray]:
    """All arrays by path.

    Raises
    ------
    InvalidInputError
        If metadata, a key or a reference is malformed.
    StorageError
        If the size of a file that is referenced as a whole cannot be learnt.
    """
    tables = _tables(references.metadata())
    if isinstance(references, ParquetReferences):
        for path, table in tables.items():
            for first, columns in references.columns(path, table.count):
                table.add_columns(first, columns)
    else:
        for key, ref in references.chunks():
            _table_of(tables, key).add(key, ref)
    places = _Places(base_url)
    found = {path: table.array(places) for path, table in tables.items()}
    return {path: _with_sizes(array, store) for path, array in found.items()}


def _malformed(why: str) -> InvalidInputError:
    return InvalidInputError(why, kind=ErrorKind.INVALID_VIRTUAL_REF)


def _tables(metadata: Mapping[str, dict[str, Any]]) -> dict[str, _Table]:
    tables: dict[str, _Table] = {}
    for key, document in metadata.items():
        path, _, name = key.rpartition("/")
        prefix = f"{path}/" if path else ""
        if name == ".zarray":
            converted = array_metadata_from_v2(path, document, metadata.get(f"{prefix}.zattrs", {}))
            tables[path] = _Table(prefix, converted, str(document.get("dimension_separator") or "."))
        elif name == "zarr.json" and document.get("node_type") == "array":
            read = ArrayV3Metadata.from_dict(dict(document))
            tables[path] = _Table(prefix, read, _separator(document))
    return tables


def _separator(document: Mapping[str, Any]) -> str:
    encoding = document.get("chunk_key_encoding") or {}
    usual = "." if encoding.get("name") == "v2" else "/"
    return str((encoding.get("configuration") or {}).get("separator") or usual)


def _table_of(tables: Mapping[str, _Table], key: str) -> _Table:
    """The table of the array that a chunk key is of: the nearest array above it."""
    path = key
    while path:
        path = path.rpartition("/")[0]
        if path in tables:
            return tables[path]
    raise _malformed(f"the reference {key!r} belongs to no array: there is no .zarray above it")


@define
class _Table:
    """The references of one array as they are collected; a length of 0 means a whole file."""

    prefix: str
    metadata: ArrayV3Metadata
    separator: str
    numbers: list[int] = field(factory=list)
    paths: list[str] = field(factory=list)
    offsets: list[int] = field(factory=list)
    lengths: list[int] = field(factory=list)
    inline: dict[tuple[int, ...], bytes] = field(factory=dict)
    grid: tuple[int, ...] = field(init=False)
    strides: tuple[int, ...] = field(init=False)

    def __attrs_post_init__(self) -> None:
        chunks: Any = self.metadata.chunks
        self.grid = tuple(-(-size // chunk) for size, chunk in zip(self.metadata.shape, chunks, strict=True))
        self.strides = tuple(math.prod(self.grid[axis + 1 :]) for axis in range(len(self.grid)))

    @property
    def count(self) -> int:
        """Number of chunks of the whole grid."""
        return math.prod(self.grid)

    def _coords(self, key: str) -> tuple[int, ...]:
        rest = key[len(self.prefix) :]
        if self.metadata.chunk_key_encoding.name == "default" and rest[:1] == "c":
            rest = rest[2:]
        if not self.grid:
            return ()
        try:
            coords = tuple(map(int, rest.split(self.separator)))
        except ValueError:
            coords = ()
        # There may be millions: the checks are made without a step in Python for each dimension.
        inside = len(coords) == len(self.grid) and all(map(lt, coords, self.grid)) and min(coords) >= 0
        if not inside:
            raise _malformed(f"{key!r} is no chunk of an array with a grid of {self.grid} chunks")
        return coords

    def add(self, key: str, ref: Reference) -> None:
        """One reference."""
        coords = self._coords(key)
        if isinstance(ref, list | tuple):
            if len(ref) not in (1, 3) or not isinstance(ref[0], str):
                raise _malformed(f"the reference {key!r} is neither [url] nor [url, offset, length]")
            self.numbers.append(sum(map(mul, coords, self.strides)))
            self.paths.append(ref[0])
            self.offsets.append(int(ref[1]) if len(ref) == 3 else 0)
            self.lengths.append(int(ref[2]) if len(ref) == 3 else 0)
        else:
            self._hold(coords, as_bytes(key, ref), key)

    def add_columns(self, first: int, columns: Mapping[str, Any]) -> None:
        """References of the chunks from a number on."""
        rows = len(next(iter(columns.values()), ()))
        raw = columns.get("raw", np.full(rows, None, dtype=object))
        for row in np.flatnonzero([isinstance(value, bytes | str) for value in raw]).tolist():
            coords = tuple(int(at) for at in np.unravel_index(first + row, self.grid)) if self.grid else ()
            self._hold(coords, as_bytes(self.prefix, raw[row]), self.prefix)
        paths = columns.get("path", np.full(rows, None, dtype=object))
        used = np.flatnonzero([isinstance(value, str) and bool(value) for value in paths])
        zeros = np.zeros(rows, dtype=np.int64)
        self.numbers += (used + first).tolist()
        self.paths += paths[used].tolist()
        self.offsets += columns.get("offset", zeros)[used].tolist()
        self.lengths += columns.get("size", zeros)[used].tolist()

    def _hold(self, coords: tuple[int, ...], data: bytes, key: str) -> None:
        if not data:
            raise _malformed(f"the reference {key!r} is empty; leave out chunks that do not exist")
        self.inline[coords] = data

    def array(self, places: _Places) -> VirtualArray:
        """All of it, as columns."""
        numbers = np.array(self.numbers, dtype=np.int64)
        coords = np.empty((len(numbers), len(self.grid)), dtype=np.uint32)
        if self.grid and len(numbers):
            coords[:] = np.stack(np.unravel_index(numbers, self.grid), axis=1)
        return VirtualArray(
            self.metadata, coords, places.urls(self.paths),
            _unsigned(self.offsets), _unsigned(self.lengths), self.inline,
        )  # fmt: skip


def _unsigned(values: Sequence[int]) -> NDArray[np.uint64]:
    if values and min(values) < 0:
        raise _malformed(f"offsets and lengths are not negative: {min(values)}")
    return np.array(values, dtype=np.uint64)


@define
class _Places:
    """Paths as URLs; there are far fewer files than chunks."""

    base_url: str | None
    _known: dict[str, str] = field(factory=dict)

    def urls(self, paths: Sequence[str]) -> list[str]:
        for path in dict.fromkeys(paths):
            if path not in self._known:
                self._known[path] = location_of(path, self.base_url)
        return [self._known[path] for path in paths]


def location_of(path: str, base_url: str | None = None) -> str:
    """The location of a virtual chunk for a path or URL as fsspec writes it.

    Raises
    ------
    InvalidInputError
        If it is a relative path and there is no base.

    >>> location_of("/data/day 1.nc"), location_of("s3a://bucket/50%.nc")
    ('file:///data/day%201.nc', 's3://bucket/50%25.nc')
    >>> location_of("day-1.nc", "gs://bucket/2026")
    'gs://bucket/2026/day-1.nc'
    """
    scheme, separator, rest = path.partition("://")
    if not separator:
        if path.startswith("/"):
            return PurePosixPath(path).as_uri()
        if base_url is None:
            raise _malformed(f"the path {path!r} is relative; say with base_url what to")
        return location_of(f"{base_url.rstrip('/')}/{path}")
    scheme = _SCHEMES.get(scheme.lower(), scheme.lower())
    if scheme in ("http", "https"):
        return f"{scheme}://{rest}"
    if scheme == "file":
        return PurePosixPath("/" + rest.lstrip("/")).as_uri()
    # fsspec takes the rest as the key; in a location these have a meaning.
    return f"{scheme}://" + rest.replace("%", "%25").replace("?", "%3F").replace("#", "%23")


def _with_sizes(array: VirtualArray, store: IcechunkStore) -> VirtualArray:
    """With the lengths of files that are referenced as a whole."""
    whole = np.flatnonzero(array.lengths == 0)
    if not len(whole):
        return array
    files = list(dict.fromkeys(array.locations[row] for row in whole.tolist()))
    session = store._session

    async def ask() -> list[int]:
        return await gather(
            [lambda each=each: session.virtual_object_size(each) for each in files],  # type: ignore[misc]
            may_suspend=store._may_suspend,
            limit=16,
        )

    sizes = dict(zip(files, run(ask(), may_suspend=store._may_suspend), strict=True))
    lengths = array.lengths.copy()
    ends = np.array([sizes[array.locations[row]] for row in whole.tolist()], dtype=np.uint64)
    lengths[whole] = ends - np.minimum(array.offsets[whole], ends)
    return evolve(array, lengths=lengths)
