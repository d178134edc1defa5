"""Differences that random programs found, each as the shortest program that shows it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
