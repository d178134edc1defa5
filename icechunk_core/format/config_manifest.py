"""How manifests are preloaded, split and compressed (FORMAT.md, section 8, the keys under ``manifest``)."""

# ruff: noqa: RUF009 - the calls make attrs fields

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from attrs import define

from icechunk_core.format.config_base import Codec, ConfigNode, InvalidTree, custom, integer, node
from icechunk_core.format.config_conditions import (
    ManifestPreloadCondition,
    ManifestSplitCondition,
    ManifestSplitDimCondition,
)

__all__ = [
    "ManifestConfig",
    "ManifestPreloadConfig",
    "ManifestSplittingConfig",
    "ManifestVirtualChunkLocationCompressionConfig",
    "SplitSizes",
]

Tree = Any
DimSizes: TypeAlias = tuple[tuple[ManifestSplitDimCondition, int], ...]
SplitSizes: TypeAlias = tuple[tuple[ManifestSplitCondition, DimSizes], ...]


# Names of coordinates after the usual conventions: axes, time, horizontal and vertical position.
_COORDINATES = ManifestPreloadCondition.name_matches(
    r"^(t|x|y|z|[xyz]c|n?lats?|n?lons?|latitude|longitude|time|time_counter|date|year|month|day|hour|minute"
    r"|second|step|valid_time|lev|level|levels|plev|pressure|depth|height|altitude|elevation|isobaric\w*|sigma"
    r"|easting|northing|projection_[xy]_coordinate|band|member|number|realization|ensemble|station)$"
) & ManifestPreloadCondition.num_refs(None, 1001)


def _check_preload(value: Any) -> ManifestPreloadCondition:
    if not isinstance(value, ManifestPreloadCondition):
        raise TypeError(f"expected a ManifestPreloadCondition, not {type(value).__name__}")
    return value


@define(repr=False)
class ManifestPreloadConfig(ConfigNode):
    """Which manifests to load as a session starts.

    Parameters
    ----------
    max_total_refs
        Stop after so many chunk references (effective default 10,000).
    preload_if
        Which ones (effective default: of arrays that are named like coordinates and have up to 1,000
        references).
    max_arrays_to_scan
        Look at no more arrays than this (effective default 50).
    """

    max_total_refs: int | None = integer(32)
    preload_if: ManifestPreloadCondition | None = custom(
        Codec(_check_preload, lambda condition: condition.to_tree(), ManifestPreloadCondition.from_tree)
    )
    max_arrays_to_scan: int | None = integer(32)

    def effective_max_total_refs(self) -> int:
        """How many chunk references are loaded at most."""
        return 10_000 if self.max_total_refs is None else self.max_total_refs

    def effective_max_arrays_to_scan(self) -> int:
        """How many arrays are looked at."""
        return 50 if self.max_arrays_to_scan is None else self.max_arrays_to_scan

    def effective_condition(self) -> ManifestPreloadCondition:
        """Which manifests are loaded: by default small ones of arrays that are called like coordinates."""
        return _COORDINATES if self.preload_if is None else self.preload_if


def _check_sizes(value: Any) -> SplitSizes:
    return tuple(
        (_checked(condition, ManifestSplitCondition), _check_dims(sizes)) for condition, sizes in value
    )


def _check_dims(sizes: Iterable[tuple[Any, Any]]) -> DimSizes:
    checked = tuple((_checked(condition, ManifestSplitDimCondition), size) for condition, size in sizes)
    for _, size in checked:
        if not isinstance(size, int) or not 0 < size < 1 << 32:
            raise ValueError(f"a split size must be a positive number of chunks, not {size!r}")
    return checked


def _checked(value: Any, cls: type) -> Any:
    if not isinstance(value, cls):
        raise TypeError(f"expected a {cls.__name__}, not {type(value).__name__}")
    return value


def _sizes_to_tree(sizes: SplitSizes) -> Tree:
    return [
        [condition.to_tree(), [{"condition": dim.to_tree(), "num_chunks": size} for dim, size in dims]]
        for condition, dims in sizes
    ]


def _sizes_from_tree(tree: Tree) -> SplitSizes:
    try:
        return _check_sizes(
            (
                ManifestSplitCondition.from_tree(condition),
                [(ManifestSplitDimCondition.from_tree(dim["condition"]), dim["num_chunks"]) for dim in dims],
            )
            for condition, dims in tree
        )
    except InvalidTree:
        raise
    except (TypeError, ValueError, KeyError) as error:
        raise InvalidTree(f"invalid split rule: {error}") from None


@define(repr=False)
class ManifestSplittingConfig(ConfigNode):
    """Into how many manifests the chunk references of an array go.

    Without any such configuration, arrays with very many chunk references are split automatically. One
    without rules, ``ManifestSplittingConfig.from_dict({})``, keeps one manifest per array.

    Parameters
    ----------
    split_sizes
        Rules, the first match counting: for which arrays, and per dimension how many chunks go into one
        manifest.

    >>> config = ManifestSplittingConfig.from_dict(
    ...     {ManifestSplitCondition.name_matches("temperature"): {ManifestSplitDimCondition.Axis(0): 100}}
    ... )
    """

    split_sizes: SplitSizes | None = custom(Codec(_check_sizes, _sizes_to_tree, _sizes_from_tree))

    @staticmethod
    def from_dict(
        split_sizes: Mapping[ManifestSplitCondition, Mapping[Any, int]],
    ) -> ManifestSplittingConfig:
        """Build from nested dicts; their order counts."""
        return ManifestSplittingConfig(
            tuple((condition, tuple(sizes.items())) for condition, sizes in split_sizes.items())
        )

    def to_dict(self) -> dict[ManifestSplitCondition, dict[ManifestSplitDimCondition, int]]:
        """The rules as nested dicts."""
        return {condition: dict(sizes) for condition, sizes in self.split_sizes or ()}


@define(repr=False)
class ManifestVirtualChunkLocationCompressionConfig(ConfigNode):
    """When and how the locations of virtual chunks are compressed with a dictionary.

    Parameters
    ----------
    min_num_chunks
        Only in manifests with at least so many virtual chunks (effective default 1,000).
    dictionary_max_training_samples, dictionary_max_size_bytes
        Size of the sample and of the dictionary (effective defaults 100 and 2,048).
    compression_level
        zstd level (effective default 3).
    """

    min_num_chunks: int | None = integer(16)
    dictionary_max_training_samples: int | None = integer(16)
    dictionary_max_size_bytes: int | None = integer(32)
    compression_level: int | None = integer(32, signed=True)


@define(repr=False)
class ManifestConfig(ConfigNode):
    """Everything about manifests.

    Parameters
    ----------
    preload, splitting, virtual_chunk_location_compression
        See their classes.
    max_concurrent_manifest_fetches_during_commit
        How many manifests a commit updates at a time (effective default 1).
    """

    preload: ManifestPreloadConfig | None = node(ManifestPreloadConfig, replaced_whole=True)
    splitting: ManifestSplittingConfig | None = node(ManifestSplittingConfig, replaced_whole=True)
    virtual_chunk_location_compression: ManifestVirtualChunkLocationCompressionConfig | None = node(
        ManifestVirtualChunkLocationCompressionConfig
    )
    max_concurrent_manifest_fetches_during_commit: int | None = integer(16)
