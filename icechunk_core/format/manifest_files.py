"""What a snapshot knows about a manifest file (FORMAT.md, 6.3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias, overload

import numpy as np
import numpy.typing as npt

__all__ = ["ManifestFileInfo", "ManifestFiles"]

_ID_OF = itemgetter(0)
# After so many looks by id, an index pays.
_FEW_LOOKS = 16
_Columns: TypeAlias = "tuple[npt.NDArray[np.bytes_], npt.NDArray[Any], npt.NDArray[Any]]"


class ManifestFileInfo(NamedTuple):
    """A manifest of a snapshot.

    Attributes
    ----------
    id
        12 raw bytes.
    size_bytes
        Size of the object; readers fetch exactly that many bytes. 0: unknown.
    num_chunk_refs
        Refs of all its arrays together.
    """

    id: bytes
    size_bytes: int
    num_chunk_refs: int


class ManifestFiles(Sequence[ManifestFileInfo]):
    """The manifests of a snapshot, in the order of their ids; read from columns where they are looked at.

    >>> files = ManifestFiles.of([ManifestFileInfo(b"b" * 12, 80, 3), ManifestFileInfo(b"a" * 12, 90, 4)])
    >>> files[0].size_bytes, files.find(b"b" * 12).num_chunk_refs, files.find(b"c" * 12)
    (90, 3, None)
    """

    __slots__ = ("_columns", "_index", "_infos", "_looks")

    def __init__(self, infos: tuple[ManifestFileInfo, ...] | None, columns: _Columns | None) -> None:
        """Use `of` or `from_columns`."""
        self._infos = infos
        self._columns = columns
        self._index: dict[bytes, ManifestFileInfo] | None = None
        self._looks = 0

    @classmethod
    def of(cls, infos: Iterable[ManifestFileInfo]) -> ManifestFiles:
        """From values in any order."""
        return infos if isinstance(infos, ManifestFiles) else cls(tuple(sorted(infos, key=_ID_OF)), None)

    @classmethod
    def from_columns(
        cls, ids: npt.NDArray[np.bytes_], sizes: npt.NDArray[Any], counts: npt.NDArray[Any]
    ) -> ManifestFiles:
        """From columns in any order; the ids are of type ``S12``."""
        if bool(np.any(ids[1:] < ids[:-1])):
            order = np.argsort(ids, kind="stable")
            ids, sizes, counts = ids[order], sizes[order], counts[order]
        return cls(None, (ids, sizes, counts))

    def _all(self) -> tuple[ManifestFileInfo, ...]:
        if self._infos is None:
            assert self._columns is not None
            ids, sizes, counts = self._columns
            packed = ids.tobytes()
            split = [packed[at : at + 12] for at in range(0, len(packed), 12)]
            rows = zip(split, sizes.tolist(), counts.tolist(), strict=True)
            self._infos = tuple(map(tuple.__new__, repeat(ManifestFileInfo), rows))  # a faster `_make`
        return self._infos

    def find(self, id: bytes) -> ManifestFileInfo | None:
        """What is known about one of the manifests, None if it is not listed."""
        if self._index is None:
            self._looks += 1
            if self._columns is not None and self._looks <= _FEW_LOOKS:
                return self._search(id, *self._columns)
            self._index = {info.id: info for info in self._all()}
        return self._index.get(id)

    @staticmethod
    def _search(
        id: bytes, ids: npt.NDArray[np.bytes_], sizes: npt.NDArray[Any], counts: npt.NDArray[Any]
    ) -> ManifestFileInfo | None:
        wanted = np.array(id, "S12")
        row = int(ids.searchsorted(wanted, side="right")) - 1
        if row < 0 or ids[row] != wanted:
            return None
        return ManifestFileInfo(id, int(sizes[row]), int(counts[row]))

    def __len__(self) -> int:
        return len(self._all()) if self._columns is None else len(self._columns[0])

    @overload
    def __getitem__(self, place: int) -> ManifestFileInfo: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[ManifestFileInfo, ...]: ...

    def __getitem__(self, place: int | slice) -> ManifestFileInfo | tuple[ManifestFileInfo, ...]:
        return self._all()[place]

    def __iter__(self) -> Iterator[ManifestFileInfo]:
        return iter(self._all())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ManifestFiles | tuple | list):
            return self._all() == tuple(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<ManifestFiles: {len(self)} manifests>"
