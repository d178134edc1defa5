"""Copy what is left in sparse packs, so that the packs can go.

Bytes that no branch or tag needs any more remain in a pack as long as one of its chunks
is in use, for objects are deleted whole. Repacking copies the chunks that a branch's
latest version has in such packs to new ones and commits manifests that say so. It is a
commit like that of `rewrite_manifests`: no data changes, its transaction log is empty,
and sessions that began before it rebase over it without conflicts. Older versions keep
the old packs alive until they expire; then garbage collection deletes those.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import Any

from attrs import define, field

from icechunk_core.errors import ConflictError, InvalidInputError
from icechunk_core.format import base32
from icechunk_core.format.chunk_refs import ChunkRefs, NativeRef, RefKind
from icechunk_core.format.layout import chunk_key
from icechunk_core.format.manifest import Manifest
from icechunk_core.format.snapshot import Snapshot
from icechunk_core.maintenance.copying_chunks import NewPack, copy_chunks, plan_packs
from icechunk_core.maintenance.fanning import check_executor
from icechunk_core.maintenance.limits import ReadLimits
from icechunk_core.maintenance.pack_usage import usage_of_packs
from icechunk_core.maintenance.progress import Reporter
from icechunk_core.maintenance.rewriting import COMMIT_METHODS
from icechunk_core.maintenance.values import RepackSummary
from icechunk_core.session.commit import CommitKind, commit
from icechunk_core.session.context import RepositoryContext
from icechunk_core.session.modes import SessionMode
from icechunk_core.session.state import SessionState
from icechunk_core.tracing import traced
from icechunk_core.transaction.relocation import Relocation

__all__ = ["repack"]

_TRIES = 20


@traced("icechunk.repack")
async def repack(
    context: RepositoryContext,
    branch: str,
    message: str,
    metadata: Mapping[str, Any],
    *,
    commit_method: str,
    live_below: float,
    dry_run: bool,
    limits: ReadLimits,
    executor: Executor | None,
    reporter: Reporter,
) -> RepackSummary:
    """Move the chunks of a branch's latest version out of sparse packs.

    Raises
    ------
    InvalidInputError
        There is no such commit method, or ``live_below`` is not between 0 and 1.
    ConflictError
        Others committed to the branch again and again.
    Corrupt, SnapshotNotFoundError
        Something that is in use cannot be read. Nothing is committed then.
    """
    kind = COMMIT_METHODS.get(commit_method)
    if kind is None:
        raise InvalidInputError(f"invalid commit method: {commit_method!r}; expected 'new_commit' or 'amend'")
    if not 0 <= live_below <= 1:
        raise InvalidInputError(f"live_below is a part of 1, between 0 and 1, not {live_below}")
    check_executor(executor)
    usage = await usage_of_packs(context, limits, executor, reporter)
    sparse = usage.sparse(live_below)
    tip = await context.assets.snapshot(await context.history.branch(branch))
    chunks = [ref async for ref in _chunks_in(context, tip, sparse)] if sparse else []
    left = {ref.chunk_id for ref in chunks}
    summary = RepackSummary(
        packs=len(left),
        chunks=len(chunks),
        bytes_copied=sum(ref.length for ref in chunks),
        dead_bytes=usage.dead_bytes(left),
    )
    if dry_run or not chunks:
        return summary
    packs = plan_packs(chunks, context.packs.target_bytes, context.ids)
    reporter.start("copy chunks", len(packs))
    await copy_chunks(context.storage, packs, context.settings.chunks_storage_class, executor, reporter)
    run = _Run(context, branch, message, metadata, kind, packs)
    return summary.committed_as(base32.encode(await run.commit()))


async def _chunks_in(
    context: RepositoryContext, snapshot: Snapshot, packs: set[bytes]
) -> AsyncIterator[NativeRef]:
    """Parts of these objects that a version refers to, each once, in order of arrays and coordinates."""
    seen: set[NativeRef] = set()
    async for _, refs in _refs(context, snapshot):
        if not _names(packs, refs):
            continue
        for row in (refs.kind == RefKind.NATIVE).nonzero()[0].tolist():
            if refs.chunk_ids[row].tobytes() in packs:
                ref = refs.ref(row)
                assert isinstance(ref, NativeRef)
                if ref not in seen:
                    seen.add(ref)
                    yield ref


def _names(packs: set[bytes], refs: ChunkRefs) -> bool:
    return not packs.isdisjoint(id.tobytes() for id in refs.native_ids())


async def _refs(context: RepositoryContext, snapshot: Snapshot) -> AsyncIterator[tuple[bytes, ChunkRefs]]:
    """Each array's id with the refs of each of its manifests."""
    async for node_id, manifest in _manifests(context, snapshot):
        refs = manifest.arrays.get(node_id)
        if refs is not None and len(refs):
            yield node_id, refs


async def _manifests(context: RepositoryContext, snapshot: Snapshot) -> AsyncIterator[tuple[bytes, Manifest]]:
    """Each array's id with each of its manifests."""
    for node in snapshot.nodes:
        if node.array is None:
            continue
        for manifest in node.array.manifests:
            entry = snapshot.manifest_file(manifest.id)
            yield node.id, await context.assets.manifest(manifest.id, entry.size_bytes if entry else 0)


@define
class _Run:
    """The commit, over and over until nobody is in between."""

    context: RepositoryContext
    branch: str
    message: str
    metadata: Mapping[str, Any]
    kind: CommitKind
    packs: list[NewPack]
    relocation: Relocation = field(init=False)

    def __attrs_post_init__(self) -> None:
        old = [chunk for pack in self.packs for chunk in pack.chunks]
        self.relocation = Relocation(old, [ref for pack in self.packs for ref in pack.refs()])

    async def commit(self) -> bytes:
        for _ in range(_TRIES - 1):
            try:
                return await self._try()
            except ConflictError:
                continue  # what was copied is as good on top of what others have committed
        return await self._try()

    async def _try(self) -> bytes:
        context = self.context
        tip = await context.assets.snapshot(await context.history.branch(self.branch))
        state = SessionState(context, tip, SessionMode.WRITABLE, self.branch)
        state.relocation = self.relocation
        state.rewrite_manifests = frozenset(await self._concerned(tip))
        state.sink.adopt([chunk_key(pack.id) for pack in self.packs])
        return await commit(state, self.message, self.metadata, kind=self.kind, allow_empty=True)

    async def _concerned(self, tip: Snapshot) -> list[bytes]:
        """Ids of the arrays whose manifests name packs that chunks were copied from.

        Where several arrays share a manifest, all of them: it may also hold old refs of arrays that
        have newer ones elsewhere, and as long as one array needs it, it keeps all these packs.
        """
        left = {chunk.chunk_id for pack in self.packs for chunk in pack.chunks}
        return [
            node_id
            async for node_id, manifest in _manifests(self.context, tip)
            if any(map(partial(_names, left), manifest.arrays.values()))
        ]
