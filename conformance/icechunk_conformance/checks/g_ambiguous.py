"""Group G: conditional writes whose outcome the writer does not get to know.

What is judged is the outcome that the engine arrives at (`icechunk_core.assets.conditional_put`) from what
the storage says and shows: success, conflict or *unknown*, and never a wrong one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from attrs import frozen

from icechunk_conformance import engine
from icechunk_conformance.chance import Chance, fresh_seed
from icechunk_conformance.expect import Failure, State, same, state, verify
from icechunk_conformance.histories import Attempt, judge_attempts, parse_step, step_body
from icechunk_conformance.injection import Faulty, Moment
from icechunk_conformance.registry import check
from icechunk_conformance.target import Target
from icechunk_conformance.transport import Transport
from icechunk_core.assets.conditional import conditional_put
from icechunk_core.contract import IF_ABSENT, Condition, IfVersion, Storage, Version
from icechunk_core.errors import AlreadyExists, ConflictError, OutcomeUnknown, VersionMismatch
from icechunk_core.ids import SystemIds

SELF_CONFLICT = (
    "aiobotocore and azure aio report 412 and 409 against their own write: aiohttp below them "
    "repeats a PUT whose connection dropped, also with retries switched off."
)


@frozen
class Outcome:
    """What a writer was told."""

    kind: str
    """``success``, ``conflict`` or ``unknown``."""
    version: Version | None = None


async def attempt(client: Storage, key: str, body: bytes, condition: Condition) -> Outcome:
    """Write conditionally, as the engine does."""
    try:
        version = await conditional_put(client, key, body, condition, ids=SystemIds(), unique=True)
    except (AlreadyExists, VersionMismatch):
        return Outcome("conflict")
    except OutcomeUnknown:
        return Outcome("unknown")
    return Outcome("success", version)


@frozen
class Case:
    """One conditional write under a fault: a create, or an update.

    Attributes
    ----------
    clean
        A client without faults.
    before
        What was there.
    """

    name: str
    key: str
    condition: Condition
    faulty: Faulty
    clean: Storage
    before: State | None

    @property
    def body(self) -> bytes:
        return f"by the writer that is struck, {self.name}".encode()

    async def attempt(self) -> Outcome:
        """The write that is struck."""
        outcome = await attempt(self.faulty.client, self.key, self.body, self.condition)
        self.faulty.verify_struck()
        return outcome

    async def intrude(self) -> bytes:
        """Another writer overwrites whatever is there now; its body."""
        body = f"by another writer, over the {self.name}".encode()
        current = await state(self.clean, self.key)
        condition: Condition = IF_ABSENT
        if current is not None:
            condition = IfVersion(current.version or Version(""))
        await self.clean.put(self.key, body, condition if self._swaps() or current is None else IF_ABSENT)
        return body

    def _swaps(self) -> bool:
        return self.clean.capabilities.update

    def told(self, outcome: Outcome, *allowed: str) -> None:
        """Fail unless the writer was told one of these."""
        verify(
            outcome.kind in allowed,
            f"{self.name}: the outcome was reported as {outcome.kind}; right is {' or '.join(allowed)}",
        )

    async def there(self, body: bytes | None, version: Version | None = None) -> None:
        """Fail unless this is what is there (and, if given, under that version)."""
        now = await state(self.clean, self.key)
        same(now and now.data, body, f"{self.name}: bytes that are there in the end")
        if version is not None:
            same(now and now.version, version, f"{self.name}: version, against the one reported")

    async def succeeded(self, outcome: Outcome) -> None:
        """Fail unless success was reported, and is true."""
        self.told(outcome, "success")
        await self.there(self.body, outcome.version)

    async def untouched(self) -> None:
        """Fail if anything changed."""
        same(await state(self.clean, self.key), self.before, f"{self.name}: what is there in the end")


async def cases(target: Target, *, impatient: bool = False) -> AsyncIterator[Case]:
    """A create and an update, as far as the storage declares them, with a client each that can be struck."""
    clean = await target.client()
    if target.capabilities.create:
        faulty = await target.faulty(impatient=impatient)
        yield Case("create", "created", IF_ABSENT, faulty, clean, None)
    if target.capabilities.update:
        faulty = await target.faulty(impatient=impatient)
        version = await clean.put("updated", b"before")
        yield Case("update", "updated", IfVersion(version), faulty, clean, await state(clean, "updated"))


@check("G01", "A write that landed is a success, though its answer was lost", requires=("create",))
async def answer_lost(target: Target) -> None:
    """The storage carries out a create (an update), and its answer is lost. The writer is told success, with
    the version that the object has."""
    async for case in cases(target):
        case.faulty.strike(Moment.ANSWER_LOST, case.key)
        await case.succeeded(await case.attempt())


@check(
    "G02",
    "A write that its own repetition refuses is a success",
    requires=("create",),
    known_failure=SELF_CONFLICT,
)
async def refused_by_itself(target: Target) -> None:
    """The write is carried out and then repeated on the way, and the repetition is refused: the object is
    there already. The writer is told success."""
    async for case in cases(target):
        case.faulty.strike(Moment.REPEATED, case.key)
        await case.succeeded(await case.attempt())


@check(
    "G03", "A write that landed is a success, though the server answered with an error", requires=("create",)
)
async def answer_is_error(target: Target) -> None:
    """The write is carried out and answered with 503. The writer is told success."""
    async for case in cases(target):
        case.faulty.strike(Moment.ANSWER_IS_ERROR, case.key)
        await case.succeeded(await case.attempt())


@check(
    "G04",
    "A write that landed is a success, though every retry's answer was lost",
    requires=("create",),
    known_failure=SELF_CONFLICT,
)
async def every_answer_lost(target: Target) -> None:
    """The write is carried out, its answer and those of all its repetitions are lost; reading works. The
    writer is told success: the object shows whose it is."""
    async for case in cases(target, impatient=True):
        case.faulty.strike(Moment.ANSWER_LOST, case.key, times=None)
        await case.succeeded(await case.attempt())


@check("G05", "What cannot be found out is reported as unknown", requires=("create",))
async def nothing_can_be_asked(target: Target) -> None:
    """The write is carried out, its answers are lost, and the object cannot be read either. The writer is
    told that the outcome is unknown: neither success nor conflict."""
    async for case in cases(target, impatient=True):
        case.faulty.strike(Moment.ANSWER_LOST, case.key, times=None)
        case.faulty.strike(Moment.REQUEST_LOST, case.key, times=None, reads=True)
        outcome = await attempt(case.faulty.client, case.key, case.body, case.condition)
        case.told(outcome, "unknown")
        case.faulty.verify_struck()
        await case.there(case.body)


@check("G06", "A request that got lost is made again, or unknown", requires=("create",))
async def request_lost(target: Target) -> None:
    """The first request never arrives. The writer is told success, if it was repeated and is there, or that
    the outcome is unknown; never that there was a conflict."""
    async for case in cases(target):
        case.faulty.strike(Moment.REQUEST_LOST, case.key)
        outcome = await case.attempt()
        case.told(outcome, "success", "unknown")
        if outcome.kind == "success":
            await case.there(case.body, outcome.version)
        else:
            await case.untouched()


@check("G07", "A write that never arrives is not a success", requires=("create",))
async def never_arrives(target: Target) -> None:
    """No request arrives. The writer is told that the outcome is unknown, for a request may still be under
    way; not success, not conflict. Nothing is written."""
    async for case in cases(target, impatient=True):
        case.faulty.strike(Moment.REQUEST_LOST, case.key, times=None)
        case.told(await case.attempt(), "unknown")
        await case.untouched()


@check("G08", "A retry never overwrites what came after", requires=("create", "update"))
async def overwritten_meanwhile(target: Target) -> None:
    """The write is carried out, its answer is lost, and another writer replaces the object before anything
    else happens. Whatever the first one is told (at this place success is the truth, but cannot always be
    found out; a commit looks into the history, see G14): the other's object stays."""
    async for case in cases(target):
        case.faulty.strike(Moment.ANSWER_LOST, case.key, meanwhile=case.intrude)
        outcome = await case.attempt()
        now = await state(case.clean, case.key)
        verify(
            now is not None and now.data.startswith(b"by another"),
            f"{case.name}: a retry, reported as {outcome.kind}, overwrote the object of another writer",
        )


