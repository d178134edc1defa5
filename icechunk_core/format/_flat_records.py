"""Writing very many FlatBuffers tables of one shape as one numpy structured array.

A *record* is a table followed directly by its vector of u32 coordinates: fixed size, so a column of them
is filled field by field, without a Python object per table.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Field", "RecordShape", "coords_only", "record_shape"]

_VTABLE_OFFSET: Final = "vtable"
_INDEX: Final = "index"
_COUNT: Final = "count"
_COORDS: Final = "coords"


class Field(NamedTuple):
    """A field of the table: its name in the record, slot, and numpy type."""

    name: str
    slot: int
    dtype: str


class RecordShape(NamedTuple):
    """How a record looks, and the vtable of its table."""

    dtype: np.dtype[np.void]
    vtable: bytes
    coords_at: int

    def view(self, out: npt.NDArray[np.uint8], start: int, rows: int) -> npt.NDArray[np.void]:
        """The records of a finished buffer, for filling."""
        return np.ndarray((rows,), self.dtype, out.data, start)

    def fill_common(
        self, records: npt.NDArray[np.void], start: int, vtable: int, coords: npt.NDArray[np.uint32]
    ) -> None:
        """Write what all records have: distance to the vtable, and the coordinates."""
        rows, ndim = coords.shape
        positions = np.arange(rows, dtype=np.int64) * self.dtype.itemsize
        records[_VTABLE_OFFSET] = positions + (start - vtable)
        records[_INDEX] = self.coords_at - 4
        records[_COUNT] = ndim
        for dimension in range(ndim):
            records[_COORDS][:, dimension] = coords[:, dimension]

    def positions(self, start: int, rows: int) -> npt.NDArray[np.int64]:
        """Where each record's table starts."""
        return np.arange(start, start + rows * self.dtype.itemsize, self.dtype.itemsize, dtype=np.int64)


def record_shape(ndim: int, fields: Sequence[Field]) -> RecordShape:
    """Lay out a record: the coordinates in slot 0, and other fields.

    8-byte fields are aligned to 8, so records must start at multiples of 8 then; of 4 otherwise.
    """
    return _record_shape(ndim, tuple(fields))


@lru_cache(maxsize=256)
def _record_shape(ndim: int, fields: tuple[Field, ...]) -> RecordShape:
    names, formats, offsets = [_VTABLE_OFFSET, _INDEX], ["<i4", "<u4"], [0, 4]
    end = 8
    slots = {0: 4}
    wide = [field for field in fields if np.dtype(field.dtype).itemsize == 8]
    for field in wide + [field for field in fields if field not in wide]:
        names.append(field.name)
        formats.append(field.dtype)
        offsets.append(end)
        slots[field.slot] = end
        end += np.dtype(field.dtype).itemsize
    align = 8 if wide else 4
    coords_at = end
    itemsize = coords_at + 4 + 4 * ndim
    itemsize += -itemsize % align
    names += [_COUNT, _COORDS]
    formats += ["<u4", f"({ndim},)<u4"]
    offsets += [coords_at, coords_at + 4]
    count = max(slots) + 1
    entries = [slots.get(slot, 0) for slot in range(count)]
    vtable = struct.pack(f"<{count + 2}H", 4 + 2 * count, end, *entries)
    dtype = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": itemsize})
    return RecordShape(dtype, vtable, coords_at)


def coords_only(ndim: int) -> RecordShape:
    """The record of a table that has nothing but coordinates."""
    return record_shape(ndim, [])
