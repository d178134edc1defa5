"""xarray: write datasets into sessions, open versions by URL; needs ``icechunk-core[xarray]``.

Reading from a session at hand is ``xarray.open_zarr(session.store)``.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, MutableMapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from icechunk_core.errors import InvalidInputError
from icechunk_core.repository import Repository
from icechunk_core.session import ForkSession, Session
from icechunk_core.storage import as_storage, storage_from_url
from icechunk_core.store import IcechunkStore

if TYPE_CHECKING:
    from xarray import DataArray, Dataset, DataTree

__all__ = ["open_dataset", "open_datatree", "open_store", "to_icechunk"]

Region = Mapping[str, slice | Literal["auto"]] | Literal["auto"] | None
ZarrWriteModes = Literal["w", "w-", "a", "a-", "r+", "r"]


def to_icechunk(
    obj: DataArray | Dataset | DataTree,
    session: Session,
    *,
    group: str | None = None,
    mode: ZarrWriteModes | None = None,
    safe_chunks: bool = True,
    align_chunks: bool = False,
    append_dim: Hashable | None = None,
    region: Region = None,
    encoding: Mapping[Any, Any] | None = None,
    chunkmanager_store_kwargs: MutableMapping[Any, Any] | None = None,
    split_every: int | None = None,
) -> None:
    """Write an xarray object into a group of a writable session. It does not commit.

    Metadata, coordinates and what is in memory are written through the session. What is a
    dask array is written by its workers through a fork, whose changes are merged back; so it
    works with any scheduler, processes and clusters included.

    Parameters
    ----------
    obj
        What to write. The groups of a tree are written below ``group``, each with its own coordinates only.
    session
        A writable session.
    group
        Path of the group, by default the root.
    mode
        ``"w"`` replaces what is there, ``"w-"`` fails if something is, ``"a"`` overwrites variables,
        ``"a-"`` only appends, ``"r+"`` changes values only. By default ``"a"`` with ``append_dim``,
        ``"r+"`` with ``region``, and ``"w-"`` otherwise.
    safe_chunks
        Refuse dask chunks of which two would write into one chunk of the store.
    align_chunks
        Rechunk the dask arrays to the chunks of the store instead.
    append_dim, region
        The dimension to append along; or the region of existing arrays to write.
    encoding
        How to store each variable, by its name; for a tree by the path of the group, and then the name.
    chunkmanager_store_kwargs
        Passed to what stores the dask arrays.
    split_every
        How many sessions of workers are merged in one task.

    Raises
    ------
    InvalidInputError
        If ``session`` is none, or ``append_dim`` or ``region`` come with a tree. Also a `ValueError`.
    ValueError
        By xarray, if data and what is there do not fit, or dask chunks would meet in a chunk of the store.
    """
    if not isinstance(session, Session):
        raise InvalidInputError(f"to_icechunk writes to a session, not to a {type(session).__name__}")
    from icechunk_core._xarray_writer import ArrayWrites, GroupWriter

    writes = ArrayWrites()
    for path, dataset, encodings in _groups(obj, group, encoding, adding=append_dim or region):
        writer = GroupWriter.open(
            dataset,
            session.store,
            group=path,
            mode=mode,
            append_dim=append_dim,
            region=region,
            safe_chunks=safe_chunks,
            align_chunks=align_chunks,
        )
        writer.write_metadata(encodings, writes)
    writes.write_eager()
    if writes.has_lazy:
        fork = session if isinstance(session, ForkSession) else session.fork()
        merged = writes.write_lazy(fork.store, chunkmanager_store_kwargs, split_every)
        session.merge(merged)


def _groups(
    obj: Any, group: str | None, encoding: Mapping[Any, Any] | None, *, adding: Any
) -> list[tuple[str | None, Dataset, Mapping[Any, Any] | None]]:
    """Path, dataset and encodings of each group to write."""
    import xarray

    from icechunk_core._xarray_writer import as_dataset, datasets_of

    if not isinstance(obj, xarray.DataTree):
        return [(group, as_dataset(obj), encoding)]
    if adding:
        raise InvalidInputError(
            "append_dim and region are for one group: write the nodes of the tree one by one, with group="
        )
    datasets = datasets_of(obj)
    given = {str(path).strip("/"): each for path, each in (encoding or {}).items()}
    unknown = sorted(set(given) - set(datasets))
    if unknown:
        raise InvalidInputError(f"encoding names groups that the tree does not have: {', '.join(unknown)}")
    base = (group or "").strip("/")
    return [
        ("/".join(part for part in (base, path) if part) or None, dataset, given.get(path))
        for path, dataset in datasets.items()
    ]


def open_store(
    source: Any,
    *,
    branch: str | None = None,
    tag: str | None = None,
    snapshot_id: str | None = None,
    as_of: datetime | None = None,
    storage_options: Mapping[str, Any] | None = None,
    authorize_virtual_chunk_access: Mapping[str, Any] | None = None,
) -> IcechunkStore:
    """A read-only zarr store of one version of a repository, for whatever opens zarr stores.

    Parameters
    ----------
    source
        Path or URL of a repository (``"s3://bucket/prefix"``), a `Storage`, or a `Repository`. A `Session`
        or `IcechunkStore` is a version already and stays the one that it is.
    branch, tag, snapshot_id
        At most one of them; the branch ``main`` by default.
    as_of
        With a branch: as it was at that time.
    storage_options
        Options of the storage's backend.
    authorize_virtual_chunk_access
        URL prefixes of virtual chunks that may be read, and with which credentials.

    Raises
    ------
    InvalidInputError
        If options are given that have no meaning for ``source``, or several versions are named.
    RepositoryNotFoundError, RefNotFoundError, SnapshotNotFoundError
        If there is no such repository or version.

    Examples
    --------
    >>> store = open_store("s3://bucket/climate", tag="v1")  # doctest: +SKIP
    >>> dataset = xarray.open_dataset(store, engine="zarr", chunks={})  # doctest: +SKIP
    """
    version = {"branch": branch, "tag": tag, "snapshot_id": snapshot_id, "as_of": as_of}
    named: dict[str, Any] = {name: value for name, value in version.items() if value is not None}
    access = {
        "storage_options": storage_options,
        "authorize_virtual_chunk_access": authorize_virtual_chunk_access,
    }
    given = {name for name, value in access.items() if value is not None}
    if isinstance(source, Session | IcechunkStore):
        _refuse({*named, *given}, source)
        return source if isinstance(source, IcechunkStore) else source.store
    if isinstance(source, Repository):
        _refuse(given, source)
        repo = source
    else:
        storage = storage_from_url(source, **storage_options) if storage_options else as_storage(source)
        allowed = None if authorize_virtual_chunk_access is None else dict(authorize_virtual_chunk_access)
        # Whoever only reads needs no conditional writes.
        repo = Repository.open(storage, authorize_virtual_chunk_access=allowed, require_commit_safety=False)
    if "tag" not in named and "snapshot_id" not in named:
        named.setdefault("branch", "main")
    return repo.readonly_session(**named).store


def _refuse(given: set[str], source: object) -> None:
    if given:
        raise InvalidInputError(
            f"a {type(source).__name__} leaves no choice of {', '.join(sorted(given))}; give a path or URL"
        )


_VERSION = ("branch", "tag", "snapshot_id", "as_of", "storage_options", "authorize_virtual_chunk_access")


def open_dataset(source: Any, **options: Any) -> Dataset:
    """Open a version of a repository as a dataset.

    Parameters
    ----------
    source
        As for `open_store`.
    options
        Those of `open_store`, and those of ``xarray.open_dataset`` (``group``, ``chunks``, ...).

    Returns
    -------
    Dataset
        As ``xarray.open_dataset`` gives it with the engine ``zarr``. Dask arrays in it are named after the
        snapshot, so those of two versions can be used together.

    Examples
    --------
    >>> before = open_dataset("./climate", tag="v1", chunks={})  # doctest: +SKIP
    >>> changed = open_dataset("./climate", chunks={}) - before  # doctest: +SKIP
    """
    import xarray

    return xarray.open_dataset(**_as_zarr(source, options))


def open_datatree(source: Any, **options: Any) -> DataTree:
    """Open a version of a repository, all groups of it, as a tree; options as `open_dataset`."""
    import xarray

    return xarray.open_datatree(**_as_zarr(source, options))


def _as_zarr(source: Any, options: dict[str, Any]) -> dict[str, Any]:
    store = open_store(source, **{name: options.pop(name) for name in _VERSION if name in options})
    return {"filename_or_obj": store, "engine": "zarr", "consolidated": False, **options}
