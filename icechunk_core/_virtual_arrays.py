"""Write arrays whose chunks are in other objects: metadata, references as columns, chunks given as bytes.

What VirtualiZarr and kerchunk references become before they reach a store. All that can be wrong is
looked at before the first write.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

import numpy as np
import zarr
from attrs import field, frozen
from numpy.typing import NDArray
from zarr.core.buffer import default_buffer_prototype
from zarr.core.chunk_key_encodings import DefaultChunkKeyEncoding
from zarr.core.metadata.v3 import ArrayV3Metadata
from zarr.storage import StorePath

from icechunk_core.clock import SystemClock, datetime_from_us
from icechunk_core.drive import run
from icechunk_core.errors import ErrorKind, InvalidInputError, ReadOnlyError
from icechunk_core.store import IcechunkStore
from icechunk_core.store.virtual import refs_from_columns, write_virtual_refs

__all__ = [
    "ArrayPlan",
    "Checksum",
    "GroupMode",
    "VirtualArray",
    "check_containers",
    "checksum_of",
    "open_group",
    "plan_append",
    "plan_new",
    "plan_region",
    "write_array",
]

GroupMode: TypeAlias = Literal["w", "w-", "a", "r+"]
Checksum: TypeAlias = "datetime | Literal[False] | None"

# Attributes without which numbers mean something else.
_MEANING = ("_FillValue", "missing_value", "scale_factor", "add_offset", "units", "calendar")
_SAME = ("data_type", "chunk_grid", "codecs", "fill_value", "dimension_names")


@frozen
class VirtualArray:
    """An array of Zarr format 3, and where its chunks are.

    Attributes
    ----------
    metadata
        With attributes and dimension names.
    coords
        Coordinates of the chunks in other objects, ``uint32[n, ndim]``.
    locations, offsets, lengths
        The URLs of their objects, and which bytes; an empty location is no chunk.
    inline
        Chunks whose bytes are given, encoded, by coordinates.
    """

    metadata: ArrayV3Metadata
    coords: NDArray[np.uint32]
    locations: Sequence[str]
    offsets: NDArray[np.uint64]
    lengths: NDArray[np.uint64]
    inline: Mapping[tuple[int, ...], bytes] = field(factory=dict)


@frozen
class ArrayPlan:
    """What is to be written for one array.

    Attributes
    ----------
    path
        In the store, without leading slash.
    document
        Its metadata; ``None`` leaves them as they are.
    shift
        By how many chunks the references are moved, per dimension.
    """

    path: str
    array: VirtualArray
    document: ArrayV3Metadata | None
    shift: tuple[int, ...]


def checksum_of(last_updated_at: Checksum) -> datetime | None:
    """The time that is recorded with references: by default now, and a second for the format's rounding."""
    if last_updated_at is None:
        return datetime_from_us(SystemClock().now_us()) + timedelta(seconds=1)
    return last_updated_at or None


def open_group(store: Any, path: str | None, mode: GroupMode) -> zarr.Group:
    """Open or create the group to write to.

    Raises
    ------
    InvalidInputError
        If ``store`` is no `IcechunkStore`.
    ReadOnlyError
        If it cannot be written to.
    """
    if not isinstance(store, IcechunkStore):
        raise InvalidInputError(
            f"references are written to the store of a session, not to a {type(store).__name__}"
        )
    if store.read_only:
        raise ReadOnlyError(
            "the store is read-only; get a writable one from Repository.writable_session(branch).store"
        )
    place = StorePath(store, (path or "").strip("/"))
    return zarr.open_group(place, mode=mode, zarr_format=3, use_consolidated=False)


def check_containers(store: IcechunkStore, arrays: Iterable[VirtualArray]) -> None:
    """Refuse references that nobody could read.

    Raises
    ------
    InvalidInputError
        Kind ``NO_CONTAINER_FOR_VIRTUAL_CHUNK`` if no virtual chunk container covers a location; says how
        to add one.
    """
    distinct = {location for array in arrays for location in array.locations if location}
    left_out = sorted(store._session.uncovered_locations(distinct))
    if left_out:
        prefix = left_out[0].rpartition("/")[0] + "/"
        raise InvalidInputError(
            f"no virtual chunk container covers {left_out[0]!r}"
            + (f" and {len(left_out) - 1} more locations" if left_out[1:] else "")
            + f". Add one, for example for {prefix!r}: config = repo.config; "
            "config.set_virtual_chunk_container(VirtualChunkContainer(prefix, store)); "
            "repo = repo.reopen(config); repo.save_config(); then write in a new session",
            kind=ErrorKind.NO_CONTAINER_FOR_VIRTUAL_CHUNK,
        )


def plan_new(group: zarr.Group, name: str, array: VirtualArray) -> ArrayPlan:
    """A new array, or the same one again.

    Raises
    ------
    InvalidInputError
        If there is another array of that name.
    """
    path = _path(group, name)
    there = group.get(name)
    if isinstance(there, zarr.Array):
        _check_same(path, array.metadata, there, free=())
    elif there is not None:
        raise _refused(path, "there is a group of that name")
    return ArrayPlan(path, array, array.metadata, (0,) * len(array.metadata.shape))


