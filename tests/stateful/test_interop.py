"""Random programs written by icechunk-core and Icechunk by turns (see `interop_machine`)."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.interop.implementations import load_peer
from tests.searching import examples
from tests.stateful.interop_machine import InteropMachine

# A failure is reported as found: making these programs smaller takes minutes; the long test does it.
QUICK = settings(
    phases=[Phase.reuse, Phase.generate],
    max_examples=10,  # for each layout
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
LONG = settings(QUICK, phases=list(Phase), max_examples=examples(40), stateful_step_count=40)


@pytest.mark.usefixtures("layout")
def test_either_reads_and_continues_the_other() -> None:
    """Groups, arrays, chunks of all kinds, deletes, resizes, commits, amends, refs: both see the model."""
    load_peer()
    run_state_machine_as_test(InteropMachine, settings=QUICK)


@pytest.mark.slow
@pytest.mark.usefixtures("layout")
def test_either_reads_and_continues_the_other_at_length() -> None:
    """The same with many more and longer programs."""
    load_peer()
    run_state_machine_as_test(InteropMachine, settings=LONG)
