"""Random programs of several sessions on one branch (see `sessions_machine`)."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.searching import examples
from tests.stateful.sessions_machine import SessionsMachine

# A failure is reported as found: making these programs smaller takes minutes; the long test does it.
QUICK = settings(
    phases=[Phase.reuse, Phase.generate],
    max_examples=20,  # for each layout
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
LONG = settings(QUICK, phases=list(Phase), max_examples=examples(250), stateful_step_count=60)


@pytest.mark.usefixtures("layout")
def test_sessions_clash_and_rebase_as_the_rules_say() -> None:
    """Commits, conflicts and rebases of three sessions give what the model says, and lose nothing."""
    run_state_machine_as_test(SessionsMachine, settings=QUICK)


@pytest.mark.slow
@pytest.mark.usefixtures("layout")
def test_sessions_clash_and_rebase_as_the_rules_say_at_length() -> None:
    """The same with many more and longer programs."""
    run_state_machine_as_test(SessionsMachine, settings=LONG)
