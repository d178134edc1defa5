"""Write xarray objects; needs ``icechunk-core[xarray]``. Reading is ``xarray.open_zarr(session.store)``."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Literal

from icechunk_core.errors import InvalidInputError
from icechunk_core.session import ForkSession, Session

if TYPE_CHECKING:
    from xarray import DataArray, Dataset

__all__ = ["to_icechunk"]

Region = Mapping[str, slice | Literal["auto"]] | Literal["auto"] | None
ZarrWriteModes = Literal["w", "w-", "a", "a-", "r+", "r"]


def to_icechunk(
    obj: DataArray | Dataset,
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
        What to write.
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
        How to store each variable, by its name.
    chunkmanager_store_kwargs
        Passed to what stores the dask arrays.
    split_every
        How many sessions of workers are merged in one task.

    Raises
    ------
    InvalidInputError
        If ``session`` is none. Also a `ValueError`.
    """
    if not isinstance(session, Session):
        raise InvalidInputError(f"to_icechunk writes to a session, not to a {type(session).__name__}")
    from icechunk_core._xarray_writer import GroupWriter, as_dataset

    writer = GroupWriter.open(
        as_dataset(obj),
        session.store,
        group=group,
        mode=mode,
        append_dim=append_dim,
        region=region,
        safe_chunks=safe_chunks,
        align_chunks=align_chunks,
    )
    writer.write_metadata(encoding)
    writer.write_eager()
    if writer.has_lazy:
        fork = session if isinstance(session, ForkSession) else session.fork()
        merged = writer.write_lazy(fork.store, chunkmanager_store_kwargs, split_every)
        session.merge(merged)
