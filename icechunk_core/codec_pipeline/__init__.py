"""A zarr codec pipeline that reads and writes all chunks of a selection together.

zarr's own pipelines ask a store for one chunk after the other. This one asks the session once for
the whole selection: references are looked up in columns, chunks that lie side by side in a pack are
one read, and uncompressed ones are copied between pack and array without a step in between. zarr
loads it by its name::

    zarr.config.set({"codec_pipeline.path": "icechunk_core.codec_pipeline.BulkCodecPipeline"})

It may be chosen always. Arrays in other stores, sharded arrays, codecs that cannot be called
without an event loop, and whatever else is out of the ordinary, is left to zarr's pipeline, of
which this is a subclass.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

import zarr.core.codec_pipeline as _zarr_pipelines
from zarr.registry import register_pipeline

if TYPE_CHECKING:
    from zarr.core.codec_pipeline import FusedCodecPipeline as _ZarrPipeline
else:
    # An older zarr has only the other.
    _ZarrPipeline = getattr(_zarr_pipelines, "FusedCodecPipeline", _zarr_pipelines.BatchedCodecPipeline)

__all__ = ["BulkCodecPipeline"]


class BulkCodecPipeline(_ZarrPipeline):
    """Reads and writes selections of arrays in sessions as a whole; otherwise zarr's fused pipeline.

    zarr makes it, by the name ``icechunk_core.codec_pipeline.BulkCodecPipeline`` in its configuration.
    Values, stored bytes and errors are those of zarr's pipelines. With a zarr that has no fused
    pipeline it does what zarr's default pipeline does.
    """

    async def read(self, batch_info: Iterable[Any], out: Any, drop_axes: tuple[int, ...] = ()) -> Any:
        """Fill ``out`` with the chunks of a selection (see `zarr.abc.codec.CodecPipeline.read`)."""
        batch = list(batch_info)
        together = _for_our_stores()
        if together is not None:
            results = await together.read_together(self, batch, out, drop_axes)
            if results is not None:
                return results
        return await super().read(batch, out, drop_axes)

    async def write(self, batch_info: Iterable[Any], value: Any, drop_axes: tuple[int, ...] = ()) -> None:
        """Write the chunks of a selection (see `zarr.abc.codec.CodecPipeline.write`)."""
        batch = list(batch_info)
        together = _for_our_stores()
        if together is None or not await together.write_together(self, batch, value, drop_axes):
            await super().write(batch, value, drop_axes)


@cache
def _loaded() -> ModuleType | None:
    try:
        return import_module("icechunk_core.codec_pipeline._together")
    except ImportError as error:  # a zarr that is built in another way; its own pipeline will do
        logging.getLogger(__name__).info("chunks are read and written one by one: %s", error)
        return None


def _for_our_stores() -> Any:
    """The functions that serve our stores; ``None`` while there are none, or where zarr is another.

    zarr loads this module for everybody's arrays: it must be light, and must not fail.
    """
    return _loaded() if "icechunk_core.store.icechunk_store" in sys.modules else None


register_pipeline(BulkCodecPipeline)
