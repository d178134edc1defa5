"""Random programs on both implementations (see `machine`)."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.differential.machine import DifferentialMachine
from tests.differential.search import search
from tests.interop.implementations import load_peer

QUICK = settings(
    phases=[Phase.generate],
    max_examples=10,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
PROGRAMS = int(os.environ.get("DIFFERENTIAL_PROGRAMS", "300"))
SEED = int(os.environ.get("DIFFERENTIAL_SEED", "1"))


def test_both_do_the_same() -> None:
    """Sessions, conflicts, moves, refs, maintenance: equal values, errors, histories, logs and data."""
    load_peer()
    run_state_machine_as_test(DifferentialMachine, settings=QUICK)


@pytest.mark.slow
def test_both_do_the_same_at_length() -> None:
    """The same with 300 programs of 40 steps; more and others as two environment variables say."""
    load_peer()
    for batch in search(PROGRAMS, SEED, jobs=os.cpu_count() or 1):
        assert not batch.found, f"seed {batch.seed}\n{batch.found}"
