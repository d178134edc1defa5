"""Maintenance of a repository: expiry, garbage collection, statistics, rewriting, migration."""

from __future__ import annotations

import copy
import warnings
from concurrent.futures import Executor
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from icechunk_core import maintenance
from icechunk_core.clock import us_from_datetime
from icechunk_core.drive import blocking, run
from icechunk_core.error_kinds import ErrorKind
from icechunk_core.errors import FormatError, InvalidInputError
from icechunk_core.format import base32
from icechunk_core.repository import queries
from icechunk_core.repository.part import RepositoryPart
from icechunk_core.session import SessionMode, SessionState

if TYPE_CHECKING:
    from icechunk_core.maintenance import ChunkStorageStats, GCSummary, OnProgress

__all__ = ["MaintenancePart", "upgrade_icechunk_repository", "upgrade_icechunk_repository_async"]

_MANIFEST_BYTES = 512 * 1024 * 1024
_DECODED_BYTES = 4 * 1024 * 1024 * 1024


class MaintenancePart(RepositoryPart):
    """Administrative operations. Each takes a ``progress`` callback, called with `Progress` values."""

    async def expire_snapshots_async(
        self,
        older_than: datetime,
        *,
        delete_expired_branches: bool = False,
        delete_expired_tags: bool = False,
        dry_run: bool = False,
        progress: OnProgress | None = None,
    ) -> set[str]:
        """Take snapshots committed before a time out of the history.

        Their objects stay until `garbage_collect`, and for good where a ref points to them.
        Roots and the tip of ``main`` never expire. Whoever reads the history meanwhile may
        see the old or the new one.

        Parameters
        ----------
        older_than
            An aware time; a snapshot of exactly this time stays.
        delete_expired_branches, delete_expired_tags
            Delete the branches (never ``main``) and tags whose snapshot is older. Otherwise
            those snapshots stay.
        dry_run
            Change nothing, only find them.
        progress
            Called as the work goes on.

        Returns
        -------
        set of str
            Ids of the expired snapshots.

        Raises
        ------
        ReadOnlyError
            If the repository's status or its storage forbids writing.
        """
        limit_us = _aware_us(older_than)
        if not dry_run:
            queries.check_storage_writable(self._context.storage)
        released = await maintenance.expire_snapshots(
            self._context,
            limit_us,
            delete_branches=delete_expired_branches,
            delete_tags=delete_expired_tags,
            dry_run=dry_run,
            progress=progress,
        )
        return {base32.encode(snapshot_id) for snapshot_id in released}

    expire_snapshots = blocking(expire_snapshots_async)

    async def garbage_collect_async(
        self,
        delete_object_older_than: datetime,
        *,
        dry_run: bool = False,
        max_snapshots_in_memory: int = 50,
        max_compressed_manifest_mem_bytes: int = _MANIFEST_BYTES,
        max_decoded_manifest_mem_bytes: int = _DECODED_BYTES,
        max_concurrent_manifest_fetches: int = 500,
        max_concurrent_deletes: int = 10,
        max_consecutive_delete_failures: int = 50,
        max_concurrent_listings: int | None = None,
        executor: Executor | None = None,
        progress: OnProgress | None = None,
    ) -> GCSummary:
        """Delete objects that no branch or tag leads to any more.

        Objects that are younger, by the storage's clock, are safe. So choose a time before the
        oldest session began that is still open, and nobody loses anything.

        Parameters
        ----------
        delete_object_older_than
            An aware time; an object last written at exactly this time stays.
        dry_run
            Delete nothing, only count.
        max_snapshots_in_memory
            Snapshots read at a time.
        max_compressed_manifest_mem_bytes, max_decoded_manifest_mem_bytes
            Bytes of manifests in flight, as stored and (estimated) in memory. Besides them there
            are 12 bytes for each chunk object in use.
        max_concurrent_manifest_fetches
            Manifests read at a time.
        max_concurrent_deletes
            Delete requests at a time.
        max_consecutive_delete_failures
            Give up after so many failed delete requests in a row.
        max_concurrent_listings
            Listings at a time. A kind with very many objects is listed in parts then, which takes
            at least 32 requests; by default it is one stream.
        executor
            Whose workers read and decode what is in use, and on network storages list and delete what is
            not: any `concurrent.futures.Executor`, or Dask's (``client.get_executor()``).
        progress
            Called as the work goes on.

        Returns
        -------
        GCSummary
            What was deleted, what could not be, and what was left alone because of that.

        Raises
        ------
        ReadOnlyError
            If the repository's status or its storage forbids writing.
        Corrupt, SnapshotNotFoundError
            If something that is in use cannot be read. Nothing is deleted then.
        ConflictError
            If too many deletions fail in a row (kind ``gc-deletes-failing``), or the repository
            changes all the time.
        ExecutorError
            If a worker of the executor was lost. The repository is whole: run it again.
        """
        limit_us = _aware_us(delete_object_older_than)
        limits = maintenance.GCLimits(
            max_snapshots_in_memory=max_snapshots_in_memory,
            max_compressed_manifest_mem_bytes=max_compressed_manifest_mem_bytes,
            max_decoded_manifest_mem_bytes=max_decoded_manifest_mem_bytes,
            max_concurrent_manifest_fetches=max_concurrent_manifest_fetches,
            max_concurrent_deletes=max_concurrent_deletes,
            max_consecutive_delete_failures=max_consecutive_delete_failures,
            max_concurrent_listings=max_concurrent_listings,
        )
        if not dry_run:
            queries.check_storage_writable(self._context.storage)
        return await maintenance.collect_garbage(
            self._context, limit_us, limits, dry_run=dry_run, executor=executor, progress=progress
        )

    garbage_collect = blocking(garbage_collect_async)

    async def chunk_storage_stats_async(
        self,
        *,
        max_snapshots_in_memory: int = 50,
        max_compressed_manifest_mem_bytes: int = _MANIFEST_BYTES,
        max_decoded_manifest_mem_bytes: int = _DECODED_BYTES,
        max_concurrent_manifest_fetches: int = 500,
        executor: Executor | None = None,
        progress: OnProgress | None = None,
    ) -> ChunkStorageStats:
        """How many bytes the chunks of all versions take that branches and tags lead to.

        What several versions share counts once. What `garbage_collect` would delete does not count.

        Parameters
        ----------
        max_snapshots_in_memory
            Snapshots read at a time.
        max_compressed_manifest_mem_bytes, max_decoded_manifest_mem_bytes
            Bytes of manifests in flight, as stored and (estimated) in memory.
        max_concurrent_manifest_fetches
            Manifests read at a time.
        executor
            Whose workers read and decode: any `concurrent.futures.Executor`, or Dask's.
        progress
            Called as the work goes on.
        """
        limits = maintenance.ReadLimits(
            max_snapshots_in_memory=max_snapshots_in_memory,
            max_compressed_manifest_mem_bytes=max_compressed_manifest_mem_bytes,
            max_decoded_manifest_mem_bytes=max_decoded_manifest_mem_bytes,
            max_concurrent_manifest_fetches=max_concurrent_manifest_fetches,
        )
        return await maintenance.chunk_storage(self._context, limits, executor=executor, progress=progress)

    chunk_storage_stats = blocking(chunk_storage_stats_async)

    async def total_chunks_storage_async(
        self,
        *,
        max_snapshots_in_memory: int = 50,
        max_compressed_manifest_mem_bytes: int = _MANIFEST_BYTES,
        max_decoded_manifest_mem_bytes: int = _DECODED_BYTES,
        max_concurrent_manifest_fetches: int = 500,
    ) -> int:
        """Bytes of native chunks only: ``chunk_storage_stats().native_bytes``, which replaces it."""
        warnings.warn(
            "total_chunks_storage is deprecated; use chunk_storage_stats(...).native_bytes, "
            "which also tells the bytes of virtual and inline chunks",
            DeprecationWarning,
            stacklevel=2,
        )
        stats = await self.chunk_storage_stats_async(
            max_snapshots_in_memory=max_snapshots_in_memory,
            max_compressed_manifest_mem_bytes=max_compressed_manifest_mem_bytes,
            max_decoded_manifest_mem_bytes=max_decoded_manifest_mem_bytes,
            max_concurrent_manifest_fetches=max_concurrent_manifest_fetches,
        )
        return stats.native_bytes

    total_chunks_storage = blocking(total_chunks_storage_async)

    async def rewrite_manifests_async(
        self,
        message: str,
        *,
        branch: str,
        metadata: dict[str, Any] | None = None,
        commit_method: str = "new_commit",
        executor: Executor | None = None,
        progress: OnProgress | None = None,
    ) -> str:
        """Write the manifests of all arrays anew, split as the configuration says now.

        No data changes. The rules for splitting are recorded in the new snapshot's metadata.

        Parameters
        ----------
        message, metadata
            What the commit says.
        branch
            The branch to commit to.
        commit_method
            ``"new_commit"``, or ``"amend"`` to replace the latest commit (spec 2 only).
        executor
            Whose workers read the old manifests and write the new ones: any
            `concurrent.futures.Executor`, or Dask's. The commit is made here.
        progress
            Called as the work goes on.

        Returns
        -------
        str
            Id of the new snapshot.

        Raises
        ------
        InvalidInputError
            For any other commit method.
        FormatError
            To amend in a repository of spec 1.
        ConflictError
            If somebody else commits to the branch meanwhile.
        ExecutorError
            If a worker of the executor was lost. Nothing is committed then.
        """
        context = self._context
        if commit_method == "amend" and context.spec_version < 2:
            raise FormatError(
                "amend needs a repository of spec 2; use 'new_commit', or migrate the repository",
                kind=ErrorKind.UNSUPPORTED_OPERATION_FOR_VERSION,
            )
        await context.history.check_writable()
        queries.check_storage_writable(context.storage)
        snapshot = await context.assets.snapshot(await context.history.branch(branch))
        state = SessionState(context, snapshot, SessionMode.WRITABLE, branch)
        return base32.encode(
            await maintenance.rewrite_manifests(
                state,
                message,
                {**self._commit_metadata, **(metadata or {})},
                commit_method,
                executor=executor,
                progress=progress,
            )
        )

    rewrite_manifests = blocking(rewrite_manifests_async)


