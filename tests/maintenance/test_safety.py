"""Expiry and garbage collection never take anything away that is in use."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.maintenance.world import MEANWHILE, PAST, PRESENT, Step, World
from tests.searching import examples

NUMBERS = st.integers(0, 1 << 12)


def steps(names: list[str], most: int) -> st.SearchStrategy[list[Step]]:
    """Some steps of these kinds."""
    return st.lists(st.tuples(st.sampled_from(names), NUMBERS), max_size=most)


ROUNDS = st.lists(
    st.tuples(steps(PAST, 8), steps(PRESENT, 8), steps(MEANWHILE, 4), NUMBERS), min_size=1, max_size=3
)
QUICK = settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    # A failing program is long enough to read; shrinking would take minutes.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
LONG = settings(QUICK, max_examples=examples(75))

Rounds = list[tuple[list[Step], list[Step], list[Step], int]]


def live(spec_version: int, rounds: Rounds) -> None:
    """In each round: a past, time goes by, a present, and a collection with something going on meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder) / "repo", spec_version)
        for past, present, meanwhile, choice in rounds:
            for step in [*past, ("age", 0), *present]:
                world.run(step)
            world.collect(choice, meanwhile)


@QUICK
@given(ROUNDS)
def test_everything_in_use_survives(rounds: Rounds) -> None:
    """Spec 2: refs, sessions and forks read and commit, whatever happens before and during a collection."""
    live(2, rounds)


@QUICK
@given(ROUNDS)
def test_everything_in_use_survives_in_spec_1(rounds: Rounds) -> None:
    """Spec 1: the same, except that no new refs to old versions may be made during a collection."""
    live(1, rounds)


@pytest.mark.slow
@pytest.mark.parametrize("version", [1, 2])
def test_everything_in_use_survives_long(version: int) -> None:
    """The same with many more programs."""

    @LONG
    @given(ROUNDS)
    def program(rounds: Rounds) -> None:
        live(version, rounds)

    program()
