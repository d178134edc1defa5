"""Virtual datasets of VirtualiZarr: open and write them; needs ``icechunk-core[virtualizarr]``.

VirtualiZarr's own ``vds.vz.to_icechunk`` accepts only the store of the package ``icechunk``; `to_icechunk`
does the same for stores of this one, from VirtualiZarr's columns.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from icechunk_core._virtual_arrays import (
    ArrayPlan,
    Checksum,
    GroupMode,
    VirtualArray,
    check_containers,
    checksum_of,
    open_group,
    plan_append,
    plan_new,
    plan_region,
    write_array,
)
from icechunk_core._virtualizarr_reading import folder_and_name, registry_for, url_of
from icechunk_core.errors import InvalidInputError
from icechunk_core.store import IcechunkStore

if TYPE_CHECKING:
    import zarr
    from xarray import Dataset, DataTree

__all__ = ["open_virtual_dataset", "to_icechunk"]

Region = Mapping[str, slice | Literal["auto"]] | Literal["auto"] | None

_ENCODED = ("_FillValue", "missing_value", "scale_factor", "add_offset")


def open_virtual_dataset(
    source: str | os.PathLike[str],
    *,
    parser: Any = None,
    storage_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> Dataset:
    """Open a file as a dataset of references, wherever a storage plugin can read it.

    The same as ``virtualizarr.open_virtual_dataset`` with a registry of stores; here the plugins are
    the registry.

    Parameters
    ----------
    source
        Path or URL of the file.
    parser
        One of ``virtualizarr.parsers``; by default that for HDF5, which NetCDF 4 is.
    storage_options
        Options of the storage's backend, such as ``{"region": "eu-west-1", "anonymous": True}``.
    options
        Those of ``virtualizarr.open_virtual_dataset``, such as ``loadable_variables``.

    Raises
    ------
    InvalidInputError
        If the source names no file.
    NotFound, StorageError
        If the file is not there or cannot be read.

    Examples
    --------
    >>> day = open_virtual_dataset("s3://bucket/2026/day-1.nc")  # doctest: +SKIP
    """
    import virtualizarr
    from virtualizarr.parsers import HDFParser

    url = url_of(source)
    folder, _ = folder_and_name(url)
    registry = registry_for(folder, storage_options)
    opened: Dataset = virtualizarr.open_virtual_dataset(
        url, registry=registry, parser=parser or HDFParser(), **options
    )
    return opened


def to_icechunk(
    vds: Dataset | DataTree,
    store: IcechunkStore,
    *,
    group: str | None = None,
    mode: Literal["w", "w-", "a"] | None = None,
    append_dim: str | None = None,
    region: Region = None,
    validate_containers: bool = True,
    last_updated_at: Checksum = None,
    write_inherited_coords: bool = False,
) -> None:
    """Write a virtual dataset, or a tree of them, into a group of a writable session. It does not commit.

    Variables that VirtualiZarr references are written as references, without looking at the files;
    variables that it loaded are written as data.

    Parameters
    ----------
    vds
        What ``virtualizarr.open_virtual_dataset`` or ``open_virtual_datatree`` gave, concatenated or not.
    store
        ``session.store`` of a writable session.
    group
        Path of the group, by default the root.
    mode
        ``"w-"`` (the default) fails if the group exists, ``"w"`` replaces it, ``"a"`` adds to it. With
        ``append_dim`` or ``region`` the group has to exist.
    append_dim
        Dimension along which the references are appended to what is there. Variables without it are
        written again.
    region
        Dimension names and slices (or ``"auto"``) of existing arrays to write to; whole chunks.
    validate_containers
        Refuse locations that no virtual chunk container covers.
    last_updated_at
        Reading fails if a file was modified after this time (stored in whole seconds); by default now.
        ``False`` records no time: changes are not noticed.
    write_inherited_coords
        Of a tree: repeat inherited coordinates in each group.

    Raises
    ------
    InvalidInputError
        If the store is none of this package, arguments exclude each other, no container covers a location,
        or what is there does not fit: other codecs, chunks, types, units, or an incomplete last chunk.
        No reference has been written then.
    ReadOnlyError
        If the store cannot be written to.

    Examples
    --------
    >>> to_icechunk(vds, session.store)  # doctest: +SKIP
    >>> to_icechunk(next_month, other_session.store, append_dim="time")  # doctest: +SKIP
    """
    import xarray

    opening = _group_mode(mode, adding=bool(append_dim or region))
    if isinstance(vds, xarray.DataTree):
        datasets = {
            _join(group, "" if node is vds else node.relative_to(vds)): node.to_dataset(
                inherit=write_inherited_coords or node is vds
            )
            for node in vds.subtree
        }
    elif isinstance(vds, xarray.Dataset):
        datasets = {_join(group, ""): vds}
    else:
        raise InvalidInputError(f"to_icechunk writes a Dataset or DataTree, not a {type(vds).__name__}")
    if append_dim is not None and not any(append_dim in dataset.dims for dataset in datasets.values()):
        raise InvalidInputError(f"there is no dimension {append_dim!r} to append along")
    arrays = {path: _virtual_arrays(dataset) for path, dataset in datasets.items()}
    if validate_containers and isinstance(store, IcechunkStore):
        check_containers(store, (array for found in arrays.values() for array in found.values()))
    opened = {path: open_group(store, path, opening) for path in datasets}
    checksum = checksum_of(last_updated_at)
    for path, dataset in datasets.items():
        _write(opened[path], store, dataset, arrays[path], append_dim, region, checksum)


def _join(group: str | None, path: str) -> str:
    return "/".join(part for part in ((group or "").strip("/"), path.strip("/.")) if part)


def _group_mode(mode: str | None, *, adding: bool) -> GroupMode:
    if mode not in (None, "w", "w-", "a"):
        raise InvalidInputError(f"mode is 'w', 'w-' or 'a', not {mode!r}")
    if not adding:
        return mode or "w-"  # type: ignore[return-value]
    if mode in ("w", "w-"):
        raise InvalidInputError(f"append_dim and region add to a group, which mode={mode!r} would not leave")
    return "r+"


def _virtual_arrays(dataset: Dataset) -> dict[str, VirtualArray]:
    from virtualizarr.manifests import ManifestArray

    return {
        str(name): virtual_array(variable)
        for name, variable in dataset.variables.items()
        if isinstance(variable._data, ManifestArray)
    }


def _write(
    group: zarr.Group,
    store: IcechunkStore,
    dataset: Dataset,
    arrays: Mapping[str, VirtualArray],
    append_dim: Any,
    region: Any,
    checksum: Any,
) -> None:
    encode: Any = _encode_attribute()
    if region is not None:
        dataset, region = _region_of(group, dataset, region)
    virtual = [str(name) for name in dataset.variables if name in arrays]
    plans = [_plan(group, name, arrays[name], append_dim, region) for name in virtual]
    loaded = dataset.drop_vars(virtual).reset_coords()
    if loaded.variables:
        _write_loaded(group, store, loaded, append_dim, region)
    for plan in plans:
        write_array(store, plan, checksum)
    attributes = {str(name): encode(value) for name, value in dataset.attrs.items()}
    if dataset.coords:
        attributes["coordinates"] = " ".join(map(str, dataset.coords))
    group.update_attributes(attributes)


def _write_loaded(
    group: zarr.Group, store: IcechunkStore, loaded: Dataset, append_dim: Any, region: Any
) -> None:
    options: dict[str, Any] = {"mode": "a"}
    if region is not None:
        options = {"region": region}
    elif append_dim is not None and append_dim in loaded.dims:
        options = {"append_dim": append_dim}
        loaded = loaded.drop_encoding()  # the arrays that are there have theirs
    loaded.drop_attrs(deep=False).to_zarr(
        store, group=group.path or None, zarr_format=3, consolidated=False, **options
    )


def _region_of(group: zarr.Group, dataset: Dataset, region: Any) -> tuple[Dataset, dict[str, slice]]:
    """The region with ``"auto"`` replaced, by xarray's own rules."""
    from xarray.backends.zarr import ZarrStore

    target = ZarrStore(group, mode="r+", write_region=region, close_store_on_close=False)
    dataset = target._validate_and_autodetect_region(dataset)
    return dataset, dict(target._write_region or {})


