"""Write the manifests of all arrays anew, split as the configuration says now (FORMAT.md, section 15)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from typing import Any, TypeAlias

from attrs import evolve, frozen

from icechunk_core.drive import run
from icechunk_core.errors import InvalidInputError
from icechunk_core.format.chunk_refs import ChunkRefs
from icechunk_core.format.config_codec import config_to_tree
from icechunk_core.format.config_conditions import ManifestSplitCondition, ManifestSplitDimCondition
from icechunk_core.format.configuration import ManifestConfig, ManifestSplittingConfig, RepositoryConfig
from icechunk_core.format.manifest import Manifest
from icechunk_core.format.snapshot import ManifestFileInfo, ManifestRef
from icechunk_core.maintenance.fanning import check_executor, fan_out
from icechunk_core.maintenance.progress import OnProgress, Reporter
from icechunk_core.session.commit import CommitKind, PreparedArray, commit, plan_arrays
from icechunk_core.session.context import RepositoryContext
from icechunk_core.session.state import SessionState
from icechunk_core.tracing import traced
from icechunk_core.transaction.manifest_sharing import (
    MAX_SHARED_REFS,
    SmallArray,
    is_small,
    shared_manifests,
)
from icechunk_core.transaction.manifests_plan import ArrayPlan, build_splits

__all__ = ["COMMIT_METHODS", "rewrite_manifests"]

_RESERVED = "__icechunk"
COMMIT_METHODS = {"new_commit": CommitKind.COMMIT, "amend": CommitKind.AMEND}
"""What becomes of the branch's latest commit: it gets a child, or it is replaced."""
_UNCUT = (1 << 32) - 1
_REFS_WAITING = 8_000_000
"""To be read by jobs that were sent."""
_SMALL_ARRAYS = 250
"""Arrays of one job that may share manifests."""


@traced("icechunk.rewrite_manifests")
async def rewrite_manifests(
    state: SessionState,
    message: str,
    metadata: Mapping[str, Any],
    commit_method: str,
    *,
    executor: Executor | None = None,
    progress: OnProgress | None = None,
) -> bytes:
    """Commit a fresh writable session, all manifests written anew; gives the new snapshot's id.

    Parameters
    ----------
    commit_method
        ``"new_commit"``, or ``"amend"`` to replace the branch's latest commit.
    executor
        Reads the old manifests and writes the new ones; the commit is made here.

    Raises
    ------
    InvalidInputError
        There is no such commit method.
    ConflictError
        Somebody else committed to the branch meanwhile.
    """
    kind = COMMIT_METHODS.get(commit_method)
    if kind is None:
        raise InvalidInputError(f"invalid commit method: {commit_method!r}; expected 'new_commit' or 'amend'")
    check_executor(executor)
    library = {**metadata.get(_RESERVED, {}), "splitting_config": _splitting(state.context.config)}
    state.rewrite_manifests = True
    reporter = Reporter(progress)
    if executor is not None:
        await _prepare_elsewhere(state, executor, reporter)
    arrays = sum(node.is_array for node in state.base.nodes)
    reporter.start("rewrite manifests", arrays)
    snapshot_id = await commit(state, message, {**metadata, _RESERVED: library}, kind=kind, allow_empty=True)
    reporter.advance(arrays)
    return snapshot_id


def _splitting(config: RepositoryConfig) -> Any:
    """The rules in force, as they are stored in configurations."""
    rules = config.effective_split_sizes() or (
        (ManifestSplitCondition.path_matches(".*"), ((ManifestSplitDimCondition.Any(), _UNCUT),)),
    )
    splitting = ManifestSplittingConfig(split_sizes=rules)
    return config_to_tree(RepositoryConfig(manifest=ManifestConfig(splitting=splitting)))["manifest"][
        "splitting"
    ]


# --- by workers --------------------------------------------------------------------------

Written: TypeAlias = tuple[bytes, ManifestRef, ManifestFileInfo, str]
"""An array's id, one of its new manifests, and the manifest's file and key."""


@frozen
class _Job:
    """Manifests to write, from the old ones that they take their refs from: one, or those of small arrays.

    Attributes
    ----------
    ids
        Of the new manifests, at least as many as there may be.
    """

    context: RepositoryContext
    plans: tuple[ArrayPlan, ...]
    ids: tuple[bytes, ...]
    sizes: Mapping[bytes, int]
    refs: int


