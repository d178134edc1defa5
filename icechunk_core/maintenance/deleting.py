"""Deleting garbage: in batches, several at a time, with an account of what failed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from attrs import define, field, frozen

from icechunk_core.assets.settings import backoff_seconds
from icechunk_core.clock import Clock
from icechunk_core.contract import Storage
from icechunk_core.drive import gather, pause
from icechunk_core.errors import ConflictError, ErrorKind, IcechunkError, RateLimited
from icechunk_core.format.configuration import RetrySettings
from icechunk_core.ids import IdSource
from icechunk_core.maintenance.limits import GCLimits

__all__ = ["BATCH", "Deleter", "Garbage"]

_log = logging.getLogger(__name__)

BATCH = 1000
"""Keys per delete request."""

_RETRY = RetrySettings(8, 200, 10_000)
_ERRORS_KEPT = 10


@frozen
class Garbage:
    """An object to delete."""

    key: str
    size: int


@define
class Account:
    """What became of the objects of one kind."""

    deleted: int = 0
    bytes: int = 0
    failed: int = 0

    def add(self, other: Account) -> None:
        """Count what became of others of the kind."""
        self.deleted += other.deleted
        self.bytes += other.bytes
        self.failed += other.failed


@define
class Deleter:
    """Deletes objects of a storage.

    Attributes
    ----------
    throttled
        Requests that were repeated because the storage asked to slow down.
    errors
        The first different messages of failures.
    """

    storage: Storage
    clock: Clock
    ids: IdSource
    limits: GCLimits
    throttled: int = 0
    errors: list[str] = field(factory=list)
    _failures_in_a_row: int = 0

    async def delete(self, garbage: Sequence[Garbage], account: Account) -> None:
        """Delete objects and note what happened to them.

        Raises
        ------
        ConflictError
            ``gc-deletes-failing``: too many requests failed one after the other.
        """
        batches = [garbage[at : at + BATCH] for at in range(0, len(garbage), BATCH)]
        await gather(
            [lambda batch=batch: self._delete_batch(batch, account) for batch in batches],  # type: ignore[misc]
            may_suspend=self.storage.may_suspend,
            limit=self.limits.deletes_per_stream,
        )

    async def _delete_batch(self, batch: Sequence[Garbage], account: Account) -> None:
        sizes = {item.key: item.size for item in batch}
        for failures in range(1, _RETRY.max_tries + 1):
            outcome = await _request(self.storage, list(sizes))
            for key, error in outcome.items():
                if error is None:
                    account.deleted += 1
                    account.bytes += sizes.pop(key)
            throttled = [error for error in outcome.values() if isinstance(error, RateLimited)]
            if not throttled or failures == _RETRY.max_tries:
                break
            account.failed += self._failed({k: e for k, e in outcome.items() if k in sizes}, keep=RateLimited)
            sizes = {key: sizes[key] for key in sizes if isinstance(outcome[key], RateLimited)}
            self.throttled += 1
            _log.info("the storage asks to slow down; %d objects are deleted later", len(sizes))
            wait = backoff_seconds(_RETRY, failures, 0.5 + 0.5 * self.ids.uniform())
            await pause(wait, self.clock, may_suspend=self.storage.may_suspend)
        failed = self._failed({key: outcome[key] for key in sizes})
        if failed:
            _log.warning(
                "%d objects could not be deleted: %s", failed, self.errors[-1] if self.errors else ""
            )
        account.failed += failed
        self._count_request(failed == len(outcome))

    def _failed(
        self, outcome: dict[str, IcechunkError | None], keep: type[IcechunkError] | None = None
    ) -> int:
        """Note the failures, except those that are going to be repeated."""
        errors = [
            e for e in outcome.values() if e is not None and not (keep is not None and isinstance(e, keep))
        ]
        self.take(0, [error.message for error in errors])
        return len(errors)

    def take(self, throttled: int, messages: Iterable[str]) -> None:
        """Note what was repeated, and messages of failures."""
        self.throttled += throttled
        for message in messages:
            if len(self.errors) < _ERRORS_KEPT and message not in self.errors:
                self.errors.append(message)

    def _count_request(self, failed: bool) -> None:
        self._failures_in_a_row = self._failures_in_a_row + 1 if failed else 0
        if self._failures_in_a_row >= self.limits.max_consecutive_delete_failures:
            raise ConflictError(
                f"garbage collection gave up after {self._failures_in_a_row} delete requests failed "
                f"in a row; the last errors: {'; '.join(self.errors)}. "
                "What was deleted stays deleted; run it again when the storage works",
                kind=ErrorKind.GC_DELETES_FAILING,
            )


async def _request(storage: Storage, keys: list[str]) -> dict[str, IcechunkError | None]:
    """The error of each key, None where the object is gone."""
    try:
        results = await storage.delete(keys)
    except IcechunkError as error:
        return dict.fromkeys(keys, error)
    return {result.key: result.error for result in results}
