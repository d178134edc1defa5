"""Results of maintenance."""

from __future__ import annotations

from attrs import AttrsInstance, evolve, field, fields, frozen

from icechunk_core.html import bytes_text, facts, page

__all__ = ["ChunkStorageStats", "GCSummary", "PackStats", "RepackSummary"]


def _lines(value: AttrsInstance) -> list[tuple[str, str]]:
    return [(item.name, str(getattr(value, item.name))) for item in fields(type(value))]


def _text(value: AttrsInstance) -> str:
    lines = [
        f"<icechunk_core.{type(value).__name__}>",
        *(f"{name}: {shown}" for name, shown in _lines(value)),
    ]
    return "\n".join(lines)


def _html(value: AttrsInstance) -> str:
    pairs = [
        (name.replace("_", " "), _for_people(name, getattr(value, name)))
        for name in (item.name for item in fields(type(value)))
    ]
    return page(type(value).__name__, facts(pairs))


def _for_people(name: str, value: object) -> str:
    if isinstance(value, list):
        return "; ".join(map(str, value)) or "none"
    if isinstance(value, int) and not isinstance(value, bool):
        return bytes_text(value) if "bytes" in name else f"{value:,}"
    return str(value)


@frozen(repr=False)
class GCSummary:
    """What a garbage collection deleted, or with ``dry_run`` would have.

    Attributes
    ----------
    bytes_deleted
        Size of all deleted objects together.
    chunks_deleted, manifests_deleted, snapshots_deleted, attributes_deleted, transaction_logs_deleted
        Objects of each kind.
    objects_failed_to_delete
        Objects whose deletion failed. They remain for the next run.
    throttled_batches
        Delete requests that the storage asked to repeat later; they were, and are no failures.
    delete_errors
        The first ten different messages of failed deletions.
    skipped_phases
        Kinds that were not touched because deleting an earlier kind had failures.
    """

    bytes_deleted: int = 0
    chunks_deleted: int = 0
    manifests_deleted: int = 0
    snapshots_deleted: int = 0
    attributes_deleted: int = 0
    transaction_logs_deleted: int = 0
    objects_failed_to_delete: int = 0
    throttled_batches: int = 0
    delete_errors: list[str] = field(factory=list)
    skipped_phases: list[str] = field(factory=list)

    def __repr__(self) -> str:
        return _text(self)

    def _repr_html_(self) -> str:
        return _html(self)


@frozen(repr=False)
class ChunkStorageStats:
    """How many bytes the chunks of all reachable versions take.

    Attributes
    ----------
    native_bytes
        In the repository's own chunk objects.
    virtual_bytes
        In objects outside the repository.
    inlined_bytes
        Inside manifests.
    """

    native_bytes: int = 0
    virtual_bytes: int = 0
    inlined_bytes: int = 0

    def non_virtual_bytes(self) -> int:
        """Bytes in the repository itself: native and inlined."""
        return self.native_bytes + self.inlined_bytes

    def total_bytes(self) -> int:
        """Bytes of all chunks."""
        return self.non_virtual_bytes() + self.virtual_bytes

    def __add__(self, other: ChunkStorageStats) -> ChunkStorageStats:
        if not isinstance(other, ChunkStorageStats):
            return NotImplemented
        return ChunkStorageStats(
            self.native_bytes + other.native_bytes,
            self.virtual_bytes + other.virtual_bytes,
            self.inlined_bytes + other.inlined_bytes,
        )

    def __repr__(self) -> str:
        return _text(self)

    def _repr_html_(self) -> str:
        return _html(self)


@frozen(repr=False)
class PackStats:
    """How well the repository's chunk objects are used: packs, and chunks with an object of their own.

    Attributes
    ----------
    objects, bytes
        Objects of which branches and tags need at least a part, and their size.
    live_bytes
        What is needed of them. What several versions share counts once.
    dead_bytes
        The rest. Garbage collection cannot delete it, `repack` can set it free.
    unused_objects, unused_bytes
        Objects of which nothing is needed: garbage, or work that is not committed yet.
    """

    objects: int = 0
    bytes: int = 0
    live_bytes: int = 0
    dead_bytes: int = 0
    unused_objects: int = 0
    unused_bytes: int = 0

    def __repr__(self) -> str:
        return _text(self)

    def _repr_html_(self) -> str:
        return _html(self)


@frozen(repr=False)
class RepackSummary:
    """What repacking did, or with ``dry_run`` would do.

    Attributes
    ----------
    packs
        Sparse objects that the branch's latest version does not need any more.
    chunks, bytes_copied
        What was copied out of them.
    dead_bytes
        Bytes of them that nothing needed. They are free, together with what was copied, once no
        other version needs the objects and garbage was collected.
    snapshot_id
        The commit; ``None`` if there was nothing to do.
    """

    packs: int = 0
    chunks: int = 0
    bytes_copied: int = 0
    dead_bytes: int = 0
    snapshot_id: str | None = None

    def committed_as(self, snapshot_id: str) -> RepackSummary:
        """The same with a commit."""
        return evolve(self, snapshot_id=snapshot_id)

    def __repr__(self) -> str:
        return _text(self)

    def _repr_html_(self) -> str:
        return _html(self)
