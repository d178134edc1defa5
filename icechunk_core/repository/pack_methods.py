"""Maintenance of packs: how well they are used, and rewriting those that are not."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

from icechunk_core import maintenance
from icechunk_core.drive import blocking
from icechunk_core.error_kinds import ErrorKind
from icechunk_core.errors import FormatError
from icechunk_core.repository import queries
from icechunk_core.repository.part import RepositoryPart

if TYPE_CHECKING:
    from icechunk_core.maintenance import OnProgress, PackStats, RepackSummary

__all__ = ["PacksPart"]


class PacksPart(RepositoryPart):
    """Looks into chunk objects and rewrites them."""

    async def pack_stats_async(
        self,
        *,
        max_snapshots_in_memory: int = 50,
        executor: Executor | None = None,
        progress: OnProgress | None = None,
    ) -> PackStats:
        """How many bytes of the chunk objects are in use, and how many `repack` could set free.

        All manifests that branches and tags lead to are read, and the chunk objects listed.

        Parameters
        ----------
        max_snapshots_in_memory
            Snapshots read at a time.
        executor
            Whose workers read and decode: any `concurrent.futures.Executor`, or Dask's.
        progress
            Called as the work goes on.
        """
        maintenance.check_executor(executor)
        limits = maintenance.ReadLimits(max_snapshots_in_memory=max_snapshots_in_memory)
        reporter = maintenance.Reporter(progress)
        return (await maintenance.usage_of_packs(self._context, limits, executor, reporter)).stats()

    pack_stats = blocking(pack_stats_async)

    async def repack_async(
        self,
        message: str,
        *,
        branch: str,
        metadata: dict[str, Any] | None = None,
        commit_method: str = "new_commit",
        live_below: float = 0.5,
        dry_run: bool = False,
        max_snapshots_in_memory: int = 50,
        executor: Executor | None = None,
        progress: OnProgress | None = None,
    ) -> RepackSummary:
        """Copy the chunks of a branch's latest version out of objects that are mostly unused.

        No data changes: the commit has an empty transaction log, and sessions that began
        before it rebase over it without conflicts. Space is freed when no older version needs the
        old objects any more: expire snapshots first, repack (each branch that matters), and
        collect garbage when the versions from before the repacking have expired, too.

        Parameters
        ----------
        message, metadata
            What the commit says.
        branch
            The branch whose latest version is repacked.
        commit_method
            ``"new_commit"``, or ``"amend"`` to replace the latest commit (spec 2 only), which
            then does not need the old objects either.
        live_below
            Objects are rewritten of which less than this part is in use by any branch or tag.
        dry_run
            Only count.
        max_snapshots_in_memory
            Snapshots read at a time.
        executor
            Whose workers read manifests and copy the chunks: any `concurrent.futures.Executor`, or
            Dask's (``client.get_executor()``). The commit is made here.
        progress
            Called as the work goes on.

        Returns
        -------
        RepackSummary
            What was copied, and the new snapshot.

        Raises
        ------
        InvalidInputError
            For any other commit method, or a ``live_below`` that is not between 0 and 1.
        FormatError
            To amend in a repository of spec 1.
        ConflictError
            If others commit to the branch all the time.
        Corrupt, SnapshotNotFoundError
            If something that is in use cannot be read. Nothing is committed then.
        ExecutorError
            If a worker of the executor was lost. Nothing is committed then.
        """
        context = self._context
        if commit_method == "amend" and context.spec_version < 2:
            raise FormatError(
                "amend needs a repository of spec 2; use 'new_commit', or migrate the repository",
                kind=ErrorKind.UNSUPPORTED_OPERATION_FOR_VERSION,
            )
        if not dry_run:
            await context.history.check_writable()
            queries.check_storage_writable(context.storage)
        return await maintenance.repack(
            context,
            branch,
            message,
            {**self._commit_metadata, **(metadata or {})},
            commit_method=commit_method,
            live_below=live_below,
            dry_run=dry_run,
            limits=maintenance.ReadLimits(max_snapshots_in_memory=max_snapshots_in_memory),
            executor=executor,
            reporter=maintenance.Reporter(progress),
        )

    repack = blocking(repack_async)
