"""Write dask arrays; needs ``icechunk-core[dask]``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np

from icechunk_core.distributed import extract_session, merge_sessions
from icechunk_core.session import ForkSession

if TYPE_CHECKING:
    import dask.array
    import zarr

__all__ = ["computing_meta", "session_merge_reduction", "store_dask"]

P = ParamSpec("P")


def computing_meta(func: Callable[P, Any]) -> Callable[P, Any]:
    """A function for reductions of dask, which calls it with ``computing_meta=True`` to learn a type.

    Then it gives a placeholder: an array with one object.
    """

    @functools.wraps(func)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Any:
        if kwargs.get("computing_meta", False):
            return _placeholder()
        return func(*args, **kwargs)

    return wrapper


def _placeholder() -> np.ndarray[Any, Any]:
    return np.array([object()], dtype=object)


def store_dask(
    *,
    sources: list[dask.array.Array],
    targets: list[zarr.Array[Any]],
    regions: list[tuple[slice, ...]] | None = None,
    split_every: int | None = None,
    **store_kwargs: Any,
) -> ForkSession:
    """Write dask arrays into arrays on the store of a fork, now, on whatever scheduler is set.

    Parameters
    ----------
    sources, targets
        What to write, and where to. The targets are opened on the store of a fork.
    regions
        Part of each target to write.
    split_every
        How many sessions of workers are merged in one task.
    store_kwargs
        Passed to ``dask.array.store``, except ``compute``, ``return_stored``, ``load_stored``, ``lock``.

    Returns
    -------
    ForkSession
        With the changes of all workers; pass it to ``session.merge``.
    """
    import dask.array

    stored = dask.array.store(  # type: ignore[no-untyped-call,unused-ignore]
        sources=sources,
        targets=targets,  # type: ignore[arg-type,unused-ignore]
        regions=regions,
        compute=False,
        return_stored=True,
        load_stored=False,
        lock=False,
        **store_kwargs,
    )
    return session_merge_reduction(stored, split_every=split_every)


def session_merge_reduction(arrays: Any, *, split_every: int | None, **store_kwargs: Any) -> ForkSession:
    """Compute stored arrays and merge, as a tree, the sessions that their chunks were written through.

    Parameters
    ----------
    arrays
        What ``dask.array.store`` returned with ``return_stored``; one or several.
    split_every
        How many sessions are merged in one task.
    store_kwargs
        Passed to the reduction.
    """
    import dask.array

    merged = [
        dask.array.reduction(  # type: ignore[no-untyped-call,unused-ignore]
            array,
            name="merged-sessions",
            chunk=computing_meta(extract_session),
            aggregate=computing_meta(_merge),
            split_every=split_every,
            concatenate=False,
            keepdims=False,
            dtype=object,
            meta=_placeholder(),
            **store_kwargs,
        )
        for array in (arrays if isinstance(arrays, list | tuple) else [arrays])
    ]
    return merge_sessions(*dask.array.compute(*merged))  # type: ignore[no-untyped-call,unused-ignore]


def _merge(*sessions: Any, axis: Any = None, keepdims: Any = None) -> ForkSession:
    return merge_sessions(*sessions)