@check("G09", "A lost race is never a success", requires=("create", "update"))
async def lost_race_lost_answer(target: Target) -> None:
    """Another writer was first, and the refusal is lost. The writer is told conflict, or that the outcome is
    unknown; never success. The other's object stays."""
    async for case in cases(target):
        theirs = await case.intrude()
        case.faulty.strike(Moment.ANSWER_LOST, case.key)
        case.told(await case.attempt(), "conflict", "unknown")
        await case.there(theirs)


@check("G10", "A write that lands late is not called a failure", requires=("create",))
async def lands_late(target: Target) -> None:
    """The request is under way when the client gives up. The writer is told that the outcome is unknown; then
    the write lands, once, and is what it was."""
    async for case in cases(target, impatient=True):
        case.faulty.strike(Moment.LATE, case.key, times=None)
        case.told(await case.attempt(), "unknown")
        await case.untouched()
        await case.faulty.release()
        await case.there(case.body)


@check("G11", "A write that lands late does not overwrite", requires=("create", "update"))
async def lands_too_late(target: Target) -> None:
    """The request is under way when the client gives up, and another writer gets through. When it arrives
    its condition does not hold any more: the other's object stays."""
    async for case in cases(target, impatient=True):
        case.faulty.strike(Moment.LATE, case.key, times=None)
        case.told(await case.attempt(), "unknown")
        theirs = await case.intrude()
        await case.faulty.release()
        await case.there(theirs)


