"""Differences that random programs found, each as the shortest program that shows it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.differential.accepted import what_is_left
from tests.differential.program import Program


@pytest.fixture
def program() -> Iterator[Program]:
    """A program to be written by hand; in the end both repositories are compared."""
    running = Program()
    try:
        yield running
    finally:
        running.close()


def test_missing_branch_is_said_before_disabled_moves(program: Program) -> None:
    """A rearrange session on no branch says so, whatever the feature flags are."""
    program.start(spec_version=2, split=False)
    program.set_feature_flag(flag="move_node", setting=False)
    program.open_session(slot=0, branch="dev", mode="rearrange_session")
    program.open_session(slot=0, branch="main", mode="rearrange_session")


@pytest.mark.parametrize("branch", ["main", "dev"])
def test_rewriting_manifests_by_amending_in_spec_1(program: Program, branch: str) -> None:
    """It is not supported for that version, and says so before it looks for the branch."""
    program.start(spec_version=1, split=True)
    program.rewrite_manifests(branch=branch, method="amend", metadata=None)


def test_merging_a_chunk_outside_of_a_resized_array(program: Program) -> None:
    """One fork makes an array smaller, another writes a chunk beyond: both say the same, in all reads."""
    program.start(spec_version=2, split=True)
    program.fork_and_merge(slot=0, others=[[("resize", "a", (1,))], [("write_chunk", "a", (1,), 3)]])


@pytest.mark.parametrize("spec_version", [1, 2])
def test_a_missing_branch_in_the_past(program: Program, spec_version: int) -> None:
    """A branch that is not there has another code when a time is asked for, in spec 2."""
    program.start(spec_version=spec_version, split=False)
    program.look_at_the_past(branch="dev", snapshot=0, microseconds=0)


@pytest.mark.parametrize("microseconds", [-1, 0, 1])
@pytest.mark.parametrize("spec_version", [1, 2])
def test_times_count_to_the_microsecond(program: Program, spec_version: int, microseconds: int) -> None:
    """A snapshot of exactly the limit's time is the one of that time, and does not expire."""
    program.start(spec_version=spec_version, split=False)
    for n in range(2):
        program.change(0, [("write", "a", 0, 1 + n)])
        program.commit(0, None, None, False, "writable_session")
    program.look_at_the_past("main", 1, microseconds)
    program.expire_to_the_microsecond(1, microseconds, branches=False, tags=False)
    program.collect_garbage(dry_run=False)


def test_tags_that_are_off_and_no_snapshot(program: Program) -> None:
    """A missing snapshot is said before tags that are switched off."""
    program.start(spec_version=2, split=False)
    program.set_feature_flag("create_tag", False)
    program.set_ref("create_tag", "v 1", 6)
    program.set_ref("create_tag", "v 1", 0)


def test_fill_values_are_written(program: Program) -> None:
    """Writing fill values where no chunk is, is a change: it shows, is committed, and conflicts."""
    program.start(spec_version=2, split=False)
    program.change(0, [("create_array", "b", (6,), False)])
    program.commit(0, None, None, False, "writable_session")
    program.race([("write", "b", 0, 0)], [("write", "b", 2, 3)], "Fail 0 0", "writable_session")
    program.diff(1, 0)


@pytest.mark.parametrize("how", ["forward", "swap", "some", "back"])
def test_deleted_chunks_are_reindexed(program: Program, how: str) -> None:
    """A chunk that the session deleted is visited, and takes its fill values along."""
    program.start(spec_version=2, split=False)
    program.change(0, [("erase_chunk", "a", (1,)), ("reindex", "a", how), ("shift", "a", (1,))])


MODES = ["writable_session", "rearrange_session", None]
"""``None``: a session that was committed."""


@pytest.mark.parametrize("mode", MODES)
def test_order_of_checks(program: Program, mode: str | None) -> None:
    """What is wrong with paths and chunks is said before what the session may not do."""
    program.start(spec_version=2, split=False)
    program.open_session(0, "main", mode or "writable_session")
    if mode is None:
        program.commit(0, None, None, True, None)
    moves = [("move", source, target) for source in ("a", "g", "none") for target in ("b", "g", "g/a", "y/a")]
    chunks = [(name, path, at) for name in ("shift",) for path in ("a", "g", "none") for at in [(1,)]]
    program.change(0, [*moves, *chunks, ("reindex", "a", "forward"), ("reindex", "none", "swap")])


