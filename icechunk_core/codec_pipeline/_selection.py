"""What zarr asks of a pipeline, understood as a selection of one array in one session."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from attrs import define
from zarr.codecs import BytesCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer.cpu import Buffer, NDBuffer
from zarr.core.codec_pipeline import FusedCodecPipeline
from zarr.storage import StorePath

from icechunk_core.contract import Buffer as BytesBuffer
from icechunk_core.errors import InvalidInputError
from icechunk_core.session.bulk import BulkChunks
from icechunk_core.session.chunks import SessionChunks
from icechunk_core.store.icechunk_store import IcechunkStore
from icechunk_core.store.keys import parse_key

__all__ = ["Item", "Layout", "Selection", "as_selection", "zarr_buffer"]

Item = tuple[StorePath, ArraySpec, Any, Any, bool]
"""A chunk: where it is, how it is encoded, what of it is selected, the place of that, and if it is all."""

_SIMPLE_KINDS = "biufcmM"
_BYTE = np.dtype("B")


@define(eq=False)
class Layout:
    """How a chunk of a simple data type lies in memory, once compression is undone.

    Attributes
    ----------
    dtype
        With the byte order of the stored chunks.
    shape, size
        Of a chunk, in elements and in bytes.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    size: int


@define(eq=False)
class Selection:
    """Chunks of one array in one session.

    Attributes
    ----------
    store
        The store that zarr sees.
    chunks
        The session's chunks.
    path, coords
        The array, and each chunk's place in its grid.
    items
        What zarr wants of each.
    spec
        How all of them are encoded.
    decoded_size
        Bytes of each, once it is decoded.
    layout
        How they lie in memory; ``None`` if only the codecs know.
    """

    store: IcechunkStore
    chunks: BulkChunks
    path: str
    coords: list[tuple[int, ...]]
    items: Sequence[Item]
    spec: ArraySpec
    decoded_size: int
    layout: Layout | None


def as_selection(
    pipeline: FusedCodecPipeline, items: Sequence[Item], array: object, *, fewest: int
) -> Selection | None:
    """The selection that these items are; ``None`` if anything about them is not for us.

    Parameters
    ----------
    array
        What is read into or written from.
    fewest
        With fewer chunks, looking them up together costs more than it saves.
    """
    if len(items) < fewest or pipeline.sync_transform is None or pipeline.supports_partial_decode:
        return None
    first, spec = items[0][:2]
    store = first.store if type(first) is StorePath else None
    # Whoever derives a store from ours may want to see each of its chunks.
    if type(store) is not IcechunkStore or not isinstance(store._session, SessionChunks):
        return None
    prototype = spec.prototype
    if prototype.nd_buffer is not NDBuffer or prototype.buffer is not Buffer or type(array) is not NDBuffer:
        return None  # memory that numpy cannot reach
    if type(array.as_numpy_array()) is not np.ndarray:
        return None
    try:
        path, _ = parse_key(first.path)
        coords: list[tuple[int, ...]] = []
        for where, chunk_spec, _, _, _ in items:
            array_path, at = parse_key(where.path)
            if where.store is not store or chunk_spec is not spec or array_path != path or at is None:
                return None
            coords.append(at)
    except InvalidInputError:
        return None
    size = spec.dtype.to_native_dtype().itemsize * prod(spec.shape)
    return Selection(
        store, BulkChunks(store._session), path, coords, items, spec, size, _layout(pipeline, spec, size)
    )


def _layout(pipeline: FusedCodecPipeline, spec: ArraySpec, size: int) -> Layout | None:
    codec = pipeline.array_bytes_codec
    native = spec.dtype.to_native_dtype()
    if native.str[1:] in ("M8", "m8"):
        return None  # numpy does not swap the bytes of times without a unit
    if pipeline.array_array_codecs or type(codec) is not BytesCodec or native.kind not in _SIMPLE_KINDS:
        return None
    if codec.endian is not None:
        native = native.newbyteorder(codec.endian)
    elif native.itemsize > 1:
        return None
    return Layout(native, spec.shape, size)


def zarr_buffer(data: BytesBuffer | npt.NDArray[np.uint8]) -> Buffer:
    """zarr's buffer object for bytes, which it looks at."""
    return Buffer(np.frombuffer(data, _BYTE))
