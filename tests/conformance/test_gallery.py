"""The suite catches what it is for: every broken storage fails exactly the checks that it names."""

from __future__ import annotations

import asyncio
import gc

import pytest

from icechunk_conformance import Location, Status, all_checks, run_check
from icechunk_conformance.broken import BY_CHANCE, UNCAUGHT, Broken, gallery
from icechunk_conformance.broken.gallery import SECRET
from icechunk_conformance.reference_http import HttpReference
from icechunk_conformance.workers import WorkerPool
from icechunk_core.session import turns
from tests.conformance.support import GALLERY_BUDGET

# Broken storages may leave connections behind.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

TRIES = 10
REPOSITORIES = {check.id for check in all_checks() if check.group == "M"}
"""Left out where they are not named: they take longest, and what they rest on is checked before."""
SLOW_OVER_A_NETWORK = {
    check.id for check in all_checks() if check.group in "DFIJKM" and check.id not in ("F15", "F16")
}
"""Left out where a mistake is in the transport: they say nothing about it, and take most of the time."""


def failed_checks(entry: Broken, workers: WorkerPool, only: frozenset[str] | None = None) -> set[str]:
    """Ids of the checks that fail on it."""

    async def run() -> set[str]:
        location = Location(entry.backend.opener(SECRET), budget=GALLERY_BUDGET, workers=workers)
        failed = set()
        for check in all_checks():
            if only is not None and check.id not in only:
                continue
            # What is searched for at random is not found each time.
            tries = TRIES if check.id in BY_CHANCE & entry.caught_by else 1
            for _ in range(tries):
                result = await run_check(check, location)
                if result.status is Status.FAILED:
                    failed.add(check.id)
                    break
        await location.cleanup()
        return failed

    try:
        return asyncio.run(run())
    finally:
        # What was left behind is noticed here, not in a test that knows nothing of it.
        gc.collect()


@pytest.mark.parametrize("entry", gallery(), ids=lambda entry: entry.name)
def test_each_broken_storage_is_caught(entry: Broken, workers: WorkerPool) -> None:
    """Every check that an entry names fails on it."""
    failed = failed_checks(entry, workers, entry.caught_by)
    assert failed == entry.caught_by


@pytest.mark.slow
@pytest.mark.parametrize("entry", gallery(), ids=lambda entry: entry.name)
def test_each_broken_storage_is_caught_exactly(
    entry: Broken, workers: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checks that an entry names fail on it, and all others pass: a mistake is reported as what it is.
    Only those that search at random may come upon any mistake."""
    monkeypatch.setattr(turns, "_LONGEST_WAIT_SECONDS", 0.05)  # for turns that never come
    over_a_network = issubclass(entry.backend, HttpReference)
    left_out = SLOW_OVER_A_NETWORK if over_a_network else REPOSITORIES
    checks = {check.id for check in all_checks()} - left_out
    failed = failed_checks(entry, workers, frozenset(checks) | entry.caught_by)
    assert failed - entry.sometimes - (BY_CHANCE - entry.caught_by) == entry.caught_by


def test_every_check_catches_something() -> None:
    """Each check is named by an entry of the gallery, or it is said why it cannot be."""
    caught = {id for entry in gallery() for id in entry.caught_by}
    known = {check.id for check in all_checks()}
    assert caught <= known
    assert known - caught == set(UNCAUGHT)
    assert all(len(reason) > 20 for reason in UNCAUGHT.values())


def test_every_entry_says_what_it_does_wrong() -> None:
    """Entries have a mistake in words and are caught by something; the gallery is not small."""
    entries = gallery()
    assert len(entries) >= 130
    assert all(entry.mistake and entry.caught_by for entry in entries)
