"""Check a whole repository: every object that history leads to is there, decodes, and fits the rest.

Nothing is repaired or changed. Work goes from the history down (snapshots, transaction logs,
manifests, chunks), so that each finding can say who refers to the object.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Executor
from typing import Any, TypeVar

import numpy as np
from attrs import Factory, define, evolve

from icechunk_core.errors import (
    Corrupt,
    ErrorKind,
    IcechunkError,
    InvalidRange,
    NotFound,
    SnapshotNotFoundError,
)
from icechunk_core.format import base32, layout
from icechunk_core.format.chunk_refs import VirtualRef
from icechunk_core.format.layout import INITIAL_SNAPSHOT_ID
from icechunk_core.format.snapshot import ManifestFileInfo, Snapshot
from icechunk_core.format.transaction_log import decode_transaction_log
from icechunk_core.maintenance.fanning import LentStorage, batches, check_executor, fan_out
from icechunk_core.maintenance.inventory import Inventory, take_inventory
from icechunk_core.maintenance.limits import ReadLimits
from icechunk_core.maintenance.probing import (
    CHUNKS_AT_ONCE,
    Failed,
    ProbedChunk,
    ProbedManifest,
    attempt,
    chunks_in_worker,
    manifests_in_worker,
    probe_chunks,
    probe_manifests,
)
from icechunk_core.maintenance.progress import OnProgress, Reporter
from icechunk_core.maintenance.reading import read_snapshot
from icechunk_core.maintenance.verification import Orphans, Problem, ProblemKind, VerifyReport
from icechunk_core.session.context import RepositoryContext
from icechunk_core.tracing import traced
from icechunk_core.transaction.soundness import ArrayNeeds, ManifestFacts, NodeChecker

__all__ = ["verify"]

T = TypeVar("T")
Item = TypeVar("Item")

_MANIFESTS_AT_ONCE = 8
_REFS_WAITING = 8_000_000
"""In jobs that were sent; what comes back is a few dozen bytes for each."""


@traced("icechunk.verify")
async def verify(
    context: RepositoryContext,
    limits: ReadLimits,
    *,
    data: bool = False,
    virtual: bool = False,
    max_problems: int = 1000,
    executor: Executor | None = None,
    progress: OnProgress | None = None,
) -> VerifyReport:
    """Look at everything that history leads to.

    Parameters
    ----------
    data
        Also read every chunk object, to its end.
    virtual
        Also look at the objects of virtual chunks, which other people may change.
    max_problems
        Report so many in detail; all are counted.
    executor
        Reads and decodes manifests, and with ``data`` reads chunk objects.

    Raises
    ------
    Corrupt
        If the history itself cannot be read, so that nothing leads anywhere.
    """
    check_executor(executor)
    run_ = _Run(context, limits, max_problems, Reporter(progress))
    if context.storage.capabilities.list:
        run_.inventory = await take_inventory(context.storage, run_.reporter)
    snapshots = await run_.snapshots()
    await run_.transaction_logs()
    await run_.manifests(snapshots, executor)
    await run_.chunks(executor, data=data)
    if virtual:
        await run_.virtual_objects()
    return run_.report()


@define
class _Run:
    """One verification, step by step."""

    context: RepositoryContext
    limits: ReadLimits
    max_problems: int
    reporter: Reporter
    inventory: Inventory | None = None
    problems: list[Problem] = Factory(list)
    problem_count: int = 0
    totals: VerifyReport = Factory(VerifyReport)
    history_ids: list[bytes] = Factory(list)
    paths: dict[bytes, str] = Factory(dict)
    """Of arrays, by node id."""
    needed: dict[bytes, int] = Factory(dict)
    """Chunk objects by id: the bytes that they must have."""
    needed_by: dict[bytes, bytes] = Factory(dict)
    """A node that refers to the chunk object."""
    virtual_needs: dict[tuple[str, str | None, int | None], VirtualRef] = Factory(dict)

    def found(self, kind: ProblemKind, key: str, detail: str) -> None:
        """Note a problem."""
        self.problem_count += 1
        if len(self.problems) < self.max_problems:
            self.problems.append(Problem(kind, key, detail))

    def failed(self, key: str, error: IcechunkError, why: str) -> None:
        """Note that an object could not be read."""
        if isinstance(error, (NotFound, SnapshotNotFoundError)):
            self.found(ProblemKind.MISSING, key, why)
        elif isinstance(error, Corrupt):
            self.found(ProblemKind.CORRUPT, key, f"{error.message} ({why})")
        else:
            self.found(ProblemKind.UNREADABLE, key, f"{error.message} ({why})")

    async def attempt(
        self, read: Callable[[Item], Coroutine[Any, Any, T]], items: list[Item], at_once: int
    ) -> list[T | Failed]:
        """Results, or why there are none."""
        return await attempt(read, items, at_once, may_suspend=self.context.storage.may_suspend)

    def use(self, kind: str, ids: Iterable[bytes]) -> None:
        """Note that objects are referred to, so they are no orphans."""
        if self.inventory is not None:
            self.inventory.sizes[kind].of(list(ids))

    # --- the steps

    async def snapshots(self) -> dict[bytes, ManifestFileInfo]:
        """Check all snapshots of the history; gives the manifests that they list."""
        storage = self.context.storage
        history = await self._history()
        self.use("snapshots", history)
        self.reporter.start("snapshots", len(history))
        checker = NodeChecker(self.context.spec_version)
        files: dict[bytes, ManifestFileInfo] = {}

        async def read(snapshot_id: bytes) -> Snapshot:
            return await read_snapshot(storage, snapshot_id)

        for group in batches(history, self.limits.max_snapshots_in_memory):
            for snapshot_id, snapshot in zip(group, await self.attempt(read, group, len(group)), strict=True):
                key = layout.snapshot_key(snapshot_id)
                if isinstance(snapshot, Failed):
                    self.failed(key, snapshot.error, "the history refers to it")
                else:
                    self._check_snapshot(key, snapshot_id, snapshot, checker)
                    self._list_manifests(key, snapshot, files)
                self.reporter.advance()
        self.totals = evolve(self.totals, snapshots=len(history))
        self.history_ids = history
        return files

    async def _history(self) -> list[bytes]:
        history = self.context.history
        known = {info.id: info for info in await history.all_snapshots()}
        for kind, refs in (("branch", await history.branches()), ("tag", await history.tags())):
            for name, tip in refs.items():
                if tip not in known:
                    key = layout.snapshot_key(tip)
                    self.found(ProblemKind.MISSING, key, f"{kind} {name!r} points to it")
        for info in known.values():
            if info.parent_id is not None and info.parent_id not in known:
                key = layout.snapshot_key(info.parent_id)
                self.found(ProblemKind.MISSING, key, f"parent of {base32.encode(info.id)}")
        return sorted(known)

    def _check_snapshot(self, key: str, snapshot_id: bytes, snapshot: Snapshot, checker: NodeChecker) -> None:
        try:
            for words in checker.problems(snapshot, snapshot_id):
                self.found(ProblemKind.INCONSISTENT, key, words)
            for node in snapshot.nodes:
                if node.is_array:
                    self.paths.setdefault(node.id, node.path)
        except Corrupt as error:
            self.failed(key, error, "the history refers to it")

    def _list_manifests(self, key: str, snapshot: Snapshot, files: dict[bytes, ManifestFileInfo]) -> None:
        for entry in snapshot.manifest_files:
            known = files.setdefault(entry.id, entry)
            if known != entry:
                self.found(
                    ProblemKind.INCONSISTENT,
                    key,
                    f"it says of manifest {base32.encode(entry.id)} something else than another snapshot",
                )

    async def transaction_logs(self) -> None:
        """Check the transaction log of every snapshot."""
        storage = self.context.storage
        # Logs of expired snapshots are kept for those that descend from them.
        pruned = {
            log for info in await self.context.history.all_snapshots() for log in info.pruned_ancestor_tx_logs
        }
        ids = sorted({*self.history_ids, *pruned})
        self.use("transaction_logs", ids)
        self.reporter.start("transaction logs", len(ids))

        async def read(log_id: bytes) -> bytes:
            key = layout.transaction_key(log_id)
            content, _ = await storage.get_range_hook(key, None, None)
            return decode_transaction_log(content, name=key).id

        for group in batches(ids, 256):
            for log_id, result in zip(group, await self.attempt(read, group, CHUNKS_AT_ONCE), strict=True):
                key = layout.transaction_key(log_id)
                if isinstance(result, Failed):
                    # The first snapshot has none in spec 1, nor after a migration.
                    if log_id != INITIAL_SNAPSHOT_ID or not isinstance(result.error, NotFound):
                        self.failed(key, result.error, "log of a snapshot in the history")
                elif result != log_id:
                    self.found(ProblemKind.INCONSISTENT, key, f"it says that it is {base32.encode(result)}")
            self.reporter.advance(len(group))
        self.totals = evolve(self.totals, transaction_logs=len(ids))

    async def manifests(self, files: dict[bytes, ManifestFileInfo], executor: Executor | None) -> None:
        """Check all manifests; notes which chunks they need."""
        self.use("manifests", files)
        entries = sorted(files.values(), key=lambda entry: entry.id)
        self.reporter.start("manifests", len(entries))
        storage = self.context.storage
        groups = batches(entries, _MANIFESTS_AT_ONCE)
        if executor is not None:
            lent = LentStorage(storage)
            await fan_out(
                executor,
                manifests_in_worker,
                ((lent, group) for group in groups),
                self._take_facts,
                may_suspend=storage.may_suspend,
                weight=lambda job: sum(entry.num_chunk_refs for entry in job[1]) / _REFS_WAITING,
            )
        else:
            for group in groups:
                self._take_facts(await probe_manifests(storage, group))
        self.totals = evolve(self.totals, manifests=len(entries))

    def _take_facts(self, looked: list[ProbedManifest]) -> None:
        for entry, size, facts in looked:
            key = layout.manifest_key(entry.id)
            if isinstance(facts, IcechunkError):
                self.failed(key, facts, "a snapshot refers to it")
            else:
                self._check_manifest(key, entry, size, facts)
            self.reporter.advance()

    def _check_manifest(self, key: str, entry: ManifestFileInfo, size: int, facts: ManifestFacts) -> None:
        if entry.size_bytes and size != entry.size_bytes:
            text = f"it has {size} bytes, the snapshot says {entry.size_bytes}"
            self.found(ProblemKind.WRONG_SIZE, key, text)
        if facts.id != entry.id:
            self.found(ProblemKind.INCONSISTENT, key, f"it says that it is {base32.encode(facts.id)}")
        if facts.num_refs != entry.num_chunk_refs:
            text = f"it has {facts.num_refs} chunk refs, the snapshot says {entry.num_chunk_refs}"
            self.found(ProblemKind.INCONSISTENT, key, text)
        self.totals = evolve(self.totals, chunk_refs=self.totals.chunk_refs + facts.num_refs)
        for node_id, needs in facts.arrays.items():
            self._need(node_id, needs)

    def _need(self, node_id: bytes, needs: ArrayNeeds) -> None:
        for chunk_id, end in zip(map(bytes, needs.chunk_ids), needs.ends.tolist(), strict=True):
            if end > self.needed.get(chunk_id, -1):
                self.needed[chunk_id] = end
                self.needed_by[chunk_id] = node_id
        for ref in needs.virtual:
            identity = (ref.location, ref.etag, ref.last_modified)
            known = self.virtual_needs.get(identity)
            if known is None or ref.offset + ref.length > known.offset + known.length:
                self.virtual_needs[identity] = ref

    async def chunks(self, executor: Executor | None, *, data: bool) -> None:
        """Check that all chunk objects are there and long enough; with ``data`` read them."""
        ids = sorted(self.needed)
        self.totals = evolve(self.totals, chunk_objects=len(ids))
        self.reporter.start("read chunks" if data else "chunks", len(ids))
        if self.inventory is not None:
            sizes = self.inventory.sizes["chunks"].of(ids) if ids else np.zeros(0, np.int64)
            for chunk_id, size in zip(ids, sizes.tolist(), strict=True):
                self._check_chunk(chunk_id, size)
            if not data:
                self.reporter.advance(len(ids))
        if data or self.inventory is None:
            await self._visit_chunks(ids, executor, data=data)

    def _check_chunk(self, chunk_id: bytes, size: int) -> None:
        key, need = layout.chunk_key(chunk_id), self.needed[chunk_id]
        user = f"array {self.paths.get(self.needed_by[chunk_id], '?')!r} refers to it"
        if size < 0:
            self.found(ProblemKind.MISSING, key, user)
        elif size < need:
            self.found(ProblemKind.WRONG_SIZE, key, f"it has {size} bytes, {need} are needed; {user}")

    async def _visit_chunks(self, ids: list[bytes], executor: Executor | None, *, data: bool) -> None:
        """Read each chunk object, or only ask for it where the storage cannot list."""
        storage, groups = self.context.storage, batches(ids, CHUNKS_AT_ONCE)
        order = iter(ids)
        if executor is None:
            for group in groups:
                self._take_chunks(order, await probe_chunks(storage, group, data=data))
        else:
            lent = LentStorage(storage)
            jobs = ((lent, group, data) for group in groups)
            await fan_out(
                executor,
                chunks_in_worker,
                jobs,
                lambda results: self._take_chunks(order, results),
                may_suspend=storage.may_suspend,
            )

    def _take_chunks(self, ids: Iterator[bytes], results: list[ProbedChunk]) -> None:
        for result in results:
            chunk_id = next(ids)
            if isinstance(result, Failed):
                if self.inventory is None or not isinstance(result.error, NotFound):
                    self.failed(layout.chunk_key(chunk_id), result.error, "a chunk ref names it")
                continue
            size, count = result
            self.totals = evolve(self.totals, bytes_read=self.totals.bytes_read + count)
            if self.inventory is None:
                self._check_chunk(chunk_id, size)
        self.reporter.advance(len(results))

    async def virtual_objects(self) -> None:
        """Read the last byte that is needed of each virtual object: tells size and checksum."""
        refs = list(self.virtual_needs.values())
        self.reporter.start("virtual objects", len(refs))

        async def read(ref: VirtualRef) -> None:
            last = evolve(ref, offset=ref.offset + max(ref.length - 1, 0), length=min(ref.length, 1))
            await self.context.virtual.read(last, None)

        for group in batches(refs, CHUNKS_AT_ONCE):
            for ref, result in zip(group, await self.attempt(read, group, CHUNKS_AT_ONCE), strict=True):
                if isinstance(result, Failed):
                    self._virtual_problem(ref, result.error)
            self.reporter.advance(len(group))
        self.totals = evolve(self.totals, virtual_objects=len(refs))

    def _virtual_problem(self, ref: VirtualRef, error: IcechunkError) -> None:
        cause = error.__cause__
        if isinstance(cause, (NotFound, InvalidRange)):
            kind = ProblemKind.MISSING if isinstance(cause, NotFound) else ProblemKind.WRONG_SIZE
        else:
            kind = (
                ProblemKind.CHANGED
                if error.kind == ErrorKind.VIRTUAL_CHUNK_MODIFIED
                else ProblemKind.UNREADABLE
            )
        self.found(kind, ref.location, error.message)

    # --- the end

    def report(self) -> VerifyReport:
        """What was found."""
        orphans = None
        if self.inventory is not None:
            orphans = {kind: Orphans(*sizes.unused()) for kind, sizes in self.inventory.sizes.items()}
        return evolve(
            self.totals, problems=tuple(self.problems), problem_count=self.problem_count, orphans=orphans
        )
