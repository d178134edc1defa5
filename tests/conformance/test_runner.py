"""Running checks: what they may touch, what is cleaned up, what is never shown."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from attrs import evolve

from icechunk_conformance import Location, Status, all_checks, run_check, run_suite
from icechunk_conformance.broken import gallery
from icechunk_conformance.broken.gallery import SECRET
from icechunk_conformance.expect import Failure
from icechunk_conformance.reference import ReferenceStorage
from icechunk_conformance.registry import REQUIREMENTS, Check, check, select
from icechunk_conformance.runner import search
from icechunk_conformance.target import Target
from icechunk_conformance.workers import WorkerPool
from icechunk_core.contract import DeleteResult, hookimpl
from icechunk_core.errors import Unsupported
from tests.conformance.support import ModestReference


async def _contents(location: Location) -> dict[str, bytes]:
    client = location.opener()
    return {info.key: bytes((await client.get_range(info.key))[0]) async for info in client.list()}


def test_a_run_touches_nothing_else_and_cleans_up(workers: WorkerPool) -> None:
    """Objects that were there stay as they are, and none is left over."""
    opener = ReferenceStorage.opener()
    before = {"repo": b"precious", "conformance": b"a neighbour", "chunks/x": b"also"}

    async def fill() -> None:
        client = opener()
        for key, data in before.items():
            await client.put(key, data)

    asyncio.run(fill())
    location = Location(opener, workers=workers)
    run_suite(location)
    assert asyncio.run(_contents(location)) == before


def test_a_storage_that_cannot_list_is_cleaned_up_too(workers: WorkerPool) -> None:
    """What was written is remembered, so that it can be removed without a listing."""
    location = Location(ModestReference.opener(), workers=workers)
    run_suite(location)
    assert dict(location.origin.config.place().objects) == {}


def test_a_storage_that_cannot_delete_gets_its_report() -> None:
    """What could not be removed is said; the results are not lost."""

    class Keeps(ReferenceStorage):
        @hookimpl
        async def delete(self, keys: Sequence[str]) -> Sequence[DeleteResult]:
            raise Unsupported("nothing is ever deleted")

    report = run_suite(Location(Keeps.opener()), only=["A01"])
    assert report.passed
    assert "may be left: Unsupported: nothing is ever deleted" in "\n".join(report.verdict())


def test_checks_do_not_meet() -> None:
    """Two runs of one check work in different places."""
    location = Location(ReferenceStorage.opener())
    first, second = location.target("A01"), location.target("A01")
    assert first.prefix != second.prefix
    assert first.prefix.startswith(location.prefix)


async def test_clients_are_independent() -> None:
    """Each client is opened anew, on the same place."""
    target = Location(ReferenceStorage.opener()).target("x")
    one, other = await target.client(), await target.client()
    await one.put("key", b"value")
    await one.close()
    assert bytes((await other.get_range("key"))[0]) == b"value"
    assert [info.key async for info in other.list()] == ["key"]


async def test_messages_do_not_show_secrets() -> None:
    """What a storage leaks into an error does not get into the report."""
    entry = next(entry for entry in gallery() if entry.name == "secret-in-errors")
    location = Location(entry.backend.opener(SECRET))

    async def fails(target: Target) -> None:
        await (await target.client()).head("missing")

    made = Check("A99", "fails", "fails", (), "", fails)
    result = await run_check(made, location)
    assert result.status is Status.FAILED
    assert "***" in result.message
    assert SECRET not in result.message


async def test_a_check_that_hangs_is_given_up() -> None:
    """The budget's timeout ends a check; the run goes on."""
    location = Location(ReferenceStorage.opener())
    location.budget = evolve(location.budget, timeout=0.01)

    async def hangs(target: Target) -> None:
        await asyncio.Event().wait()

    result = await run_check(Check("A99", "hangs", "hangs", (), "", hangs), location)
    assert result.status is Status.FAILED
    assert "did not come to an end" in result.message


def test_selection_by_group_and_id() -> None:
    """Checks are selected by id or group, in any case; unknown names are an error."""
    assert [each.id for each in select(["e02", "A01"])] == ["A01", "E02"]
    assert {each.group for each in select(["B"])} == {"B"}
    with pytest.raises(ValueError, match="Z9"):
        select(["Z9"])


def test_checks_are_well_formed() -> None:
    """Ids are unique and ordered, every check has a title, a promise and known requirements."""
    checks = all_checks()
    ids = [each.id for each in checks]
    assert ids == sorted(set(ids))
    assert {each.group for each in checks} == set("ABCDEFGHIJKLM")
    for each in checks:
        assert each.title
        assert len(each.promise) > 40
        assert {name.lstrip("!") for name in each.requires} <= set(REQUIREMENTS)


def test_registration_refuses_what_is_ambiguous() -> None:
    """An id that is taken, an unknown group or requirement, and a missing docstring are errors."""

    async def undocumented(target: Target) -> None:
        pass

    with pytest.raises(ValueError, match="A01"):
        check("A01", "again")
    with pytest.raises(ValueError, match="Q01"):
        check("Q01", "no such group")
    with pytest.raises(ValueError, match="teleport"):
        check("A98", "x", requires=("teleport",))
    with pytest.raises(ValueError, match="docstring"):
        check("A98", "x")(undocumented)


@pytest.mark.parametrize(("id", "expected"), [("F13", Status.FAILED), ("F05", Status.PASSED)])
async def test_what_searches_at_random_is_searched_again(id: str, expected: Status) -> None:
    """A check by chance that finds nothing at once is run again while that is quick, and its failure counts;
    any other runs once."""
    calls = []

    async def third_time(target: Target) -> None:
        calls.append(target)
        if len(calls) == 3:
            raise Failure("found")

    result = await search(Check(id, "title", "promise", (), "", third_time), Location.from_url("memory:"))
    assert result.status is expected
    assert len(calls) == (3 if expected is Status.FAILED else 1)