def plan_append(group: zarr.Group, name: str, array: VirtualArray, axis: int) -> ArrayPlan:
    """More chunks at the end of an array.

    Raises
    ------
    InvalidInputError
        If there is no such array, it is of another kind, or it does not end with a whole chunk.
    """
    path, there = _existing(group, name)
    _check_same(path, array.metadata, there, free=(axis,))
    length, chunk = there.shape[axis], there.chunks[axis]
    if length % chunk:
        raise _refused(
            path,
            f"it has {length} entries along the dimension to append to, in chunks of {chunk}: references "
            "begin with a whole chunk. Load this variable instead of referencing it (loadable_variables in "
            "VirtualiZarr)",
        )
    old: Any = there.metadata
    shape = list(there.shape)
    shape[axis] += array.metadata.shape[axis]
    shift = tuple(length // chunk if at == axis else 0 for at in range(len(shape)))
    return ArrayPlan(path, array, dataclasses.replace(old, shape=tuple(shape)), shift)


def plan_region(group: zarr.Group, name: str, array: VirtualArray, starts: Mapping[int, int]) -> ArrayPlan:
    """Chunks inside of an array, from ``starts`` (axis to index) on.

    Raises
    ------
    InvalidInputError
        If there is no such array, it is of another kind, or the region does not begin with a chunk or
        does not fit.
    """
    path, there = _existing(group, name)
    _check_same(path, array.metadata, there, free=tuple(starts))
    shift = [0] * len(there.shape)
    for axis, start in starts.items():
        chunk, size, end = there.chunks[axis], array.metadata.shape[axis], there.shape[axis]
        if start % chunk or start + size > end or (size % chunk and start + size != end):
            raise _refused(
                path, f"{start}:{start + size} of {end} along axis {axis} are not whole chunks of {chunk}"
            )
        shift[axis] = start // chunk
    return ArrayPlan(path, array, None, tuple(shift))


def write_array(store: IcechunkStore, plan: ArrayPlan, checksum: datetime | None) -> None:
    """Carry out a plan."""
    run(_write(store, plan, checksum), may_suspend=store._may_suspend)


async def _write(store: IcechunkStore, plan: ArrayPlan, checksum: datetime | None) -> None:
    prototype = default_buffer_prototype()
    if plan.document is not None:
        # Chunks have one place in this format, whatever the metadata called their keys.
        keyed = dataclasses.replace(plan.document, chunk_key_encoding=DefaultChunkKeyEncoding(separator="/"))
        await store.set(f"{plan.path}/zarr.json", keyed.to_buffer_dict(prototype)["zarr.json"])
    array = plan.array
    if len(array.locations):
        shift = np.array(plan.shift, dtype=np.uint32)
        refs = refs_from_columns(
            array.coords + shift, array.locations, array.offsets, array.lengths, checksum=checksum
        )
        if len(refs):
            await write_virtual_refs(store._session, f"/{plan.path}", refs, validate_container=False)
    for coords, data in array.inline.items():
        at = [index + by for index, by in zip(coords, plan.shift, strict=True)]
        key = "/".join([plan.path, "c", *map(str, at)])
        await store.set(key, prototype.buffer.from_bytes(data))


# --- checks


def _path(group: zarr.Group, name: str) -> str:
    return f"{group.path}/{name}".strip("/")


def _refused(path: str, why: str) -> InvalidInputError:
    return InvalidInputError(f"array {path!r}: {why}", kind=ErrorKind.INVALID_ARRAY_METADATA)


def _existing(group: zarr.Group, name: str) -> tuple[str, zarr.Array[Any]]:
    there = group.get(name)
    if not isinstance(there, zarr.Array):
        raise _refused(_path(group, name), "there is no such array to add chunks to")
    return _path(group, name), there


def _check_same(path: str, new: ArrayV3Metadata, there: zarr.Array[Any], *, free: Sequence[int]) -> None:
    """Raise unless the chunks of both mean the same; their shapes may differ along the free axes."""
    old: Any = there.metadata
    if len(old.shape) != len(new.shape) or any(
        a != b for axis, (a, b) in enumerate(zip(old.shape, new.shape, strict=True)) if axis not in free
    ):
        raise _refused(path, f"the shape {new.shape} does not fit the existing one, {old.shape}")
    before, after = _described(old), _described(new)
    different = [name for name in before if before[name] != after[name]]
    if different:
        name = different[0]
        raise _refused(
            path,
            f"its {name} would have to be {before[name]}, as it is in the repository, and not {after[name]}; "
            "mode='w' replaces what is there",
        )


def _described(metadata: ArrayV3Metadata) -> dict[str, str]:
    """What has to agree, as text: NaN differs from itself."""
    document = metadata.to_dict()
    found = {name: document.get(name) for name in _SAME}
    found.update({name: metadata.attributes.get(name) for name in _MEANING})
    return {name: json.dumps(value, sort_keys=True, default=_plain) for name, value in found.items()}


def _plain(value: Any) -> Any:
    if hasattr(value, "to_dict"):
        return value.to_dict()
    return value.item() if isinstance(value, np.generic) else str(value)
