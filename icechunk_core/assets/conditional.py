"""Conditional puts whose answer may get lost (FORMAT.md, section 11.5).

An HTTP layer may repeat a put whose answer was lost, and then report that the condition
failed: against the object that we wrote ourselves. So **every** failed conditional put is
read back. What the storage holds then decides:

===================  ========================  ===================  ===========================
the storage shows    after a failed condition  after "slow down"    after no or a broken answer
===================  ========================  ===================  ===========================
our write            success                   success              success
no change            lost the race             slow down            outcome unknown
somebody else's      lost the race             outcome unknown      outcome unknown
cannot tell          lost the race             outcome unknown      outcome unknown
no answer            outcome unknown           outcome unknown      outcome unknown
===================  ========================  ===================  ===========================

"Ours" is told by the write id in the user metadata, or, where a storage keeps none, by
the bytes, provided that they are unique to this write.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Mapping

from icechunk_core.contract import Condition, IfAbsent, IfVersion, Storage, Version
from icechunk_core.errors import (
    AlreadyExists,
    IcechunkError,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    StorageError,
    Timeout,
    Unavailable,
    VersionMismatch,
)
from icechunk_core.ids import IdSource

__all__ = ["WRITE_ID_KEY", "conditional_put"]

_log = logging.getLogger(__name__)

WRITE_ID_KEY = "icechunkwriteid"
_LOST = (AlreadyExists, VersionMismatch)
# "Slow down" can be the answer to a repetition, below us, of a put that landed.
_AMBIGUOUS = (Timeout, Unavailable, OutcomeUnknown, RateLimited)


class _There(enum.Enum):
    """What reading back shows, if not our write."""

    UNCHANGED = enum.auto()
    """What was there before."""
    ANOTHER = enum.auto()
    """Somebody else's write."""
    CANNOT_TELL = enum.auto()
    NO_ANSWER = enum.auto()


_LOST_WITH = (_There.UNCHANGED, _There.ANOTHER, _There.CANNOT_TELL)
_SETTLES: dict[type[StorageError], tuple[_There, ...]] = {
    AlreadyExists: _LOST_WITH,
    VersionMismatch: _LOST_WITH,
    RateLimited: (_There.UNCHANGED,),
}
"""With what found there an error stands as it is."""


async def conditional_put(
    storage: Storage,
    key: str,
    data: bytes,
    condition: Condition,
    *,
    ids: IdSource,
    unique: bool,
    metadata: Mapping[str, str] | None = None,
    content_type: str | None = None,
    storage_class: str | None = None,
) -> Version:
    """Put under a condition; the answer is right even if the storage's got lost.

    Parameters
    ----------
    unique
        Whether no other write ever has these bytes.

    Raises
    ------
    AlreadyExists, VersionMismatch
        Somebody else was first; nothing was written.
    RateLimited
        The storage asks to slow down; nothing was written.
    OutcomeUnknown
        The write may have happened, or may still.
    """
    write_id = None
    if storage.capabilities.metadata:
        write_id = ids.write_id()
        metadata = {**(metadata or {}), WRITE_ID_KEY: write_id}
    else:
        metadata = None
    try:
        return await storage.put_hook(key, [data], condition, metadata, content_type, storage_class)
    except (*_LOST, *_AMBIGUOUS) as error:
        there = await _read_back(storage, key, data, write_id, condition, unique=unique)
        if isinstance(there, Version):
            _log.warning("the put of %r landed, although the storage answered %r", key, error.kind)
            return there
        if there in _SETTLES.get(type(error), ()):
            _log.debug("the put of %r was refused (%s)", key, error.kind)
            raise
        _log.warning("it is unknown whether the put of %r landed (%s)", key, error.kind)
        raise OutcomeUnknown(
            f"the storage did not say whether {key!r} was written ({error.message}); "
            "look at the repository before repeating the operation",
            key=key,
        ) from error


async def _read_back(
    storage: Storage, key: str, data: bytes, write_id: str | None, condition: Condition, *, unique: bool
) -> Version | _There:
    """The version of our write if the storage shows it, else what it shows instead."""
    try:
        if write_id is not None:
            info = await storage.head(key)
            mine = info.metadata.get(WRITE_ID_KEY) == write_id
        elif unique:
            current, info = await storage.get_range_hook(key, None, None)
            mine = bytes(current) == data
        else:
            return _There.CANNOT_TELL
    except NotFound:
        return _There.UNCHANGED if isinstance(condition, IfAbsent) else _There.ANOTHER
    except IcechunkError:
        return _There.NO_ANSWER
    if mine and info.version is not None:
        return info.version
    unchanged = isinstance(condition, IfVersion) and info.version == condition.version
    return _There.UNCHANGED if unchanged else _There.ANOTHER