@check("G12", "Raced updates under faults form one chain", requires=("update", "threads"))
async def raced_under_faults(target: Target) -> None:
    """Several writers update one object by compare-and-swap while requests and answers are lost at random.
    From the last object the chain of predecessors leads to the first: every update that was reported as
    success is in it, and of the unknown ones those that landed. One that was reported as a conflict is not,
    unless the storage's client repeated it by itself after another writer had replaced it: then nothing
    tells it from a lost race (a commit looks into the history for itself, see G14)."""
    clean = await target.client()
    await clean.put("raced", step_body("start", "", 0))
    chance = Chance(fresh_seed())
    struck: list[Moment] = []

    def pick() -> Moment | None:
        if chance.uniform() < 0.6:
            return None
        moment = chance.choice([Moment.ANSWER_LOST, Moment.REQUEST_LOST, Moment.ANSWER_IS_ERROR])
        struck.append(moment)
        return moment

    async def write(number: int) -> list[Attempt]:
        faulty = await target.faulty()
        faulty.strike(pick, "raced", times=None)
        return [await _step(faulty.client, f"{number}-{turn}") for turn in range(target.budget.increments)]

    writers = target.budget.threads
    attempts = [each for done in await asyncio.gather(*map(write, range(writers))) for each in done]
    verify(bool(struck), "no fault happened, so nothing was shown")
    now = await state(clean, "raced")
    if now is None:
        raise Failure("the object is gone")
    hidden = target.location.transport is Transport.PROXIED
    judge_attempts(attempts, parse_step(now.data)["id"], hidden_retries=hidden)


async def _step(client: Storage, id: str) -> Attempt:
    """One compare-and-swap over what is there now."""
    data, info = await client.get_range("raced")
    current = parse_step(bytes(data))
    body = step_body(id, current["id"], current["count"] + 1)
    outcome = await attempt(client, "raced", body, IfVersion(info.version or Version("")))
    return Attempt(id, current["id"], outcome.kind)


# --- commits -------------------------------------------------------------------


@check("G13", "A commit whose answer was lost is a success, once", requires=("create", "update"))
async def commit_answer_lost(target: Target) -> None:
    """The put that publishes a commit is carried out, and its answer is lost. The commit returns its id,
    and the history of the branch has it once."""
    clean, faulty = await target.client(), await target.faulty()
    await engine.create(clean)
    repo = await engine.open(faulty.client)
    faulty.strike(Moment.ANSWER_LOST, "repo")
    snapshot = await engine.commit(repo, "a")
    faulty.verify_struck()
    history = await engine.history(clean)
    same(history[:1], [snapshot], "the newest commit, against the one reported")
    same(len(history), 2, "number of commits in the history")


@check(
    "G14",
    "A commit whose answer was lost is a success, though another was built on it",
    requires=("create", "update"),
    known_failure=SELF_CONFLICT,
)
async def commit_built_upon(target: Target) -> None:
    """A commit is carried out, its answer is lost, and before it can be asked for another writer commits on
    top of it. The branch has moved on, but the commit is in its history: it is a success, not a conflict."""
    clean, faulty = await target.client(), await target.faulty()
    await engine.create(clean)
    repo = await engine.open(faulty.client)
    theirs: list[str] = []

    async def build_on_it() -> None:
        theirs.append(await engine.commit(await engine.open(clean), "b"))

    faulty.strike(Moment.ANSWER_LOST, "repo", meanwhile=build_on_it)
    try:
        snapshot = await engine.commit(repo, "a")
    except ConflictError as error:
        raise Failure("a commit that is in the history was reported as a conflict") from error
    faulty.verify_struck()
    same((await engine.history(clean))[:2], [*theirs, snapshot], "the newest commits")


@check("G15", "A commit of unknown outcome, repeated, is there once", requires=("create", "update"))
async def unknown_commit(target: Target) -> None:
    """No answer comes, and the put lands after the commit was given up: `OutcomeUnknown`. Committing again
    with the same session finds it, returns its id, and the history has it once."""
    clean, faulty = await target.client(), await target.faulty(impatient=True)
    await engine.create(clean)
    repo = await engine.open(faulty.client)
    session = await engine.changed(repo, "a")
    faulty.strike(Moment.LATE, "repo", times=None)
    try:
        await session.commit_async("a")
    except OutcomeUnknown as error:
        unknown = error.snapshot_id
    else:
        raise Failure("a commit that had not landed was reported as success")
    faulty.verify_struck()
    same(len(await engine.history(clean)), 1, "number of commits before it landed")
    await faulty.release()
    faulty.heal()
    same(await session.commit_async("a"), unknown, "id of the commit, against the one that was unknown")
    history = await engine.history(clean)
    same(history[:1], [unknown], "the newest commit")
    same(len(history), 2, "number of commits in the history")