def test_nothing_to_clear_in_a_rearrange_session(program: Program) -> None:
    """Deleting where there is nothing, and metadata as it is, are no changes."""
    program.start(spec_version=2, split=False)
    program.open_session(0, "main", "rearrange_session")
    program.change(0, [("set_attributes", "a", {}), ("resize", "a", (6,)), ("delete_folder", "nothing")])
    program.change(1, [("clear",)])
    program.commit(1, None, None, False, "rearrange_session")
    program.change(1, [("clear",)])


CHANGES = {
    "a group": [("create_group", "z", {})],
    "chunks": [("write", "a", 4, 3)],
    "chunks of what is gone": [("write", "b", 0, 3)],
    "metadata of what is gone": [("set_attributes", "b", {"k": 1})],
    "deletion of what is gone": [("delete_node", "b")],
}


@pytest.mark.parametrize("solver", ["detect", "UseOurs 0 0", "UseTheirs 1 1"])
@pytest.mark.parametrize("changes", CHANGES.values(), ids=list(CHANGES))
@pytest.mark.parametrize("spec_version", [1, 2])
def test_rebase_after_a_reset(
    program: Program, spec_version: int, changes: list[tuple[Any, ...]], solver: str
) -> None:
    """Where the branch was reset a rebase looks at all of its history, and loses nothing."""
    program.start(spec_version=spec_version, split=False)
    program.change(0, [("create_array", "b", (4,), False), ("write", "b", 0, 1)])
    program.commit(0, None, None, False, "writable_session")
    program.open_session(1, "main", "writable_session")
    program.change(1, changes)
    program.set_ref("reset_branch", "main", 1)
    program.rebase(1, solver)
    program.commit(1, solver, None, False, "writable_session")


def test_rebase_and_amend_after_an_amend(program: Program) -> None:
    """Where the base was amended the session can be rebased, but amends nothing before."""
    program.start(spec_version=2, split=False)
    program.change(1, [("create_group", "z", {})])
    program.change(0, [("set_attributes", "a", {"k": 1})])
    program.amend(0, None, False)
    program.amend(1, None, False)
    program.rebase(1, "detect")
    program.amend(1, None, False)


def test_amend_after_the_base_expired(program: Program) -> None:
    """The conflict is told, not that the base is no longer in the history."""
    program.start(spec_version=2, split=False)
    program.change(1, [("create_group", "z", {})])
    for n in range(2):
        program.change(0, [("write", "a", 0, 1 + n)])
        program.commit(0, None, None, False, "writable_session")
    program.mark_time()
    program.expire(0, branches=False, tags=False)
    program.amend(1, None, False)
    program.flush(1, None)


@pytest.mark.parametrize("solver", [None, "detect"])
@pytest.mark.parametrize("spec_version", [1, 2])
def test_commit_to_a_deleted_branch(program: Program, spec_version: int, solver: str | None) -> None:
    """It fails, with rebasing too, and says where the branch is: nowhere."""
    program.start(spec_version=spec_version, split=False)
    program.set_ref("create_branch", "dev", 0)
    program.open_session(0, "dev", "writable_session")
    program.change(0, [("write", "a", 0, 3)])
    program.delete_ref("delete_branch", "dev")
    program.rebase(0, "detect")
    program.commit(0, solver, None, False, "writable_session")


@pytest.mark.parametrize("spec_version", [1, 2])
def test_names_of_refs(program: Program, spec_version: int) -> None:
    """The empty name, names with a slash, names that are taken, versions that are not there."""
    program.start(spec_version=spec_version, split=False)
    for name in ("", "a/b", "main"):
        for snapshot in (6, 0, 0):
            program.set_ref("create_branch", name, snapshot)
            program.set_ref("create_tag", name, snapshot)
    program.delete_ref("delete_branch", "")
    program.delete_ref("delete_tag", "")


