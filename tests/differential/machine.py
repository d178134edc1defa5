"""Random programs, drawn by Hypothesis (see `program`).

Two writers that get in each other's way are what matters most, so they come most often.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.differential import actions
from tests.differential.program import Program

__all__ = ["DifferentialMachine"]

Steps = dict[str, dict[str, st.SearchStrategy[Any]]]

SLOTS = st.sampled_from([0, 1, 2])
BRANCHES = st.sampled_from(["main", "main", "main", "dev"])
SNAPSHOTS = st.integers(0, 6)
METADATA = st.none() | st.dictionaries(st.sampled_from(["k", "ü"]), st.integers(0, 9), max_size=2)
MICROSECONDS = st.sampled_from([-1, 0, 1])
MODES = st.sampled_from(["writable_session", "writable_session", "writable_session", "rearrange_session"])
CHANGES = st.lists(actions.CHANGES, min_size=2, max_size=5)

SESSIONS: Steps = {
    "open_session": {"slot": SLOTS, "branch": BRANCHES, "mode": MODES},
    "commit": {
        "slot": SLOTS,
        "solver": actions.SOLVERS,
        "metadata": METADATA,
        "allow_empty": st.booleans(),
        "reopen": MODES | st.none(),
    },
    "amend": {"slot": SLOTS, "metadata": METADATA, "allow_empty": st.booleans()},
    "flush": {"slot": SLOTS, "metadata": METADATA},
    "rebase": {"slot": SLOTS, "solver": actions.SOLVERS.filter(bool)},
    "fork_and_merge": {"slot": SLOTS, "others": st.lists(CHANGES, max_size=2)},
}
REFS: Steps = {
    "set_ref": {
        "action": st.sampled_from(["create_branch", "reset_branch", "create_tag"]),
        "name": st.sampled_from(["dev", "dev", "main", "v 1", "", "a/b"]),
        "snapshot": SNAPSHOTS,
    },
    "delete_ref": {
        "action": st.sampled_from(["delete_branch", "delete_tag"]),
        "name": st.sampled_from(["dev", "dev", "main", "v 1", "", "none"]),
    },
    "reset_branch_from": {"snapshot": SNAPSHOTS, "expected": SNAPSHOTS},
    "look_at_snapshot": {"snapshot": SNAPSHOTS},
    "diff": {"start": SNAPSHOTS, "end": SNAPSHOTS},
    "diff_of_refs": {"start": BRANCHES, "end": st.sampled_from(["main", "dev", "v 1"])},
    "look_at_the_past": {"branch": BRANCHES, "snapshot": SNAPSHOTS, "microseconds": MICROSECONDS},
}
UPKEEP: Steps = {
    "set_metadata": {
        "action": st.sampled_from(["set_metadata", "update_metadata"]),
        "metadata": st.dictionaries(st.sampled_from(["k", "ü"]), st.none() | st.integers(0, 9), max_size=2),
    },
    "set_feature_flag": {
        "flag": st.sampled_from(["move_node", "create_tag", "delete_tag", "none"]),
        "setting": st.sampled_from([True, False, None]),
    },
    "be_read_only_for_a_while": {
        "slot": SLOTS, "reason": st.none() | st.just("repairs"), "change": actions.CHANGES,
    },
    "reopen": {},
    "save_config": {"inline": st.sampled_from([0, 12, 40]), "page": st.sampled_from([1, 3, 1000])},
    "rewrite_manifests": {
        "branch": BRANCHES,
        "method": st.sampled_from(["new_commit", "new_commit", "amend"]),
        "metadata": METADATA,
    },
    "mark_time": {},
    "expire": {"mark": st.integers(0, 9), "branches": st.booleans(), "tags": st.booleans()},
    "expire_to_the_microsecond": {
        "snapshot": SNAPSHOTS,
        "microseconds": MICROSECONDS,
        "branches": st.booleans(),
        "tags": st.booleans(),
    },
    "collect_garbage_until": {"mark": st.integers(0, 9), "dry_run": st.booleans()},
    "collect_garbage": {"dry_run": st.booleans()},
    "look_at_log": {},
    "measure": {},
    "migrate": {"dry_run": st.booleans(), "delete": st.booleans()},
}  # fmt: skip


def one_of(steps: Steps) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """A step by its name, with arguments."""
    return st.sampled_from(sorted(steps)).flatmap(
        lambda name: st.tuples(st.just(name), st.fixed_dictionaries(steps[name]))
    )


class DifferentialMachine(RuleBasedStateMachine):
    """Runs the steps of a `Program`."""

    def __init__(self) -> None:
        super().__init__()
        self.program = Program()

    def teardown(self) -> None:
        self.program.close()

    @initialize(
        spec_version=st.sampled_from([2, 2, 2, 1]),
        split=st.booleans(),
        packs=st.sampled_from([False, False, True]),
    )
    def start(self, spec_version: int, split: bool, packs: bool) -> None:
        """A repository with two arrays and two groups."""
        self.program.start(spec_version, split, packs)

    @rule(first=CHANGES, second=CHANGES, solver=actions.SOLVERS.filter(bool), mode=MODES)
    def race(self, **arguments: Any) -> None:
        """Two writers."""
        self.program.race(**arguments)

    @rule(slot=SLOTS, changes=CHANGES)
    def change(self, **arguments: Any) -> None:
        """Uncommitted changes."""
        self.program.change(**arguments)

    @rule(step=one_of(SESSIONS))
    def session(self, step: tuple[str, dict[str, Any]]) -> None:
        """Commits, rebases, forks."""
        self._run(step)

    @rule(step=one_of(REFS))
    def refs(self, step: tuple[str, dict[str, Any]]) -> None:
        """Branches, tags, versions."""
        self._run(step)

    @rule(step=one_of(UPKEEP))
    def upkeep(self, step: tuple[str, dict[str, Any]]) -> None:
        """Settings and maintenance."""
        self._run(step)

    def _run(self, step: tuple[str, dict[str, Any]]) -> None:
        name, arguments = step
        getattr(self.program, name)(**arguments)
