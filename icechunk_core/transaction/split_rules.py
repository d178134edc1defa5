"""The configured rules for splitting manifests, as chunk grids (FORMAT.md, section 15)."""

from __future__ import annotations

from collections.abc import Callable

from icechunk_core.format.config_manifest import SplitSizes
from icechunk_core.format.snapshot import ArrayData
from icechunk_core.transaction.splitting import SplitGrid

__all__ = ["split_grids"]


def split_grids(rules: SplitSizes) -> Callable[[str, ArrayData], SplitGrid]:
    """How arrays are cut: a function of an array's path and dimensions.

    For each entry whose array condition matches, every axis that is not decided yet takes
    the first dimension rule that matches.
    """

    def grid_of(path: str, array: ArrayData) -> SplitGrid:
        whole = SplitGrid.uncut(array.num_chunks)
        names = array.dimension_names or (None,) * len(array.num_chunks)
        sizes: dict[int, int] = {}
        for condition, dimensions in rules:
            if not condition.matches(path):
                continue
            for axis, name in enumerate(names):
                if axis in sizes:
                    continue
                for dimension, size in dimensions:
                    if dimension.matches(axis, name):
                        sizes[axis] = size
                        break
        if not sizes:
            return whole
        return SplitGrid(
            array.num_chunks,
            tuple(min(sizes.get(axis, size), size) for axis, size in enumerate(whole.sizes)),
        )

    return grid_of
