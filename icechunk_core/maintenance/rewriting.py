"""Write the manifests of all arrays anew, split as the configuration says now (FORMAT.md, section 15)."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from itertools import islice
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
from icechunk_core.transaction.manifests_plan import ArrayPlan, build_splits

__all__ = ["COMMIT_METHODS", "rewrite_manifests"]

_RESERVED = "__icechunk"
COMMIT_METHODS = {"new_commit": CommitKind.COMMIT, "amend": CommitKind.AMEND}
"""What becomes of the branch's latest commit: it gets a child, or it is replaced."""
_UNCUT = (1 << 32) - 1
_REFS_WAITING = 8_000_000
"""To be read by jobs that were sent."""


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

Written: TypeAlias = tuple[ManifestRef, ManifestFileInfo, str]


@frozen
class _Job:
    """One manifest to write, from the old ones that it takes its refs from."""

    context: RepositoryContext
    plan: ArrayPlan
    manifest_id: bytes
    sizes: Mapping[bytes, int]
    refs: int


async def _prepare_elsewhere(state: SessionState, executor: Executor, reporter: Reporter) -> None:
    """Have all new manifests written; the commit finds them prepared."""
    plans = plan_arrays(state)
    jobs = [_job(state, evolve(plan, kept=(), new=(part,))) for plan in plans for part in plan.new]
    written: list[Written | None] = []

    def take(result: Written | None) -> None:
        written.append(result)
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
    results = iter(written)
    for plan in plans:
        # Manifests that would be empty are not written.
        found = [result for result in islice(results, len(plan.new)) if result is not None]
        state.prepared[plan.node_id] = PreparedArray(
            plan,
            (*plan.kept, *(ref for ref, _, _ in found)),
            tuple(file for _, file, _ in found),
            tuple(key for _, _, key in found),
        )


def _job(state: SessionState, plan: ArrayPlan) -> _Job:
    entries = {manifest_id: state.base.manifest_file(manifest_id) for manifest_id in plan.fetch}
    return _Job(
        state.context,
        plan,
        state.context.ids.object_id(),
        {manifest_id: entry.size_bytes if entry else 0 for manifest_id, entry in entries.items()},
        sum(entry.num_chunk_refs for entry in entries.values() if entry),
    )


def _write_in_worker(job: _Job) -> Written | None:
    return run(_write(job), may_suspend=job.context.storage.may_suspend)


async def _write(job: _Job) -> Written | None:
    assets, plan = job.context.assets, job.plan
    old: dict[bytes, ChunkRefs] = {}
    for manifest_id, size in job.sizes.items():
        manifest = await assets.manifest(manifest_id, size)
        old[manifest_id] = manifest.arrays.get(plan.node_id) or ChunkRefs.empty(plan.ndim)
    built = build_splits(plan, old).new
    if not built:
        return None
    (refs,) = built
    key, info = await assets.write_manifest(Manifest(job.manifest_id, {plan.node_id: refs}))
    return ManifestRef(job.manifest_id, refs.extents()), info, key
