"""Conditional puts for storages without them, as far as that goes: look, then write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from attrs import evolve

from icechunk_core.contract.storage import Storage
from icechunk_core.contract.types import (
    ALWAYS,
    AtomicityScope,
    Buffer,
    Condition,
    IfAbsent,
    IfVersion,
    Version,
)
from icechunk_core.errors import AlreadyExists, NotFound, VersionMismatch

__all__ = ["for_single_writer"]


def for_single_writer(storage: Storage, *, create: bool = True, update: bool = True) -> Storage:
    """A storage whose conditional puts look first and then write unconditionally.

    That keeps one writer from overwriting what it did not expect. **Two writers at the same
    time can both win**, so the result declares no scope of atomicity. It pickles if the storage
    inside does.

    Parameters
    ----------
    storage
        What lacks conditional puts.
    create, update
        Which to replace: puts with `IfAbsent`, with `IfVersion`.
    """

    async def put(
        key: str,
        data: Sequence[Buffer],
        condition: Condition,
        metadata: Mapping[str, str] | None,
        content_type: str | None,
        storage_class: str | None,
    ) -> Version:
        if isinstance(condition, IfAbsent) and create:
            if await storage.exists(key):
                raise AlreadyExists(f"object {key!r} exists", key=key)
            condition = ALWAYS
        elif isinstance(condition, IfVersion) and update:
            await _require_version(storage, key, condition.version)
            condition = ALWAYS
        return await storage.put_hook(key, data, condition, metadata, content_type, storage_class)

    able = storage.capabilities
    return storage.with_hooks(
        evolve(
            able,
            create=able.create or create,
            update=able.update or update,
            atomicity=AtomicityScope.NONE,
        ),
        partial(for_single_writer, create=create, update=update),
        put=put,
    )


async def _require_version(storage: Storage, key: str, wanted: Version) -> None:
    try:
        found = (await storage.head(key)).version
    except NotFound as error:
        raise VersionMismatch(f"object {key!r} is missing", key=key) from error
    if found != wanted:
        raise VersionMismatch(f"object {key!r} has another version", key=key)
