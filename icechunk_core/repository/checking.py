"""Verification of a repository."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import TYPE_CHECKING

from icechunk_core import maintenance
from icechunk_core.drive import blocking
from icechunk_core.repository.part import RepositoryPart

if TYPE_CHECKING:
    from icechunk_core.maintenance import OnProgress, VerifyReport

__all__ = ["CheckingPart"]


class CheckingPart(RepositoryPart):
    """Reads a repository to find out whether all of it is sound."""

    async def verify_async(
        self,
        *,
        data: bool = False,
        virtual: bool = False,
        max_problems: int = 1000,
        max_snapshots_in_memory: int = 50,
        executor: Executor | None = None,
        progress: OnProgress | None = None,
    ) -> VerifyReport:
        """Check that every object which the history leads to is there, decodes and fits the others.

        Nothing is repaired or changed, and others may work meanwhile. What a commit of theirs
        needs may be too new to be seen, and what their garbage collection removes may seem missing.

        Parameters
        ----------
        data
            Also read all chunk objects, to their ends.
        virtual
            Also look at the objects that virtual chunks are in: their sizes and checksums.
        max_problems
            Tell so many in detail; all are counted.
        max_snapshots_in_memory
            Snapshots read at a time.
        executor
            Whose workers read and decode manifests, and with ``data`` read the chunk objects: any
            `concurrent.futures.Executor`, or Dask's (``client.get_executor()``).
        progress
            Called as the work goes on.

        Returns
        -------
        VerifyReport
            ``ok``, problems, how much was looked at, and orphaned objects.

        Raises
        ------
        Corrupt
            If the history itself cannot be read.
        ExecutorError
            If a worker of the executor was lost.

        >>> from icechunk_core import Repository
        >>> Repository.create("memory:").verify().ok
        True
        """
        limits = maintenance.ReadLimits(max_snapshots_in_memory=max_snapshots_in_memory)
        return await maintenance.verify(
            self._context,
            limits,
            data=data,
            virtual=virtual,
            max_problems=max_problems,
            executor=executor,
            progress=progress,
        )

    verify = blocking(verify_async)
