"""zarr's state machine of hierarchy operations: the store shows what a MemoryStore shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from zarr.testing.stateful import ZarrHierarchyStateMachine

from icechunk_core.store import IcechunkStore
from tests.store.fake_session import FakeSession
from tests.store.repositories import filesystem_repository, memory_repository

# The machine draws data types and names that zarr warns about.
pytestmark = pytest.mark.filterwarnings("ignore")

FEW, MANY = 8, 60


def in_dictionaries(_: Path) -> IcechunkStore:
    return IcechunkStore(FakeSession())  # type: ignore[arg-type]


def in_memory(_: Path) -> IcechunkStore:
    return memory_repository().writable_session("main").store


def in_a_directory(root: Path) -> IcechunkStore:
    return filesystem_repository(root).writable_session("main").store


def check(store: IcechunkStore, examples: int) -> None:
    profile = settings(
        max_examples=examples,
        stateful_step_count=20,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(lambda: ZarrHierarchyStateMachine(store), settings=profile)


@pytest.mark.parametrize("make", [in_dictionaries, in_memory, in_a_directory])
def test_hierarchy(make: Callable[[Path], IcechunkStore], tmp_path: Path) -> None:
    """Groups, arrays, writes, resizes and deletions give the same keys and values as in a MemoryStore."""
    check(make(tmp_path / "repository"), FEW)


@pytest.mark.slow
@pytest.mark.parametrize("make", [in_memory, in_a_directory])
def test_hierarchy_long(make: Callable[[Path], IcechunkStore], tmp_path: Path) -> None:
    """The same with many more programs."""
    check(make(tmp_path / "repository"), MANY)
