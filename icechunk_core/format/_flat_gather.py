"""Reading the same slots of very many untrusted FlatBuffers tables at once.

`TableColumns` does for a vector of tables what `FlatTable` does for one, with numpy gathers instead of a
Python object per table, and with the same checks. Callers go through long vectors in blocks
(`BLOCK_ROWS`), so that temporary arrays stay small.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from icechunk_core.format._flat_reader import FlatBuffer

__all__ = ["BLOCK_ROWS", "Positions", "TableColumns"]

BLOCK_ROWS: Final = 1 << 16

Positions: TypeAlias = npt.NDArray[np.int64]


class TableColumns:
    """Slots of several tables.

    Parameters
    ----------
    buffer
        Where the tables are.
    positions
        Where each table starts, from `FlatTable.table_positions`.

    Raises
    ------
    Corrupt
        A vtable lies outside the buffer, or more content is referred to than the buffer can hold.
    """

    __slots__ = ("_buffer", "_lengths", "_positions", "_vtables", "_which")

    def __init__(self, buffer: FlatBuffer, positions: Positions) -> None:
        self._buffer = buffer
        self._positions = positions
        buffer.charge(16 * len(positions))
        vtables = positions - self._window("<i4", 4)[positions]
        # Nearly always all tables of a vector share one vtable.
        self._which: npt.NDArray[np.intp] | None = None
        if len(vtables) and not (vtables == vtables[0]).all():
            vtables, self._which = np.unique(vtables, return_inverse=True)
        else:
            vtables = vtables[:1]
        if ((vtables < 0) | (vtables > buffer.size - 4)).any():
            buffer.fail("vtable offset outside the buffer")
        lengths = self._window("<u2", 2)[vtables].astype(np.int64)
        if ((lengths < 4) | (lengths & 1 != 0) | (vtables + lengths > buffer.size)).any():
            buffer.fail("vtable with an impossible length")
        self._vtables = vtables
        self._lengths = lengths

    def _window(self, dtype: str, size: int) -> npt.NDArray[Any]:
        """The buffer as overlapping items that start at every byte."""
        count = max(self._buffer.size - size + 1, 0)
        return np.ndarray((count,), dtype, memoryview(self._buffer.data).toreadonly(), 0, (1,))

    def locate(self, slot: int, size: int) -> Positions | None:
        """Where each table keeps the slot's inline data of `size` bytes; -1 where absent.

        None if all tables lack it.
        """
        entries = np.zeros(len(self._vtables), dtype=np.int64)
        long_enough = self._lengths >= 6 + 2 * slot
        entries[long_enough] = self._window("<u2", 2)[self._vtables[long_enough] + (4 + 2 * slot)]
        if not entries.any():
            return None
        located: Positions
        if self._which is None:
            located = self._positions + entries[0]
        else:
            offsets = entries[self._which]
            located = np.where(offsets > 0, self._positions + offsets, -1)
        if int(located.max()) + size > self._buffer.size:
            self._buffer.fail(f"field {slot} of a table outside the buffer")
        return located

    def require(self, slot: int, size: int) -> Positions:
        """Like `locate`; `Corrupt` if any table lacks the slot."""
        located = self.locate(slot, size)
        if located is None:
            if len(self._positions):
                self._buffer.fail(f"required field {slot} of a table is absent")
            return self._positions
        if (located < 0).any():
            self._buffer.fail(f"required field {slot} of a table is absent")
        return located

    def numbers(self, located: Positions, dtype: str) -> npt.NDArray[Any]:
        """The numbers of type `dtype` at checked positions."""
        return self._window(dtype, np.dtype(dtype).itemsize)[located]

    def numbers_or_zero(self, slot: int, dtype: str) -> npt.NDArray[Any]:
        """The numbers of a slot, 0 where it is absent."""
        item_size = np.dtype(dtype).itemsize
        located = self.locate(slot, item_size)
        if located is None:
            return np.zeros(len(self._positions), dtype=dtype)
        present = located >= 0
        if present.all():
            return self.numbers(located, dtype)
        result = np.zeros(len(self._positions), dtype=dtype)
        result[present] = self.numbers(located[present], dtype)
        return result

    def structs(self, located: Positions, size: int) -> npt.NDArray[np.uint8]:
        """The structs at checked positions, as rows of bytes."""
        rows = self._window(f"V{size}", size)[located]
        return rows.view(np.uint8).reshape(len(located), size)

    def vectors(self, located: Positions, item_size: int) -> tuple[Positions, Positions]:
        """First byte and item count of the vectors that the offsets at checked positions lead to."""
        size = self._buffer.size
        heads = located + self.numbers(located, "<u4").astype(np.int64)
        if len(heads) and int(heads.max()) > size - 4:
            self._buffer.fail("vector offset outside the buffer")
        counts = self.numbers(heads, "<u4").astype(np.int64)
        heads += 4
        if (heads + counts * item_size > size).any():
            self._buffer.fail("a vector claims more items than there are")
        self._buffer.charge(4 * len(heads) + item_size * int(counts.sum()))
        return heads, counts

    def coordinates(self, slot: int, ndim: int, out: npt.NDArray[np.uint32]) -> None:
        """Read the required slot's vectors of `ndim` u32 each into `out` (``uint32[n, ndim]``)."""
        starts, counts = self.vectors(self.require(slot, 4), 4)
        if (counts != ndim).any():
            self._buffer.fail("chunk coordinates of different numbers of dimensions")
        for dimension in range(ndim):
            out[:, dimension] = self.numbers(starts + 4 * dimension, "<u4")
