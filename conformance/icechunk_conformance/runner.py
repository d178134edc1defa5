"""Run checks on a storage."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

import attrs

from icechunk_conformance.expect import Failure, NotApplicable
from icechunk_conformance.patience import Patience
from icechunk_conformance.registry import BY_CHANCE, Check, all_checks, select
from icechunk_conformance.report import Report, Result, Status
from icechunk_conformance.target import Location
from icechunk_core.clock import SystemClock
from icechunk_core.errors import (
    IcechunkError,
    NotFound,
    PermissionDenied,
    StorageFull,
    Timeout,
    Unauthenticated,
    Unavailable,
)

__all__ = ["find_out_why_not", "run_check", "run_suite", "search"]

_TRIES, _ENOUGH_S = 5, 1.5
_CLOSE_S = 2.0
_HUNG = 0.25
"""The part of its limit after which a check that failed has waited for something that did not come."""

_OUT_OF_REACH = (NotFound, PermissionDenied, StorageFull, Timeout, Unauthenticated, Unavailable)


async def find_out_why_not(location: Location) -> str | None:
    """Why nothing can be tested there (wrong address, bucket or credentials), or ``None``.

    A server that cannot be reached says nothing about what it would do. So that such a storage is not
    judged, a small object is written first, or looked for where the storage is read-only.
    """
    client = location.usable()
    key = f"{location.prefix}first-contact"
    try:
        async with asyncio.timeout(location.budget.timeout):
            if location.capabilities.read_only and location.twin is None:
                await client.exists(key)
            else:
                location.written.add(key)
                await client.put(key, b"?")
    except TimeoutError:
        return _silence(location.budget.timeout)
    except _OUT_OF_REACH as error:
        return location.masked(f"nothing can be put there: {error}")
    except Exception:
        return None  # for the checks to judge
    finally:
        with contextlib.suppress(IcechunkError, TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await client.close()
    return None


def _silence(seconds: float) -> str:
    return f"it did not answer within {seconds:.0f} seconds; check address and network"


async def run_check(check: Check, location: Location) -> Result:
    """Run one check in a fresh place of the location. Never raises what the storage did wrong."""
    missing = check.missing(location.capabilities, twin=location.twin is not None)
    if missing is not None:
        return Result(check, Status.NOT_CALLED_FOR, missing)
    clock = SystemClock()
    start = clock.monotonic()
    status, message = await _outcome(check, location)
    return Result(check, status, location.masked(message), clock.monotonic() - start)


async def search(check: Check, location: Location) -> Result:
    """Run one check; one that searches at random again while that is quick, until it finds something.

    A storage in this machine does thousands of operations in the time of one request to a server, and so
    has to be asked more often to show what goes wrong seldom.
    """
    result = await run_check(check, location)
    tries, spent = 1, result.seconds
    while check.id in BY_CHANCE and result.status is Status.PASSED and tries < _TRIES and spent < _ENOUGH_S:
        result = await run_check(check, location)
        tries, spent = tries + 1, spent + result.seconds
    return attrs.evolve(result, seconds=spent)


async def _outcome(check: Check, location: Location) -> tuple[Status, str]:
    target = location.target(check.id)
    timeout = location.budget.timeout
    try:
        try:
            async with asyncio.timeout(timeout):
                await check.function(target)
        finally:
            await target.close()
    except NotApplicable as reason:
        return Status.NOT_CALLED_FOR, str(reason)
    except Failure as failure:
        return Status.FAILED, str(failure)
    except TimeoutError as error:
        return Status.FAILED, f"did not come to an end within {timeout:.0f} seconds {error}".rstrip()
    except Exception as error:
        return Status.FAILED, f"unexpected {type(error).__name__}: {error}"
    return Status.PASSED, ""


def run_suite(
    location: Location,
    *,
    only: Sequence[str] | None = None,
    progress: Callable[[Result], None] | None = None,
    patience: Patience | None = None,
) -> Report:
    """Run the checks, or those named by id or group in ``only``, and clean up.

    Call it from a thread without a running event loop; it makes one of its own.

    Parameters
    ----------
    location
        Where to work, e.g. ``Location.from_url("memory:")``.
    progress
        Called after each check.
    patience
        How long checks may take; by default as long as the budget says, and less once several hung.
    """
    checks = select(list(only) if only else None)
    clock = SystemClock()
    start = clock.monotonic()

    left: list[str] = []
    patience = patience if patience is not None else Patience(location.budget.timeout)

    async def run() -> list[Result]:
        results: list[Result] = []
        try:
            for check in checks:
                location.allow(patience.limit)
                result = await search(check, location)
                result = await _noted(result, location, patience)
                results.append(result)
                if progress is not None:
                    progress(result)
        finally:
            left.append(await location.cleanup())
        return results

    results = asyncio.run(run())
    return Report(
        storage=location.masked(repr(location.origin)),
        capabilities=location.capabilities,
        results=results,
        budget=location.budget.name,
        complete=len(checks) == len(all_checks()),
        seconds=clock.monotonic() - start,
        transport=location.transport,
        left=left[0],
    )


async def _noted(result: Result, location: Location, patience: Patience) -> Result:
    """The result, which says so if the check was cut short of the full time."""
    hung = result.status is Status.FAILED and result.seconds >= patience.limit * _HUNG
    short = hung and patience.shortened
    answers = not hung or (not patience.silent and await _answers(location, patience.shortest))
    failed = result.status is Status.FAILED
    patience.saw(hung=hung, answers=answers, lost=result.seconds if failed and not hung else 0.0)
    return attrs.evolve(result, hung=hung, cut_short=short)


async def _answers(location: Location, seconds: float) -> bool:
    """Whether a new client can put a small object, or say why not, within some seconds."""
    location.allow(seconds)
    return await find_out_why_not(location) != _silence(seconds)
