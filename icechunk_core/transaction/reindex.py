"""Moving the chunks of an array by functions on their coordinates (FORMAT.md, section 16)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import index
from typing import Final, TypeAlias

import numpy as np

from icechunk_core.errors import ErrorKind, IcechunkError, InvalidInputError
from icechunk_core.format.manifest import ChunkRef
from icechunk_core.transaction.change_set import Coords
from icechunk_core.transaction.log_builder import coords_table

__all__ = ["Transform", "plan_reindex", "plan_shift", "require_regular_grid"]

Transform: TypeAlias = Callable[[Iterable[int]], Iterable[int] | None]
"""From chunk coordinates to others, or ``None``."""

_FAR: Final = 1 << 33


def require_regular_grid(path: str, user_data: bytes) -> None:
    """Refuse arrays whose chunks differ in size: a chunk fits only where it was written.

    Raises
    ------
    InvalidInputError
        If the array's metadata does not declare the grid ``regular``.
    """
    try:
        grid = json.loads(user_data)["chunk_grid"]
        name = grid["name"] if isinstance(grid, dict) else grid
    except (ValueError, KeyError, TypeError, RecursionError):
        name = None
    if name != "regular":
        raise InvalidInputError(
            f"cannot shift or reindex the chunks of {path!r}: its chunk grid is {name!r}, and only the "
            "chunks of a regular grid all have the same shape",
            kind=ErrorKind.UNKNOWN,
        )


def plan_shift(
    num_chunks: Sequence[int], chunks: Mapping[Coords, ChunkRef | None], offset: Sequence[int]
) -> dict[Coords, ChunkRef | None]:
    """The chunk changes of a shift by an offset; ``None`` clears a chunk.

    >>> plan_shift((3,), {(1,): "one", (2,): "two"}, (1,))
    {(1,): None, (2,): 'one'}
    """
    sources = coords_table(chunks, len(num_chunks)).astype(np.int64)
    limits = np.maximum(np.array(num_chunks, dtype=np.int64), 1)
    # Farther than the grid is as far as any: nothing can overflow.
    targets = sources + np.array([max(-_FAR, min(by, _FAR)) for by in offset], dtype=np.int64)
    inside = ((targets >= 0) & (targets < limits)).all(axis=1).tolist()
    placed = {
        target: ref
        for target, ref, stays in zip(map(tuple, targets.tolist()), chunks.values(), inside, strict=True)
        if stays
    }
    return {**{coords: None for coords in chunks if coords not in placed}, **placed}


def plan_reindex(
    path: str,
    num_chunks: Sequence[int],
    chunks: Mapping[Coords, ChunkRef | None],
    forward: Transform,
    backward: Transform | None,
) -> dict[Coords, ChunkRef | None]:
    """The chunk changes of a reindex; ``None`` clears a chunk.

    Every chunk (``None`` is one of fill values) is set again where ``forward`` sends it, or left where
    it is if that gives ``None``; of several that are sent to one place the last stays. With
    ``backward``, a chunk whose place comes from nowhere (``None``, or a place without chunk) is
    cleared, unless it is set.

    Raises
    ------
    InvalidInputError
        ``invalid-chunk-index``: a function gave coordinates that are not in the grid (for ``backward``,
        negative ones or the wrong number of them).
    IcechunkError
        A function failed; its own error is the cause.
    """
    cleared: dict[Coords, ChunkRef | None] = {}
    placed: dict[Coords, ChunkRef | None] = {}
    for coords, ref in chunks.items():
        if backward is not None:
            source = _ask(backward, coords, path)
            if source is not None and (len(source) != len(coords) or min(source, default=0) < 0):
                raise _outside(path, source)
            if source is None or chunks.get(source) is None:
                cleared[coords] = None
        target = _ask(forward, coords, path)
        if target is None:
            continue
        if not _in_grid(target, num_chunks):
            raise _outside(path, target)
        placed[target] = ref
    return {**cleared, **placed}


def _ask(function: Transform, coords: Coords, path: str) -> Coords | None:
    try:
        answer = function(list(coords))
    except Exception as error:
        raise IcechunkError(
            f"reindexing {path!r}: the function failed for chunk {coords}: {type(error).__name__}: {error}"
        ) from error
    if answer is None:
        return None
    try:
        return tuple([index(value) for value in answer])
    except TypeError as error:
        raise InvalidInputError(
            f"reindexing {path!r}: for chunk {coords} the function gave {answer!r}, which are not chunk "
            "coordinates; return a list of integers, or None",
            kind=ErrorKind.UNKNOWN,
        ) from error


def _in_grid(coords: Sequence[int], num_chunks: Sequence[int]) -> bool:
    if len(coords) != len(num_chunks):
        return False
    return all(0 <= at < (count or 1) for at, count in zip(coords, num_chunks, strict=True))


def _outside(path: str, coords: Sequence[int]) -> InvalidInputError:
    return InvalidInputError(
        f"reindexing {path!r}: chunk coordinates {list(coords)} are not in the array's grid",
        kind=ErrorKind.INVALID_CHUNK_INDEX,
    )