def _plan(group: zarr.Group, name: str, array: VirtualArray, append_dim: Any, region: Any) -> ArrayPlan:
    dims = list(array.metadata.dimension_names or ())
    if append_dim is not None and append_dim in dims:
        return plan_append(group, name, array, dims.index(append_dim))
    if region is not None:
        starts = {axis: region[dim].start or 0 for axis, dim in enumerate(dims) if dim in region}
        return plan_region(group, name, array, starts)
    return plan_new(group, name, array)


def virtual_array(variable: Any) -> VirtualArray:
    """The array of a variable that VirtualiZarr references."""
    from xarray.backends.zarr import FillValueCoder

    encode: Any = _encode_attribute()
    referenced = variable._data
    manifest, metadata = referenced.manifest, referenced.metadata
    # VirtualiZarr keeps columns, but offers only a dictionary with an entry per chunk.
    inline = dict(getattr(manifest, "_inlined", {}))
    paths = manifest._paths.ravel()
    coords = np.indices(manifest.shape_chunk_grid, dtype=np.uint32).reshape(manifest.ndim_chunk_grid, -1).T
    held = np.ones(paths.size, dtype=np.bool_)
    if inline:
        held[np.ravel_multi_index(tuple(np.array(list(inline)).T), manifest.shape_chunk_grid)] = False
    attributes = {
        **variable.attrs,
        **{key: variable.encoding[key] for key in _ENCODED if key in variable.encoding},
    }
    fill = attributes.get("_FillValue")
    if fill is not None and not isinstance(fill, str):
        attributes["_FillValue"] = FillValueCoder.encode(fill, referenced.dtype)
    return VirtualArray(
        dataclasses.replace(
            metadata,
            attributes={str(name): encode(value) for name, value in attributes.items()},
            dimension_names=tuple(map(str, variable.dims)),
        ),
        coords[held],
        paths[held].tolist(),
        manifest._offsets.ravel()[held],
        manifest._lengths.ravel()[held],
        inline,
    )


def _encode_attribute() -> Any:
    """xarray's way to make JSON of an attribute."""
    from xarray.backends.zarr import encode_zarr_attr_value

    return encode_zarr_attr_value
