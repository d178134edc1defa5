"""Write the manifests of all arrays anew, split as the configuration says now (FORMAT.md, section 15)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icechunk_core.errors import InvalidInputError
from icechunk_core.format.config_codec import config_to_tree
from icechunk_core.format.config_conditions import ManifestSplitCondition, ManifestSplitDimCondition
from icechunk_core.format.configuration import ManifestConfig, ManifestSplittingConfig, RepositoryConfig
from icechunk_core.maintenance.progress import OnProgress, Reporter
from icechunk_core.session.commit import CommitKind, commit
from icechunk_core.session.state import SessionState

__all__ = ["COMMIT_METHODS", "rewrite_manifests"]

_RESERVED = "__icechunk"
COMMIT_METHODS = {"new_commit": CommitKind.COMMIT, "amend": CommitKind.AMEND}
"""What becomes of the branch's latest commit: it gets a child, or it is replaced."""
_UNCUT = (1 << 32) - 1


async def rewrite_manifests(
    state: SessionState,
    message: str,
    metadata: Mapping[str, Any],
    commit_method: str,
    *,
    progress: OnProgress | None = None,
) -> bytes:
    """Commit a fresh writable session, all manifests written anew; gives the new snapshot's id.

    Parameters
    ----------
    commit_method
        ``"new_commit"``, or ``"amend"`` to replace the branch's latest commit.

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
    library = {**metadata.get(_RESERVED, {}), "splitting_config": _splitting(state.context.config)}
    state.rewrite_manifests = True
    reporter = Reporter(progress)
    reporter.start("rewrite manifests", sum(node.is_array for node in state.base.nodes))
    snapshot_id = await commit(state, message, {**metadata, _RESERVED: library}, kind=kind, allow_empty=True)
    reporter.advance(sum(node.is_array for node in state.base.nodes))
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
