"""xarray's engine ``icechunk``, which opens repositories by path or URL.

xarray imports this module whenever it looks for an engine, also for files that are none of ours: what opens
repositories is imported when one is opened.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xarray.backends import BackendEntrypoint
from xarray.backends.zarr import ZarrBackendEntrypoint

if TYPE_CHECKING:
    from xarray import Dataset, DataTree

__all__ = ["IcechunkBackend"]


class IcechunkBackend(BackendEntrypoint):
    """Opens a version of a repository as xarray's engine ``zarr`` opens that version's store.

    What is opened is what `icechunk_core.xarray.open_store` takes.
    """

    description = "Open versions of Icechunk repositories on any storage"
    supports_groups = True

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Whether no engine needs to be named.

        True for a store, session or repository of this package, and for a local directory that holds a
        repository. For URLs, of which other engines claim all, the engine has to be named.
        """
        if not isinstance(filename_or_obj, str | os.PathLike):
            return _is_ours(filename_or_obj)
        name = os.fspath(filename_or_obj)
        return "://" not in name and _holds_repository(Path(name))

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        mask_and_scale: Any = True,
        decode_times: Any = True,
        concat_characters: Any = True,
        decode_coords: Any = True,
        drop_variables: str | Iterable[str] | None = None,
        use_cftime: bool | None = None,
        decode_timedelta: Any = None,
        group: str | None = None,
        branch: str | None = None,
        tag: str | None = None,
        snapshot_id: str | None = None,
        as_of: datetime | None = None,
        storage_options: Mapping[str, Any] | None = None,
        authorize_virtual_chunk_access: Mapping[str, Any] | None = None,
    ) -> Dataset:
        """A group of a version as a dataset."""
        zarr: Any = ZarrBackendEntrypoint()  # it takes whatever zarr takes
        opened: Dataset = zarr.open_dataset(
            _open(
                filename_or_obj,
                branch=branch,
                tag=tag,
                snapshot_id=snapshot_id,
                as_of=as_of,
                storage_options=storage_options,
                authorize_virtual_chunk_access=authorize_virtual_chunk_access,
            ),
            mask_and_scale=mask_and_scale,
            decode_times=decode_times,
            concat_characters=concat_characters,
            decode_coords=decode_coords,
            drop_variables=drop_variables,
            use_cftime=use_cftime,
            decode_timedelta=decode_timedelta,
            group=group,
            consolidated=False,
        )
        return opened

    def open_datatree(
        self,
        filename_or_obj: Any,
        *,
        mask_and_scale: Any = True,
        decode_times: Any = True,
        concat_characters: Any = True,
        decode_coords: Any = True,
        drop_variables: str | Iterable[str] | None = None,
        use_cftime: bool | None = None,
        decode_timedelta: Any = None,
        group: str | None = None,
        branch: str | None = None,
        tag: str | None = None,
        snapshot_id: str | None = None,
        as_of: datetime | None = None,
        storage_options: Mapping[str, Any] | None = None,
        authorize_virtual_chunk_access: Mapping[str, Any] | None = None,
    ) -> DataTree:
        """All groups of a version as a tree."""
        from xarray import DataTree

        return DataTree.from_dict(
            self.open_groups_as_dict(
                filename_or_obj,
                mask_and_scale=mask_and_scale,
                decode_times=decode_times,
                concat_characters=concat_characters,
                decode_coords=decode_coords,
                drop_variables=drop_variables,
                use_cftime=use_cftime,
                decode_timedelta=decode_timedelta,
                group=group,
                branch=branch,
                tag=tag,
                snapshot_id=snapshot_id,
                as_of=as_of,
                storage_options=storage_options,
                authorize_virtual_chunk_access=authorize_virtual_chunk_access,
            )
        )

    def open_groups_as_dict(
        self,
        filename_or_obj: Any,
        *,
        mask_and_scale: Any = True,
        decode_times: Any = True,
        concat_characters: Any = True,
        decode_coords: Any = True,
        drop_variables: str | Iterable[str] | None = None,
        use_cftime: bool | None = None,
        decode_timedelta: Any = None,
        group: str | None = None,
        branch: str | None = None,
        tag: str | None = None,
        snapshot_id: str | None = None,
        as_of: datetime | None = None,
        storage_options: Mapping[str, Any] | None = None,
        authorize_virtual_chunk_access: Mapping[str, Any] | None = None,
    ) -> dict[str, Dataset]:
        """All groups of a version by path."""
        zarr: Any = ZarrBackendEntrypoint()  # it takes whatever zarr takes
        opened: dict[str, Dataset] = zarr.open_groups_as_dict(
            _open(
                filename_or_obj,
                branch=branch,
                tag=tag,
                snapshot_id=snapshot_id,
                as_of=as_of,
                storage_options=storage_options,
                authorize_virtual_chunk_access=authorize_virtual_chunk_access,
            ),
            mask_and_scale=mask_and_scale,
            decode_times=decode_times,
            concat_characters=concat_characters,
            decode_coords=decode_coords,
            drop_variables=drop_variables,
            use_cftime=use_cftime,
            decode_timedelta=decode_timedelta,
            group=group,
            consolidated=False,
        )
        return opened


def _open(what: Any, **version: Any) -> Any:
    """What `icechunk_core.xarray.open_store` gives."""
    from icechunk_core.xarray import open_store

    return open_store(what, **version)


def _is_ours(value: Any) -> bool:
    """Whether it is a store, session or repository of this package."""
    if not any(cls.__module__.startswith("icechunk_core.") for cls in type(value).__mro__):
        return False  # without importing those classes
    from icechunk_core.repository import Repository
    from icechunk_core.session import Session
    from icechunk_core.store import IcechunkStore

    return isinstance(value, IcechunkStore | Session | Repository)


def _holds_repository(folder: Path) -> bool:
    """Whether a local directory looks like a repository, of spec 2 or 1."""
    try:
        return (folder / "snapshots").is_dir() and ((folder / "repo").is_file() or (folder / "refs").is_dir())
    except OSError:
        return False
