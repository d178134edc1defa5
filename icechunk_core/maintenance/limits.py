"""Bounds on what maintenance takes at a time."""

from __future__ import annotations

from typing import Any

from attrs import Attribute, field, frozen

from icechunk_core.errors import InvalidInputError

__all__ = ["GCLimits", "ReadLimits"]


def _positive(_: object, attribute: Attribute[Any], value: int | None) -> None:
    if value is not None and value < 1:
        raise InvalidInputError(f"{attribute.name} must be at least 1, not {value}")


@frozen(kw_only=True)
class ReadLimits:
    """Bounds on reading snapshots and manifests.

    Attributes
    ----------
    max_snapshots_in_memory
        Snapshots read at a time.
    max_compressed_manifest_mem_bytes, max_decoded_manifest_mem_bytes
        Bytes of manifests in flight, as stored and (estimated) as decoded. A single one that is
        larger is read on its own.
    max_concurrent_manifest_fetches
        Manifests read at a time.
    """

    max_snapshots_in_memory: int = field(default=50, validator=_positive)
    max_compressed_manifest_mem_bytes: int = field(default=512 * 1024 * 1024, validator=_positive)
    max_decoded_manifest_mem_bytes: int = field(default=4 * 1024 * 1024 * 1024, validator=_positive)
    max_concurrent_manifest_fetches: int = field(default=500, validator=_positive)


@frozen(kw_only=True)
class GCLimits(ReadLimits):
    """Bounds on garbage collection.

    Attributes
    ----------
    max_concurrent_deletes
        Delete requests at a time.
    max_consecutive_delete_failures
        Give up after so many failed delete requests in a row.
    max_concurrent_listings
        Listings at a time, each of one part of a kind of object; ``None`` lists each kind in one
        stream. More than ``max_concurrent_deletes`` are not used.
    """

    max_concurrent_deletes: int = field(default=10, validator=_positive)
    max_consecutive_delete_failures: int = field(default=50, validator=_positive)
    max_concurrent_listings: int | None = field(default=None, validator=_positive)

    @property
    def listing_streams(self) -> int:
        """How many listings run side by side."""
        return min(self.max_concurrent_listings or 1, self.max_concurrent_deletes)

    @property
    def deletes_per_stream(self) -> int:
        """Delete requests at a time of each listing, so that all together keep the limit."""
        return max(1, self.max_concurrent_deletes // self.listing_streams)