async def _prepare_elsewhere(state: SessionState, executor: Executor, reporter: Reporter) -> None:
    """Have all new manifests written; the commit finds them prepared."""
    plans = plan_arrays(state)
    jobs = _jobs(state, plans)
    written: dict[bytes, list[Written]] = {}

    def take(results: list[Written]) -> None:
        for result in results:
            written.setdefault(result[0], []).append(result)
        reporter.advance()

    reporter.start("write manifests", len(jobs))
    await fan_out(
        executor,
        _write_in_worker,
        jobs,
        take,
        may_suspend=state.may_suspend,
        weight=lambda job: job.refs / _REFS_WAITING,
    )
    for plan in plans:
        # Manifests that would be empty are not written.
        found = written.get(plan.node_id, [])
        state.prepared[plan.node_id] = PreparedArray(
            plan,
            (*plan.kept, *(ref for _, ref, _, _ in found)),
            tuple(file for _, _, file, _ in found),
            tuple(key for _, _, _, key in found),
        )


def _jobs(state: SessionState, plans: list[ArrayPlan]) -> list[_Job]:
    """A job for each manifest, and one for many arrays that are small enough to share some."""
    small = [plan for plan in plans if _looks_small(state, plan)]
    chosen = {plan.node_id for plan in small}
    jobs = [
        _job(state, evolve(plan, kept=(), new=(part,)))
        for plan in plans
        if plan.node_id not in chosen
        for part in plan.new
    ]
    small.sort(key=lambda plan: plan.path)
    return jobs + [
        _job(state, *small[start : start + _SMALL_ARRAYS]) for start in range(0, len(small), _SMALL_ARRAYS)
    ]


def _looks_small(state: SessionState, plan: ArrayPlan) -> bool:
    """Whether an array may turn out to be small; how many refs it has is known when they have been read."""
    if not state.context.splits_automatically or plan.kept or len(plan.new) != 1:
        return False
    return _refs_in(state, plan.fetch) <= MAX_SHARED_REFS


def _refs_in(state: SessionState, ids: Iterable[bytes]) -> int:
    entries = [state.base.manifest_file(manifest_id) for manifest_id in ids]
    return sum(entry.num_chunk_refs for entry in entries if entry)


def _job(state: SessionState, *plans: ArrayPlan) -> _Job:
    fetch = dict.fromkeys(manifest_id for plan in plans for manifest_id in plan.fetch)
    entries = {manifest_id: state.base.manifest_file(manifest_id) for manifest_id in fetch}
    return _Job(
        state.context,
        plans,
        tuple(state.context.ids.object_id() for _ in plans),
        {manifest_id: entry.size_bytes if entry else 0 for manifest_id, entry in entries.items()},
        _refs_in(state, fetch),
    )


def _write_in_worker(job: _Job) -> list[Written]:
    return run(_write(job), may_suspend=job.context.storage.may_suspend)


async def _write(job: _Job) -> list[Written]:
    built = [SmallArray(plan, refs) for plan in job.plans for refs in await _new_refs(job, plan)]
    if job.context.splits_automatically:
        small = [array for array in built if is_small(array.plan, [array.refs])]
        groups = shared_manifests(small, frozenset())
        groups += [[array] for array in built if not is_small(array.plan, [array.refs])]
    else:
        groups = [[array] for array in built]
    written: list[Written] = []
    for manifest_id, group in zip(job.ids, groups, strict=False):
        manifest = Manifest(manifest_id, {array.plan.node_id: array.refs for array in group})
        key, file = await job.context.assets.write_manifest(manifest)
        written += [
            (array.plan.node_id, ManifestRef(manifest_id, array.refs.extents()), file, key) for array in group
        ]
    return written


async def _new_refs(job: _Job, plan: ArrayPlan) -> list[ChunkRefs]:
    old: dict[bytes, ChunkRefs] = {}
    for manifest_id in plan.fetch:
        manifest = await job.context.assets.manifest(manifest_id, job.sizes[manifest_id])
        old[manifest_id] = manifest.arrays.get(plan.node_id) or ChunkRefs.empty(plan.ndim)
    return build_splits(plan, old).new
