"""Write kerchunk's references into a repository; needs ``icechunk-core[kerchunk]``.

kerchunk describes files in terms of Zarr format 2; the repository holds format 3. Chunks stay where and
as they are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from icechunk_core._kerchunk_arrays import arrays_of, groups_of
from icechunk_core._kerchunk_references import load_references
from icechunk_core._virtual_arrays import (
    Checksum,
    check_containers,
    checksum_of,
    open_group,
    plan_append,
    plan_new,
    write_array,
)
from icechunk_core.errors import ErrorKind, InvalidInputError

if TYPE_CHECKING:
    import zarr

    from icechunk_core._virtual_arrays import ArrayPlan, VirtualArray
    from icechunk_core.store import IcechunkStore

__all__ = ["from_kerchunk"]


def from_kerchunk(
    references: Mapping[str, Any] | str | os.PathLike[str],
    store: IcechunkStore,
    *,
    group: str | None = None,
    mode: Literal["w", "w-", "a"] | None = None,
    append_dim: str | None = None,
    base_url: str | None = None,
    validate_containers: bool = True,
    last_updated_at: Checksum = None,
    storage_options: Mapping[str, Any] | None = None,
) -> None:
    """Write a kerchunk reference set into a group of a writable session. It does not commit.

    Metadata becomes that of Zarr format 3, references become virtual chunks, and what the set holds
    itself becomes data of the repository. References to a whole file need its size, which is asked for.

    Parameters
    ----------
    references
        A dictionary (version 0 or 1), or the path or URL of a JSON file or Parquet directory.
    store
        ``session.store`` of a writable session.
    group
        Path of the group to write into, by default the root.
    mode
        ``"w-"`` (the default) fails if the group exists, ``"w"`` replaces it, ``"a"`` adds to it. With
        ``append_dim`` the group has to exist.
    append_dim
        Dimension along which the chunks are appended to what is there. Arrays without it are written
        again.
    base_url
        What paths that are no absolute ones are relative to, such as ``"s3://bucket/prefix/"``.
    validate_containers
        Refuse locations that no virtual chunk container covers.
    last_updated_at
        Reading fails if a file was modified after this time (stored in whole seconds); by default now.
        ``False`` records no time: changes are not noticed.
    storage_options
        Options of the storage backend, where ``references`` is a URL.

    Raises
    ------
    InvalidInputError
        If the references are malformed, a data type or codec has no counterpart in Zarr format 3, no
        container covers a location, or what is there does not fit. No array has been written then.
    ReadOnlyError
        If the store cannot be written to.

    Examples
    --------
    >>> from_kerchunk("references.json", session.store)  # doctest: +SKIP
    """
    loaded = load_references(references, storage_options)
    if append_dim is not None and mode in ("w", "w-"):
        raise InvalidInputError(f"append_dim adds to a group, which mode={mode!r} would not leave")
    opened = open_group(store, group, "r+" if append_dim is not None else mode or "w-")
    arrays = arrays_of(loaded, base_url, store)
    if validate_containers:
        check_containers(store, arrays.values())
    if append_dim is not None and not any(append_dim in _dims(array) for array in arrays.values()):
        raise InvalidInputError(f"no array of the references has a dimension {append_dim!r} to append along")
    plans = [_plan(opened, path, array, append_dim) for path, array in arrays.items()]
    for path, attributes in groups_of(loaded, arrays).items():
        there = opened.require_group(path) if path else opened
        there.update_attributes(attributes)
    checksum = checksum_of(last_updated_at)
    for plan in plans:
        write_array(store, plan, checksum)


def _dims(array: VirtualArray) -> tuple[str | None, ...]:
    return array.metadata.dimension_names or ()


def _plan(group: zarr.Group, path: str, array: VirtualArray, append_dim: str | None) -> ArrayPlan:
    if not path:
        raise InvalidInputError(
            "the references are those of one array without a group around it; begin its keys with a "
            "name, such as 'x/'",
            kind=ErrorKind.INVALID_VIRTUAL_REF,
        )
    dims = _dims(array)
    if append_dim is not None and append_dim in dims:
        return plan_append(group, path, array, dims.index(append_dim))
    return plan_new(group, path, array)
