"""When and where the chunks of a selection are encoded and decoded in several threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from zarr.core.codec_pipeline import _get_pool, _resolve_max_workers

from icechunk_core.codec_pipeline._selection import Layout

__all__ = ["call_all", "is_heavy", "pool", "workers"]

_LARGE = 128 << 10
"""Smaller uncompressed chunks are copied faster than threads take turns."""


def workers() -> int:
    """How many threads zarr's configuration allows."""
    return _resolve_max_workers()


def pool() -> ThreadPoolExecutor:
    """zarr's threads for codecs."""
    return _get_pool(workers())


def is_heavy(layout: Layout | None, codecs: Sequence[Any]) -> bool:
    """Whether a chunk is enough work for several threads to pay."""
    return layout is None or bool(codecs) or layout.size >= _LARGE


def call_all(jobs: Sequence[Callable[[], Any]], *, in_threads: bool) -> list[Any]:
    """The results of all jobs, in order; the first failure is raised."""
    if in_threads and len(jobs) > 1 and workers() > 1:
        return list(pool().map(lambda job: job(), jobs))
    return [job() for job in jobs]
