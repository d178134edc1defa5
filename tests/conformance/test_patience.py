"""Storages that hang have their verdict soon: the more checks hang, the less time the others are given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, ClassVar

import pytest
from attrs import evolve

from icechunk_conformance import SMALL, Level, Location, all_checks, run_suite
from icechunk_conformance.patience import Patience
from icechunk_conformance.reference import REFERENCE, ReferenceStorage
from icechunk_core.contract import (
    Buffer,
    ByteRange,
    Capabilities,
    Condition,
    DeleteResult,
    ObjectInfo,
    Version,
    hookimpl,
)

SECONDS = 0.8
BRIEF = evolve(SMALL, timeout=SECONDS)


class _Suspending(ReferenceStorage):
    CAPABILITIES: ClassVar[Capabilities] = evolve(REFERENCE, may_suspend=True)
    waiting: ClassVar[list[str]] = []

    async def _for_ever(self, operation: str) -> Any:
        self.waiting.append(operation)
        await asyncio.Event().wait()


class Hangs(_Suspending):
    """No call ever returns, not even that which closes it."""

    @hookimpl
    async def put(
        self,
        key: str,
        data: Sequence[Buffer],
        condition: Condition,
        metadata: Mapping[str, str] | None,
        content_type: str | None,
        storage_class: str | None,
    ) -> Version:
        return await self._for_ever("put")

    @hookimpl
    async def get_range(
        self, key: str, byte_range: ByteRange, if_version: Version | None
    ) -> tuple[Buffer, ObjectInfo]:
        return await self._for_ever("get_range")

    @hookimpl
    async def head(self, key: str) -> ObjectInfo:
        return await self._for_ever("head")

    @hookimpl
    async def list(self, prefix: str, start_after: str | None) -> AsyncIterator[ObjectInfo]:
        yield await self._for_ever("list")

    @hookimpl
    async def delete(self, keys: Sequence[str]) -> Sequence[DeleteResult]:
        return await self._for_ever("delete")

    @hookimpl
    async def close(self) -> None:
        await self._for_ever("close")


class HangsInDelete(_Suspending):
    """Deletes never return; the rest is right."""

    @hookimpl
    async def delete(self, keys: Sequence[str]) -> Sequence[DeleteResult]:
        return await self._for_ever("delete")


def _spent(patience: Patience, hangs: list[bool], *, answers: bool) -> float:
    """Seconds that checks take which hang, or else pass at once."""
    spent = 0.0
    for hung in hangs:
        spent += patience.limit if hung else 0
        patience.saw(hung=hung, answers=answers)
    return spent


def test_what_all_the_hanging_checks_may_take() -> None:
    """With the small budget the verdict comes in two minutes or so where all checks hang, or every fifth;
    one that is unlucky costs its full time, and the others keep enough."""
    count = len(all_checks())
    assert _spent(Patience(SMALL.timeout), [True] * count, answers=False) < 125
    assert _spent(Patience(SMALL.timeout), [number % 5 == 0 for number in range(count)], answers=True) < 140
    one = Patience(SMALL.timeout)
    assert _spent(one, [True], answers=True) == SMALL.timeout
    assert one.limit >= 15


def test_a_storage_that_works_again() -> None:
    """After several checks that hang, a storage that is silent has least time, one that answers more; a
    check that ends by itself gives more again."""
    patience = Patience(60.0)
    for _ in range(6):
        patience.saw(hung=True, answers=True)
    assert patience.limit == 2.0
    patience.saw(hung=True, answers=False)
    assert patience.limit == 0.25
    patience.saw(hung=False)
    assert patience.limit == 2.0


def test_many_slow_failures() -> None:
    """Checks that fail after long waits of the client add up to one that hung; quick ones do not."""
    patience = Patience(60.0)
    patience.saw(hung=False, lost=14.0)
    assert patience.limit == 60.0
    patience.saw(hung=False, lost=2.0)
    assert (patience.limit, patience.hung) == (15.0, 1)


@pytest.mark.slow
def test_no_call_ever_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every check is tried, so that something waits in each of them; the limits shrink; the run ends with the
    level None, says what was cut short and that objects may be left, and is over."""
    monkeypatch.setattr("icechunk_conformance.target._CLOSE_S", 0.01)
    monkeypatch.setattr("icechunk_conformance.runner._CLOSE_S", 0.01)
    monkeypatch.setattr("icechunk_conformance.target._CLEANUP_S", 0.01)
    Hangs.waiting.clear()
    location = Location(Hangs.opener(), budget=BRIEF)
    limits: list[float] = []
    patience = Patience(SECONDS, shortest=0.04, shortest_if_silent=0.02)
    only = ["A", "B", "D", "E"]
    report = run_suite(
        location, only=only, patience=patience, progress=lambda _: limits.append(patience.limit)
    )
    ran = [result for result in report.results if result.message != "" and result.hung]
    assert len(ran) > 30
    assert len(Hangs.waiting) > len(ran)
    assert (limits[0], min(limits)) == (SECONDS / 4, 0.02)
    assert {"put", "close"} <= set(Hangs.waiting)
    assert "less and less time was given" in " ".join(report.verdict())
    assert "may be left" in report.left
    assert evolve(report, complete=True).level is Level.NONE


@pytest.mark.slow
def test_what_does_not_hang_is_judged_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only one operation hangs, the checks that do without it pass, in the shortened time too."""
    monkeypatch.setattr("icechunk_conformance.target._CLEANUP_S", 0.01)
    HangsInDelete.waiting.clear()
    location = Location(HangsInDelete.opener(), budget=BRIEF)
    patience = Patience(SECONDS, shortest=0.4)
    report = run_suite(location, only=["A", "B", "E"], patience=patience)
    passed = {result.check.id for result in report.results if not result.message}
    failed = {result.check.id for result in report.failures}
    assert {"A01", "A02", "B01", "E02"} <= passed
    assert failed
    assert all(result.hung for result in report.failures)
    assert len(HangsInDelete.waiting) >= len(failed)
