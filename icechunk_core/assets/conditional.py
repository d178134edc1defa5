"""Conditional puts whose answer may get lost (FORMAT.md, section 11.5).

An HTTP layer may repeat a put whose answer was lost, and then report that the condition
failed: against the object that we wrote ourselves. So **every** failed conditional put is
read back. What the storage holds then decides:

========================  =============================  ==========================
the storage shows          after a failed condition       after no or a broken answer
========================  =============================  ==========================
our write                 success                        success
somebody else's           lost the race                  outcome unknown
cannot tell               lost the race                  outcome unknown
========================  =============================  ==========================

"Ours" is told by the write id in the user metadata, or, where a storage keeps none, by
the bytes, provided that they are unique to this write.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from icechunk_core.contract import Condition, Storage, Version
from icechunk_core.errors import (
    AlreadyExists,
    IcechunkError,
    NotFound,
    OutcomeUnknown,
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
_AMBIGUOUS = (Timeout, Unavailable, OutcomeUnknown)


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
        mine = await _read_back(storage, key, data, write_id, unique=unique, cause=error)
        if mine is not None:
            _log.warning("the put of %r landed, although the storage answered %r", key, error.kind)
            return mine
        if isinstance(error, _LOST):
            _log.debug("the put of %r lost its race (%s)", key, error.kind)
            raise
        _log.warning("it is unknown whether the put of %r landed (%s)", key, error.kind)
        raise OutcomeUnknown(
            f"the storage did not say whether {key!r} was written ({error.message}); "
            "look at the repository before repeating the operation",
            key=key,
        ) from error


async def _read_back(
    storage: Storage, key: str, data: bytes, write_id: str | None, *, unique: bool, cause: StorageError
) -> Version | None:
    """The version of our write if the storage shows it."""
    try:
        if write_id is not None:
            info = await storage.head(key)
            return info.version if info.metadata.get(WRITE_ID_KEY) == write_id else None
        if unique:
            current, info = await storage.get_range_hook(key, None, None)
            return info.version if bytes(current) == data else None
    except NotFound:
        return None
    except IcechunkError as error:
        if isinstance(cause, _LOST):
            raise OutcomeUnknown(
                f"{key!r}: the storage refused the write and then could not be asked why ({error.message})",
                key=key,
            ) from error
        return None
    return None
