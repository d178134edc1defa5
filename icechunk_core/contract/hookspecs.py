"""THE storage contract: what a backend plugin implements.

A plugin module has the *declaration hook* ``icechunk_backends``. The factory of a
`BackendSpec` returns a *backend object*, which has the *operation hooks*. Opening a
storage registers that object with a plugin manager of its own, so that every
implementation is checked against these signatures before the first call.

An implementation may leave out arguments that it does not need. It may not give
them defaults, rename them or make them keyword-only, and it must be a coroutine
function (``list``: an async generator) exactly where the specification is one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

from icechunk_core.contract.types import (
    Buffer,
    ByteRange,
    Capabilities,
    Condition,
    DeleteResult,
    ObjectInfo,
    Version,
)

if TYPE_CHECKING:
    from icechunk_core.contract.spec import BackendSpec, WrapperSpec
    from icechunk_core.contract.storage import Storage

__all__ = ["API_VERSION", "PROJECT", "DeclarationHooks", "OperationHooks", "hookimpl", "hookspec"]

PROJECT = "icechunk_core"
"""The name under which pluggy knows the contract's hooks."""
API_VERSION = 1
"""Raised when a change of the contract breaks existing plugins."""

hookspec = pluggy.HookspecMarker(PROJECT)
"""Marks the hooks of the contract."""
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks the functions with which a plugin implements hooks."""


class DeclarationHooks:
    """Hooks of a plugin module. Synchronous, no I/O, no import of an SDK."""

    @hookspec
    def icechunk_backends(self) -> Iterable[BackendSpec]:
        """The backends that this plugin offers."""
        raise NotImplementedError

    @hookspec
    def icechunk_wrappers(self) -> Iterable[WrapperSpec]:
        """The wrappers that this plugin offers."""
        raise NotImplementedError

    @hookspec
    def icechunk_wrap_storage(self, storage: Storage, config: Mapping[str, Any]) -> Storage | None:
        """A decorated storage (metrics, cache, encryption), or ``None`` to leave it as it is."""
        raise NotImplementedError


class OperationHooks:
    """Hooks of a backend object: one object store, keys relative to its root.

    Keys are non-empty, ``/``-separated, without leading or trailing slash and without
    empty, ``.`` or ``..`` segments; whatever else a backend cannot hold is `InvalidKey`.
    Every hook but ``capabilities`` may raise the storage errors of
    `icechunk_core.contract.errors` and nothing else.
    """

    @hookspec(firstresult=True)
    def capabilities(self) -> Capabilities:
        """What this storage, as opened, can do; optional, the `BackendSpec`'s apply otherwise."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    async def get_range(
        self, key: str, byte_range: ByteRange, if_version: Version | None
    ) -> tuple[Buffer, ObjectInfo]:
        """Read an object or a part of it, from one version.

        A range's end past the object is clamped; one that starts at or past the end is
        `InvalidRange` (see `resolve_range`). With ``if_version`` another version is
        `VersionMismatch`. ``info.size`` is the whole object's size.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    async def put(
        self,
        key: str,
        data: Sequence[Buffer],
        condition: Condition,
        metadata: Mapping[str, str] | None,
        content_type: str | None,
        storage_class: str | None,
    ) -> Version:
        """Write one object from the concatenated buffers, whole or not at all.

        Conditional puts are linearizable: one of several racing writers wins, the others
        change nothing and get `AlreadyExists` or `VersionMismatch`. A condition that the
        storage cannot hold is `Unsupported` and writes nothing.

        ``metadata`` is user metadata: keys of lower-case ASCII letters, digits and hyphens,
        values of printable ASCII. Where it is not declared, any is `Unsupported`.
        ``content_type`` and ``storage_class`` are hints; a storage without them ignores them.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def list(self, prefix: str, start_after: str | None) -> AsyncIterator[ObjectInfo]:
        """All objects whose key starts with the text ``prefix``, in key order, after ``start_after``.

        An async generator; pages inside. Reflects every write that finished before it began.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    async def head(self, key: str) -> ObjectInfo:
        """What is known about an object, metadata included; `NotFound` if there is none."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    async def delete(self, keys: Sequence[str]) -> Sequence[DeleteResult]:
        """Delete objects; a result per key, in the order given. A missing object counts as deleted."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    async def copy(self, source: str, target: str) -> Version:
        """Copy inside the storage, unconditionally; optional."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    async def sync(self, keys: Sequence[str]) -> None:
        """Make earlier puts of these keys survive power loss, in one batch; optional.

        For storages that put off syncing (a filesystem). Object stores leave it out.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    async def close(self) -> None:
        """Free what is held. Idempotent; every later call raises `Closed`."""
        raise NotImplementedError
