"""Delete the objects of one kind that are old and not marked: here, or part by part by an executor's workers.

A part has the objects whose ids begin alike, so a worker needs only the marks that begin alike, too. Doing
a part again, because a worker was lost, deletes what is left of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor

import numpy as np
from attrs import define, frozen

from icechunk_core.clock import SystemClock, us_from_datetime
from icechunk_core.contract import Storage
from icechunk_core.drive import run
from icechunk_core.format import base32, layout
from icechunk_core.ids import SystemIds
from icechunk_core.maintenance.deleting import BATCH, Account, Deleter, Garbage
from icechunk_core.maintenance.fanning import LentStorage, fan_out
from icechunk_core.maintenance.limits import GCLimits
from icechunk_core.maintenance.listing import side_by_side
from icechunk_core.maintenance.progress import Reporter
from icechunk_core.transaction.gc_marking import ByteSet, surely_older

__all__ = ["Sweep", "sweep_elsewhere", "sweep_here"]

_LISTED_AT_ONCE = 10_000
_MARKS_A_PART = 64 * 1024


@frozen
class Sweep:
    """What to delete.

    Attributes
    ----------
    prefix
        Of the kind of object.
    kept
        Ids of the objects that stay.
    limit_us
        Younger objects stay, too.
    """

    prefix: str
    kept: ByteSet
    limit_us: int
    limits: GCLimits
    dry_run: bool


async def sweep_here(sweep: Sweep, deleter: Deleter, account: Account, reporter: Reporter) -> None:
    """Delete all of a kind, in so many listings as the limits say."""

    async def look(part: str) -> None:
        await _sweep_part(sweep, part, deleter, account, reporter.advance)

    may_suspend = deleter.storage.may_suspend
    await side_by_side(sweep.prefix, look, sweep.limits.listing_streams, may_suspend=may_suspend)


async def sweep_elsewhere(
    executor: Executor, sweep: Sweep, deleter: Deleter, account: Account, reporter: Reporter
) -> None:
    """The same by an executor's workers."""
    lent = LentStorage(deleter.storage)

    def take(result: _Result) -> None:
        account.add(result.account)
        deleter.take(result.throttled, result.errors)
        reporter.advance(result.account.deleted + result.account.failed)

    await fan_out(
        executor,
        _sweep_in_worker,
        ((lent, part) for part in _parts(sweep)),
        take,
        may_suspend=deleter.storage.may_suspend,
    )


def _parts(sweep: Sweep) -> Iterator[tuple[Sweep, str]]:
    """Sweeps of parts, by the first digits of ids: one or, where that makes many marks, two."""
    digits = 1 if len(sweep.kept) <= _MARKS_A_PART << 5 else 2
    rows = sweep.kept.rows()
    begins = (rows[:, 0].astype(np.uint32) << 8 | rows[:, 1]) >> (16 - 5 * digits)
    # The members are sorted, and digits are in the order of the bits that they stand for.
    bounds = np.searchsorted(begins, np.arange((1 << 5 * digits) + 1, dtype=np.uint32))
    for number in range(1 << 5 * digits):
        kept = ByteSet(12)
        kept.add(rows[bounds[number] : bounds[number + 1]])
        text = "".join(base32.ALPHABET[number >> shift & 31] for shift in range(5 * digits - 5, -1, -5))
        part = Sweep(sweep.prefix, kept, sweep.limit_us, sweep.limits, sweep.dry_run)
        yield part, sweep.prefix + text


async def _sweep_part(
    sweep: Sweep, part: str, deleter: Deleter, account: Account, advance: Callable[[int], None]
) -> None:
    listed: dict[bytes, Garbage] = {}
    doomed: list[Garbage] = []

    def unmarked() -> list[Garbage]:
        kept = sweep.kept.contains(listed).tolist()
        return [item for item, stays in zip(listed.values(), kept, strict=True) if not stays]

    async def delete() -> None:
        if sweep.dry_run:
            account.deleted += len(doomed)
            account.bytes += sum(item.size for item in doomed)
        else:
            await deleter.delete(doomed, account)
        advance(len(doomed))

    async for item in deleter.storage.list(part):
        object_id = layout.id_of_key(item.key, sweep.prefix)
        if object_id is None or not surely_older(us_from_datetime(item.last_modified), sweep.limit_us):
            continue
        listed[object_id] = Garbage(item.key, item.size)
        if len(listed) >= _LISTED_AT_ONCE:
            doomed += unmarked()
            listed = {}
        if len(doomed) >= BATCH * sweep.limits.deletes_per_stream:
            await delete()
            doomed = []
    doomed += unmarked()
    await delete()


# --- what workers run ------------------------------------------------------------------


@define
class _Result:
    account: Account
    throttled: int
    errors: list[str]


def _sweep_in_worker(job: tuple[LentStorage, tuple[Sweep, str]]) -> _Result:
    lent, (sweep, part) = job
    storage: Storage = lent.storage
    deleter = Deleter(storage, SystemClock(), SystemIds(), sweep.limits)
    account = Account()

    def ignored(_: int) -> None:
        """Progress is told by the one who waits for the part."""

    run(_sweep_part(sweep, part, deleter, account, ignored), may_suspend=storage.may_suspend)
    return _Result(account, deleter.throttled, deleter.errors)
