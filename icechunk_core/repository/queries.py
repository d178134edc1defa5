"""Questions about a repository that need more than one object: versions, diffs."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from icechunk_core.clock import us_from_datetime
from icechunk_core.contract import Storage
from icechunk_core.errors import (
    ErrorKind,
    FormatError,
    InvalidInputError,
    ReadOnlyError,
    RefNotFoundError,
    SnapshotNotFoundError,
)
from icechunk_core.format import base32
from icechunk_core.format.transaction_log import TransactionLog
from icechunk_core.history import History
from icechunk_core.repository.arguments import ref_name, snapshot_id_bytes
from icechunk_core.session import RepositoryContext

if TYPE_CHECKING:
    from icechunk_core.transaction.diff import Diff

__all__ = ["check_one_version", "check_storage_writable", "diff", "resolve"]


def check_storage_writable(storage: Storage) -> None:
    """Raise if nothing can be written there."""
    if storage.capabilities.read_only:
        raise ReadOnlyError(
            f"the storage {storage.location} is read-only; open a read-only session",
            kind=ErrorKind.READ_ONLY_STORAGE,
        )


def check_one_version(branch: str | None, tag: str | None, snapshot_id: str | None) -> None:
    """Raise `ValueError` unless exactly one of the three is given."""
    if sum(given is not None for given in (branch, tag, snapshot_id)) != 1:
        raise InvalidInputError("Must provide one of branch, tag, or snapshot_id")


async def resolve(
    history: History,
    branch: str | None,
    tag: str | None,
    snapshot_id: str | None,
    as_of: datetime | None = None,
) -> bytes:
    """The snapshot that a branch, a tag or an id stands for (FORMAT.md, section 12.4).

    Raises
    ------
    ValueError
        Unless exactly one of the three is given.
    TypeError
        If ``as_of`` has no time zone.
    """
    check_one_version(branch, tag, snapshot_id)
    if as_of is not None and branch is None:
        raise InvalidInputError("as_of argument must be provided together with a branch name")
    if as_of is not None and as_of.tzinfo is None:
        raise TypeError("as_of must be a datetime with a time zone, such as datetime.now(timezone.utc)")
    if tag is not None:
        return await history.tag(ref_name(tag, "the name of a tag"))
    if snapshot_id is not None:
        return (await history.snapshot_info(snapshot_id_bytes(snapshot_id))).id
    assert branch is not None
    if as_of is None:
        return await history.branch(ref_name(branch))
    limit = us_from_datetime(as_of)
    async for info in history.ancestry(await _tip_in_the_past(history, ref_name(branch))):
        if info.flushed_at <= limit:
            return info.id
    raise SnapshotNotFoundError(
        f"branch {branch!r} has no snapshot at or before {as_of.isoformat()}",
        kind=ErrorKind.NO_SNAPSHOT_AT_TIME,
    )


async def _tip_in_the_past(history: History, branch: str) -> bytes:
    """The branch's tip; spec 2 has another code there for one that is missing, as Icechunk."""
    try:
        return await history.branch(branch)
    except RefNotFoundError as error:
        if history.spec_version > 1:
            error.kind = str(ErrorKind.BRANCH_NOT_FOUND)
        raise


async def diff(context: RepositoryContext, start: bytes, end: bytes) -> Diff:
    """What the commits after ``start`` up to ``end`` did (FORMAT.md, section 17.3)."""
    from icechunk_core.transaction.diff import build_diff

    logs: list[TransactionLog] = []
    async for info in context.history.ancestry(end):
        if info.id == start and info.id != end:
            break
        log = await context.assets.transaction_log(info.id)
        if log is not None:
            logs.append(log)
        elif info.parent_id is not None:
            raise FormatError(
                f"the transaction log of snapshot {base32.encode(info.id)} is gone: no diff across it"
            )
        for log_id in reversed(info.pruned_ancestor_tx_logs):
            pruned = await context.assets.transaction_log(log_id)
            if pruned is not None:
                logs.append(pruned)
    else:
        raise InvalidInputError(
            f"snapshot {base32.encode(start)} is not an ancestor of {base32.encode(end)}; "
            "a diff goes from an older version to a newer one of the same history",
            kind=ErrorKind.BAD_SNAPSHOT_CHAIN_FOR_DIFF,
        )
    old = await context.assets.snapshot(start)
    new = await context.assets.snapshot(end)
    return build_diff(logs, old.nodes, new.nodes)