def test_merging_into_a_fork(program: Program) -> None:
    """A fork takes forks and sessions that read, not those that commit."""
    program.start(spec_version=2, split=False)
    for other in ("fork", "readonly_session", "writable_session"):

        def merge(side: Any, other: str = other) -> None:
            fork = side.repo.writable_session("main").fork()
            fork.merge(fork.fork() if other == "fork" else getattr(side.repo, other)("main"))

        program.pair.call(merge)


@pytest.mark.parametrize("key", ["zarr.json", "a/zarr.json", "a/c/9", "none/c/0", "g/c/0"])
@pytest.mark.parametrize("validate", [True, False])
def test_refused_virtual_refs(program: Program, key: str, validate: bool) -> None:
    """Metadata cannot be virtual; a location outside of all containers is said before a wrong place."""
    program.start(spec_version=2, split=False)
    program.pair.call(
        lambda side: side.sessions[0].store.set_virtual_ref(
            key, "s3://elsewhere/x", offset=0, length=4, validate_container=validate
        )
    )


def test_metadata_of_zarr_2(program: Program) -> None:
    """It is not implemented, which is another error than a wrong key."""
    from zarr.core.buffer import cpu

    program.start(spec_version=2, split=False)
    value = cpu.Buffer.from_bytes(b"{}")
    program.pair.call(lambda side: asyncio.run(side.sessions[0].store.set(".zgroup", value)))


@pytest.mark.parametrize("solver", ["detect", "UseOurs 0 0", "UseTheirs 0 0"])
def test_rebase_over_pruned_logs_of_a_deleted_array(program: Program, solver: str) -> None:
    """Others wrote the same chunk and later deleted the array; then both commits expired."""
    program.start(spec_version=2, split=False)
    program.change(1, [("write", "a", 4, 2)])
    others: list[tuple[Any, ...]] = [("write", "a", 4, 3), ("delete_node", "a"), ("create_group", "z", {})]
    for change in others:
        program.change(0, [change])
        program.commit(0, None, None, False, "writable_session")
    program.expire_to_the_microsecond(0, 0, branches=False, tags=False)
    program.rebase(1, solver)
    program.commit(1, solver, None, False, "writable_session")


SECOND = 1_700_000_000_000
"""A whole second, in milliseconds."""


@pytest.mark.parametrize("written", [SECOND, SECOND + 500])
@pytest.mark.parametrize("after", [-1, 0, 1, 499, 500, 999, 1000, 1001])
def test_ages_of_garbage(program: Program, written: int, after: int) -> None:
    """Objects as old as the limit stay, to the millisecond; a time of whole seconds stands for all of one."""
    program.start(spec_version=2, split=False)
    program.change(0, [("write", "g/a", 0, 3)])
    program.commit(0, None, None, False, "writable_session")
    program.set_ref("reset_branch", "main", 1)
    for side in program.pair.sides:
        for path in side.root.rglob("*"):
            if path.is_file() and path.name != "repo":
                os.utime(path, ns=(written * 1_000_000, written * 1_000_000))
    limit = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=written + after)
    program.collect(limit, dry_run=False)
    program.pair.call(what_is_left)


@pytest.mark.parametrize("made", [("create_group", "g", {}), ("create_array", "g/b", (4,), True)])
def test_a_group_that_both_have_made_anew(program: Program, made: Any) -> None:
    """Both delete a group and make one in its place: ours refuses the second, and the first is as it was."""
    program.start(spec_version=2, split=False)
    mine = [("delete_folder", "g"), ("create_array", "g/a", (3, 4), False)]
    program.race(first=mine, second=[("delete_folder", "g"), made], mode="writable_session", solver="detect")


def test_clearing_arrays_that_the_session_has_made(program: Program) -> None:
    """A session that has cleared all that it has made has nothing to commit."""
    program.start(spec_version=2, split=False)
    program.change(slot=0, changes=[("clear",)])
    program.commit(slot=0, solver=None, metadata=None, allow_empty=False, reopen="writable_session")
    made = [("create_array", "a", (3, 4), True), ("write_chunk", "a", (1, 1), 0)]
    program.change(slot=0, changes=[*made, ("clear",)])
    program.commit(slot=0, solver=None, metadata=None, allow_empty=False, reopen=None)