def _aware_us(time: datetime) -> int:
    if time.tzinfo is None:
        raise TypeError("expected a datetime with a time zone, such as datetime.now(timezone.utc)")
    return us_from_datetime(time)


# --- migration -------------------------------------------------------------------------


class _Migrated:
    """What is left of a repository object whose repository was migrated through it."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(
            "this repository was migrated with upgrade_icechunk_repository; "
            "use the Repository which that function returned"
        )


R = TypeVar("R", bound=RepositoryPart)


async def upgrade_icechunk_repository_async(
    repo: R,
    *,
    dry_run: bool,
    delete_unused_v1_files: bool = True,
    prefetch_concurrency: int | None = None,
    progress: OnProgress | None = None,
) -> R:
    """Migrate a repository of spec 1 to spec 2.

    Nobody else may use the repository meanwhile. It takes longer the more snapshots there are:
    each is read once. Data is neither read nor written.

    Parameters
    ----------
    repo
        The repository. Unless ``dry_run``, it cannot be used any more afterwards.
    dry_run
        Read and check everything, and write nothing.
    delete_unused_v1_files
        Delete the refs and the configuration of spec 1 once the migrated repository opens.
    prefetch_concurrency
        Snapshots to read at a time, by default 64.
    progress
        Called as the work goes on.

    Returns
    -------
    Repository
        The repository to use from now on.

    Raises
    ------
    SessionStateError
        If the repository is not of spec 1 (kind ``invalid-repository-migration``).
    ReadOnlyError
        If the storage cannot be written.
    """
    concurrency = 64 if prefetch_concurrency is None else prefetch_concurrency
    if concurrency < 1:
        raise InvalidInputError(f"prefetch_concurrency must be at least 1, not {concurrency}")
    migrated = await maintenance.migrate(
        repo._context,
        dry_run=dry_run,
        delete_unused_v1_files=delete_unused_v1_files,
        prefetch_concurrency=concurrency,
        progress=progress,
    )
    new = copy.copy(repo)
    new._context = migrated
    if not dry_run:
        repo._context = _Migrated()  # type: ignore[assignment]
    return new


def upgrade_icechunk_repository(
    repo: R,
    *,
    dry_run: bool,
    delete_unused_v1_files: bool = True,
    prefetch_concurrency: int | None = None,
    progress: OnProgress | None = None,
) -> R:
    """The blocking twin of `upgrade_icechunk_repository_async`."""
    return run(
        upgrade_icechunk_repository_async(
            repo,
            dry_run=dry_run,
            delete_unused_v1_files=delete_unused_v1_files,
            prefetch_concurrency=prefetch_concurrency,
            progress=progress,
        ),
        may_suspend=repo._may_suspend,
    )
