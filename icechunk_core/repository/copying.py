"""Copies of a repository on other storages."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor
from typing import TYPE_CHECKING

from icechunk_core import maintenance
from icechunk_core.drive import blocking_on_loop
from icechunk_core.errors import ErrorKind, FormatError
from icechunk_core.history import RepoObjectHistory
from icechunk_core.history.creation import detect_spec_version
from icechunk_core.repository import opening
from icechunk_core.repository.part import RepositoryPart
from icechunk_core.storage import StorageLike, as_storage
from icechunk_core.tracing import traced

if TYPE_CHECKING:
    from icechunk_core.maintenance import CopySummary, OnProgress

__all__ = ["CopyingPart"]


class CopyingPart(RepositoryPart):
    """Copies a repository from its storage to another one."""

    @traced("icechunk.copy")
    async def copy_async(
        self,
        target: StorageLike,
        *,
        branches: Iterable[str] | None = None,
        tags: Iterable[str] | None = None,
        overwrite: bool = False,
        dry_run: bool = False,
        max_snapshots_in_memory: int = 50,
        executor: Executor | None = None,
        progress: OnProgress | None = None,
    ) -> CopySummary:
        """Copy the repository, or chosen branches and tags, to another storage. Snapshot ids stay the same.

        Run it again to go on after an interruption, or to bring the copy up to date: only what the
        target lacks is copied. Virtual chunks are copied as what they are, references.

        Parameters
        ----------
        target
            Where to: a `Storage`, a URL or a path. Empty, or with a repository of the same spec version.
        branches, tags
            What to copy, with its history. Without them, everything becomes as it is here: refs,
            configuration, metadata, status and the operations log; the target must then be an earlier
            state of this repository. With them, the refs are created or moved forward in the target,
            whatever else it has.
        overwrite
            Let the target lose changes of its own.
        dry_run
            Write nothing, only count.
        max_snapshots_in_memory
            Snapshots read at a time.
        executor
            Whose workers find out what is needed, and copy it: any `concurrent.futures.Executor`, or
            Dask's (``client.get_executor()``). They have to reach both storages.
        progress
            Called as the work goes on.

        Returns
        -------
        CopySummary
            How much was copied, how much was there, and which refs changed.

        Raises
        ------
        ConflictError
            If the target has changes of its own (kind ``copy-target-differs``), or changes meanwhile.
        RefNotFoundError
            If a branch or tag does not exist here.
        FormatError
            If the target has the other spec version.
        Corrupt, SnapshotNotFoundError
            If something that is needed is damaged or missing here; see `verify`.
        ExecutorError
            If a worker of the executor was lost. The next run goes on from there.

        >>> from icechunk_core import Repository, in_memory_storage
        >>> repo, copy = Repository.create("memory:"), in_memory_storage()
        >>> repo.copy(copy).branches
        ('main',)
        >>> Repository.open(copy).lookup_branch("main") == repo.lookup_branch("main")
        True
        """
        maintenance.check_executor(executor)
        opened = as_storage(target)
        opening.check_commit_safety(opened)
        copier = maintenance.ObjectCopier(
            self._context.storage,
            opened,
            maintenance.ReadLimits(max_snapshots_in_memory=max_snapshots_in_memory),
            maintenance.Reporter(progress),
            dry_run=dry_run,
            executor=executor,
        )
        if branches is not None or tags is not None:
            history = self._context.history
            chosen = maintenance.ChosenRefs(
                {name: await history.branch(name) for name in branches or ()},
                {name: await history.tag(name) for name in tags or ()},
            )
            return await maintenance.copy_refs(self._context, copier, chosen, overwrite=overwrite)
        there = await detect_spec_version(opened)
        if there not in (None, self._context.spec_version):
            raise FormatError(
                f"the target is a repository of spec {there}, this one is of spec "
                f"{self._context.spec_version}; choose an empty place",
                kind=ErrorKind.UNSUPPORTED_SPEC_VERSION,
            )
        if isinstance(self._context.history, RepoObjectHistory):
            return await maintenance.mirror_repo_object(self._context, opened, copier, overwrite=overwrite)
        return await maintenance.mirror_ref_files(self._context, opened, copier, overwrite=overwrite)

    copy = blocking_on_loop(copy_async)
