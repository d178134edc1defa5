"""Random programs on both implementations (see `machine`)."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from icechunk_core.assets.pack_config import PLAIN_LAYOUT_VARIABLE
from tests.differential.machine import DifferentialMachine
from tests.interop.implementations import load_peer

# A failure is reported as found: making these programs smaller takes minutes.
# The quick test always runs the same programs; the long one others each time.
QUICK = settings(
    phases=[Phase.reuse, Phase.generate],
    max_examples=10,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
PROGRAMS = int(os.environ.get("DIFFERENTIAL_PROGRAMS", "0"))
LONG = settings(QUICK, derandomize=False, max_examples=max(1, PROGRAMS), stateful_step_count=40)


def test_both_do_the_same() -> None:
    """Sessions, conflicts, moves, refs, maintenance: equal values, errors, histories, logs and data."""
    load_peer()
    run_state_machine_as_test(DifferentialMachine, settings=QUICK)


def test_packs_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with chunks in packs: how they are stored is not seen in data, histories, logs or errors."""
    load_peer()
    monkeypatch.delenv(PLAIN_LAYOUT_VARIABLE)
    run_state_machine_as_test(DifferentialMachine, settings=settings(QUICK, max_examples=5))


@pytest.mark.slow
@pytest.mark.skipif(
    not PROGRAMS,
    reason="a search for differences, by hand: set DIFFERENTIAL_PROGRAMS to a number of programs",
)
def test_both_do_the_same_at_length() -> None:
    """The same with many more and longer programs."""
    load_peer()
    run_state_machine_as_test(DifferentialMachine, settings=LONG)
