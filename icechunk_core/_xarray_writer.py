"""How an xarray dataset gets into a store: first all metadata, then what is in memory, then dask arrays."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, MutableMapping
from typing import Any

import xarray
import zarr
from attrs import define
from xarray.backends.common import ArrayWriter
from xarray.backends.zarr import ZarrStore

from icechunk_core.session import ForkSession
from icechunk_core.store import IcechunkStore

try:
    from xarray.backends.writers import _validate_dataset_names, dump_to_store
except ImportError:  # before xarray 2025.9
    from xarray.backends.api import (  # type: ignore[attr-defined,no-redef,unused-ignore]
        _validate_dataset_names,
        dump_to_store,
    )

__all__ = ["ArrayWrites", "GroupWriter", "as_dataset", "datasets_of"]

_NAME = "__xarray_dataarray_name__"
_VARIABLE = "__xarray_dataarray_variable__"


def as_dataset(obj: xarray.DataArray | xarray.Dataset) -> xarray.Dataset:
    """The dataset that xarray itself would store for an array."""
    if isinstance(obj, xarray.Dataset):
        return obj
    if obj.name is None:
        return obj.to_dataset(name=_VARIABLE)
    if obj.name in obj.coords or obj.name in obj.dims:
        dataset = obj.to_dataset(name=_VARIABLE)
        dataset.attrs[_NAME] = obj.name
        return dataset
    return obj.to_dataset()


def datasets_of(tree: xarray.DataTree) -> dict[str, xarray.Dataset]:
    """The dataset of each group by its path in the tree, as ``DataTree.to_zarr`` would store it."""
    return {node.relative_to(tree).strip("."): node.to_dataset(inherit=node is tree) for node in tree.subtree}


def _is_lazy(source: Any) -> bool:
    return hasattr(source, "__dask_graph__") and source.__dask_graph__() is not None


class ArrayWrites(ArrayWriter):
    """Collects what is to be written, and tells dask arrays from what is in memory."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call,unused-ignore]
        self.eager: list[tuple[Any, Any, Any]] = []

    def add(self, source: Any, target: Any, region: Any = None) -> None:
        """Called by xarray for each variable."""
        if _is_lazy(source):
            self.sources.append(source)
            self.targets.append(target)
            self.regions.append(region)
        else:
            self.eager.append((source, target, region))

    def write_eager(self) -> None:
        """Write what is in memory."""
        for source, target, region in self.eager:
            target[region or ...] = source
        self.eager.clear()

    @property
    def has_lazy(self) -> bool:
        """Whether there are dask arrays to write."""
        return bool(self.sources)

    def write_lazy(
        self,
        store: IcechunkStore,
        store_options: MutableMapping[Any, Any] | None,
        split_every: int | None,
    ) -> ForkSession:
        """Write the dask arrays through a fork's store; gives the fork with everybody's changes."""
        from icechunk_core.dask import session_merge_reduction

        self.targets = [zarr.open_array(store, path=each.path, mode="a") for each in self.targets]
        options = {**(store_options or {}), "load_stored": False, "return_stored": True}
        stored = self.sync(compute=False, chunkmanager_store_kwargs=options)  # type: ignore[no-untyped-call,unused-ignore]
        return session_merge_reduction(stored, split_every=split_every)


@define
class GroupWriter:
    """Writes one dataset to one group."""

    dataset: xarray.Dataset
    group: ZarrStore

    @classmethod
    def open(
        cls,
        dataset: xarray.Dataset,
        store: IcechunkStore,
        *,
        group: str | None,
        mode: Any,
        append_dim: Any,
        region: Any,
        safe_chunks: bool,
        align_chunks: bool,
    ) -> GroupWriter:
        """Open or create the group."""
        options: dict[str, Any] = {"align_chunks": align_chunks}
        known = inspect.signature(ZarrStore.open_group).parameters
        opened = ZarrStore.open_group(
            store=store,
            group=group,
            mode=mode if mode is not None else _default_mode(append_dim, region),
            zarr_format=3,
            append_dim=append_dim,
            write_region=region,
            safe_chunks=safe_chunks,
            consolidated=False,
            consolidate_on_close=False,
            **{name: value for name, value in options.items() if name in known},
        )
        return cls(opened._validate_and_autodetect_region(dataset), opened)

    def write_metadata(self, encoding: Mapping[Any, Any] | None, writes: ArrayWrites) -> None:
        """Create groups and arrays, resize them where data is appended, and collect the writes."""
        encoding = {} if encoding is None else encoding
        _validate_dataset_names(self.dataset)
        self.group._validate_encoding(encoding)
        dump: Any = dump_to_store  # untyped
        dump(self.dataset, self.group, writes, encoding=encoding)


def _default_mode(append_dim: Any, region: Any) -> Any:
    if append_dim is not None:
        return "a"
    return "w-" if region is None else "r+"
