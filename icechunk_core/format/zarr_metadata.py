"""What a repository needs to know from a node's ``zarr.json`` (FORMAT.md, section 10)."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from attrs import frozen

from icechunk_core.error_kinds import ErrorKind
from icechunk_core.errors import InvalidInputError

__all__ = ["NodeMetadata", "parse_node_metadata"]

_MAX_LENGTH = 2**64 - 1
_MAX_CHUNKS = 2**32 - 1


@frozen
class NodeMetadata:
    """The parts of a ``zarr.json`` that snapshots record.

    Attributes
    ----------
    is_array
        Array or group.
    shape, num_chunks
        Elements and chunks along each dimension; empty for groups.
    dimension_names
        One per dimension, None for unnamed ones; None if the metadata has none.
    """

    is_array: bool
    shape: tuple[int, ...] = ()
    num_chunks: tuple[int, ...] = ()
    dimension_names: tuple[str | None, ...] | None = None


_GROUP = NodeMetadata(is_array=False)


def parse_node_metadata(data: bytes, *, spec_version: int, path: str) -> NodeMetadata:
    """Read the ``zarr.json`` of a node. Nothing but what `NodeMetadata` holds is looked at.

    Parameters
    ----------
    data
        UTF-8 JSON, as the client wrote it.
    spec_version
        Of the repository; spec 1 knows only regular chunk grids.
    path
        Node path, for errors.

    Raises
    ------
    InvalidInputError
        No JSON, a missing or malformed field (kind ``bad-metadata``), or values that contradict each other
        or exceed what the format holds (kind ``invalid-array-metadata``).

    >>> parse_node_metadata(b'{"zarr_format": 3, "node_type": "group"}', spec_version=2, path="/").is_array
    False
    """
    try:
        metadata = json.loads(str(data, "utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _bad(path, f"not valid JSON: {error}") from error
    if not isinstance(metadata, dict):
        raise _bad(path, "not a JSON object")
    zarr_format = metadata.get("zarr_format", 3)
    if zarr_format != 3:
        raise _bad(path, f"zarr_format {zarr_format!r}; only zarr format 3 can be stored")
    node_type = metadata.get("node_type")
    if node_type == "group":
        return _GROUP
    if node_type != "array":
        raise _bad(path, f"node_type must be 'array' or 'group', not {node_type!r}")
    shape = _shape(metadata, path)
    num_chunks = _num_chunks(metadata, shape, spec_version, path)
    return NodeMetadata(True, shape, num_chunks, _dimension_names(metadata, len(shape), path))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _bad(path: str, problem: str) -> InvalidInputError:
    return InvalidInputError(f"zarr.json of {path}: {problem}", kind=ErrorKind.BAD_METADATA)


def _contradiction(path: str, problem: str) -> InvalidInputError:
    return InvalidInputError(f"zarr.json of {path}: {problem}", kind=ErrorKind.INVALID_ARRAY_METADATA)


def _is_length(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MAX_LENGTH


def _shape(metadata: dict[str, Any], path: str) -> tuple[int, ...]:
    shape = metadata.get("shape")
    if not isinstance(shape, list) or not all(map(_is_length, shape)):
        raise _bad(path, "shape must be a list of non-negative integers")
    return tuple(shape)


def _num_chunks(
    metadata: dict[str, Any], shape: tuple[int, ...], spec_version: int, path: str
) -> tuple[int, ...]:
    grid = metadata.get("chunk_grid")
    configuration = grid.get("configuration") if isinstance(grid, dict) else None
    if not isinstance(grid, dict) or not isinstance(configuration, dict):
        raise _bad(path, "chunk_grid must be an object with a name and a configuration")
    name = grid.get("name")
    if name == "regular":
        counts = _regular_counts(configuration, shape, spec_version, path)
    elif name == "rectilinear" and spec_version >= 2:
        counts = _rectilinear_counts(configuration, path)
    else:
        known = "'regular' and 'rectilinear'" if spec_version >= 2 else "'regular'"
        raise _bad(path, f"unsupported chunk grid {name!r}; spec version {spec_version} has {known}")
    if len(counts) != len(shape):
        raise _contradiction(path, f"chunk grid with {len(counts)} dimensions for a shape with {len(shape)}")
    if counts and max(counts) > _MAX_CHUNKS:
        raise _contradiction(
            path, f"{max(counts)} chunks along one dimension; the format holds {_MAX_CHUNKS}"
        )
    return tuple(counts)


def _regular_counts(
    configuration: dict[str, Any], shape: tuple[int, ...], spec_version: int, path: str
) -> list[int]:
    chunks = configuration.get("chunk_shape")
    if not isinstance(chunks, list) or not all(map(_is_length, chunks)):
        raise _bad(path, "chunk_shape must be a list of positive integers")
    if len(chunks) != len(shape):
        raise _contradiction(path, f"chunk_shape with {len(chunks)} dimensions for a shape with {len(shape)}")
    if spec_version < 2 and any(chunk == 0 < length for chunk, length in zip(chunks, shape, strict=True)):
        raise _contradiction(path, "chunk_shape has a 0 along a dimension that is not empty")
    return [-(-length // chunk) if chunk else 0 for length, chunk in zip(shape, chunks, strict=True)]


def _rectilinear_counts(configuration: dict[str, Any], path: str) -> list[int]:
    """Chunks per dimension: an element ``n`` is one chunk, ``[n, count]`` is ``count`` chunks."""
    sizes = configuration.get("chunk_shapes")
    if not isinstance(sizes, list) or not all(isinstance(dimension, list) for dimension in sizes):
        raise _bad(path, "chunk_shapes must be a list of lists")
    return [sum(_chunks_of(element, path) for element in dimension) for dimension in sizes]


def _chunks_of(element: Any, path: str) -> int:
    if _is_length(element):
        return 1
    if isinstance(element, list) and len(element) == 2 and all(map(_is_length, element)):
        return int(element[1])
    raise _bad(path, "chunk_shapes must hold sizes or pairs of size and count")


def _dimension_names(metadata: dict[str, Any], ndim: int, path: str) -> tuple[str | None, ...] | None:
    names = metadata.get("dimension_names")
    if names is None:
        return None
    if not isinstance(names, list) or not all(name is None or _is_text(name) for name in names):
        raise _bad(path, "dimension_names must be a list of strings and nulls")
    if len(names) != ndim:
        raise _contradiction(path, f"{len(names)} dimension_names for {ndim} dimensions")
    return tuple(name or None for name in names)


def _is_text(value: Any) -> bool:
    """Whether a value is text that UTF-8 can hold."""
    if not isinstance(value, str):
        return False
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
