"""THE storage contract: what a backend plugin implements.

A plugin module has the *declaration hook* ``icechunk_backends``. The factory of a
`BackendSpec` returns a *backend object*, which has the *operation hooks*. Opening a
storage registers that object with a plugin manager of its own, so that every
implementation is checked against these signatures before the first call.

An implementation may leave out arguments that it does not need. It may not give
them defaults, rename them or make them keyword-only, and it must be a coroutine
function (``list``: an async generator) exactly where the specification is one.

The examples below are of a backend that keeps objects in a dictionary, from a key to its
bytes and their `ObjectInfo`. ``docs/reference/hooks`` has a page for each hook, made of this.
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
    EndTurn,
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
        """The backends that this plugin offers.

        Called once, when a URL with one of the plugin's schemes is opened for the first time, or
        when the plugins are listed. The module is the value of an entry point in the group
        ``icechunk_core.backends``, whose name is the scheme.

        Returns
        -------
        specs
            A `BackendSpec` for each backend: its schemes, the attrs class of its
            configuration, its capabilities, and the factory of its backend object. A storage
            pickles to its configuration and is opened from it elsewhere, so everything that is
            needed is in there; fields with secrets have ``repr=False`` and are never shown.

        Raises
        ------
        ImportError
            Where a package that the backend needs is missing. Better raised by the factory:
            then the plugin can still be listed.

        Examples
        --------
        >>> from attrs import frozen
        >>> from icechunk_core.contract import BackendSpec, Capabilities
        >>> @frozen
        ... class ShelfConfig:
        ...     shelf: str
        >>> def make(config):
        ...     from my_shelf.storage import ShelfStorage
        ...
        ...     return ShelfStorage(config)
        >>> @hookimpl
        ... def icechunk_backends():
        ...     return [
        ...         BackendSpec(
        ...             name="shelf",
        ...             schemes=["shelf"],
        ...             config=ShelfConfig,
        ...             capabilities=Capabilities(),
        ...             factory=make,
        ...             options_from_url=lambda url: {"shelf": url.netloc},
        ...         )
        ...     ]
        """
        raise NotImplementedError

    @hookspec
    def icechunk_wrappers(self) -> Iterable[WrapperSpec]:
        """The wrappers that this plugin offers.

        A wrapper goes around any storage whose URL names it: ``name+scheme://...``, with options
        that are written ``name.option``. Called once, when such a URL is opened for the first
        time. The module is the value of an entry point in the group
        ``icechunk_core.wrappers``, whose name is the wrapper's.

        Returns
        -------
        specs
            A `WrapperSpec` for each wrapper: its name, the attrs class of its configuration, and
            a function from storage and configuration to a storage. What comes out must keep every
            promise of what went in, or hand on other capabilities.

        Raises
        ------
        ImportError
            Where a package that the wrapper needs is missing. Better raised by its function.

        Examples
        --------
        >>> from attrs import evolve, frozen
        >>> from icechunk_core.contract import WrapperSpec, errors
        >>> @frozen
        ... class KeptConfig:
        ...     pass
        >>> def keep(storage, config):
        ...     async def delete(keys, *rest):
        ...         raise errors.PermissionDenied("nothing is deleted here; open it without 'kept+'")
        ...
        ...     return storage.with_hooks(delete=delete)
        >>> @hookimpl
        ... def icechunk_wrappers():
        ...     return [WrapperSpec(name="kept", config=KeptConfig, wrap=keep)]
        """
        raise NotImplementedError

    @hookspec
    def icechunk_wrap_storage(self, storage: Storage, config: Mapping[str, Any]) -> Storage | None:
        """A decorated storage, or ``None`` to leave it as it is.

        For what a plugin wants around the storages that it opens itself; it sees those of no other
        plugin. Called at each open, also where a pickled storage arrives. Optional.

        Parameters
        ----------
        storage
            What the plugin's own factory made, bound to the contract.
        config
            The options it was opened with, without those that hold secrets.

        Returns
        -------
        wrapped
            Usually made with `Storage.with_hooks`.

        Raises
        ------
        StorageConfigError
            Where the options do not allow it.

        Examples
        --------
        >>> from icechunk_core.storage import RetryPolicy, with_retries
        >>> @hookimpl
        ... def icechunk_wrap_storage(storage, config):
        ...     return with_retries(storage, RetryPolicy(attempts=3))
        """
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
        """What this storage, as opened, can do.

        Optional: without it the capabilities of the `BackendSpec` apply. For backends that know
        better once they have their configuration, such as a bucket without conditional puts.
        Declared must hold; undeclared must raise `Unsupported`. A plain function, called once, when
        the storage is opened. No I/O.

        Returns
        -------
        capabilities
            Those of the storage.

        Examples
        --------
        >>> from attrs import evolve
        >>> from icechunk_core.contract import Capabilities
        >>> class ShelfStorage:
        ...     def __init__(self, config):
        ...         self.config = config
        ...
        ...     @hookimpl
        ...     def capabilities(self):
        ...         return evolve(Capabilities(metadata=True), read_only=self.config.read_only)
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    async def get_range(
        self, key: str, byte_range: ByteRange, if_version: Version | None
    ) -> tuple[Buffer, ObjectInfo]:
        """Read an object or a part of it, from one version.

        A range's end past the object is clamped; one that starts at or past the end is
        `InvalidRange`; `resolve_range` has the rules. However many requests a read takes, its bytes and
        what is said about them are of one and the same write.

        Parameters
        ----------
        key
            Which object.
        byte_range
            ``None`` for all of it, or a `Range`, a `From` or a `Suffix`.
        if_version
            The version that the caller insists on, or ``None`` for the current one.

        Returns
        -------
        data
            The bytes: ``bytes``, ``bytearray`` or ``memoryview``.
        info
            What `head` tells. ``size`` is the whole object's.

        Raises
        ------
        NotFound
            If there is no object.
        InvalidRange
            If the range is negative, empty, or starts at or past the end.
        VersionMismatch
            If ``if_version`` is not the current version.
        Unsupported
            For a `Suffix`, where ``suffix_range`` is not declared.

        Examples
        --------
        >>> from icechunk_core.contract import errors, resolve_range
        >>> class ShelfStorage:
        ...     @hookimpl
        ...     async def get_range(self, key, byte_range, if_version):
        ...         try:
        ...             data, info = self.objects[key]
        ...         except KeyError:
        ...             raise errors.NotFound(f"no object {key!r}", key=key) from None
        ...         if if_version is not None and if_version != info.version:
        ...             raise errors.VersionMismatch(f"object {key!r} has another version", key=key)
        ...         start, end = resolve_range(byte_range, len(data), key=key)
        ...         return data[start:end], info
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
        change nothing and get `AlreadyExists` or `VersionMismatch`. **Commits rest on this.** Hand
        the condition to whatever is atomic underneath; never look first and write then. A condition
        that the storage cannot hold is `Unsupported` and writes nothing. A put that failed without an
        answer, so that it may have landed, is `Unavailable` or `Timeout`; icechunk-core finds out.

        Parameters
        ----------
        key
            Which object.
        data
            The bytes, as several buffers, perhaps none. They belong to the caller and may change after
            the call.
        condition
            `Always`, `IfAbsent`, or `IfVersion` with the version to replace.
        metadata
            User metadata: keys of lower-case ASCII letters, digits and hyphens, values of
            printable ASCII. It replaces that of the object before.
        content_type, storage_class
            Hints; a storage without them ignores them.

        Returns
        -------
        version
            Of this write. No two writes share one, unless the storage declares that it has no
            ``unique_versions``.

        Raises
        ------
        AlreadyExists
            With `IfAbsent`, if there is an object.
        VersionMismatch
            With `IfVersion`, if there is none, or one of another version.
        Unsupported
            For a condition, or metadata, that is not declared.
        InvalidKey
            If the storage cannot hold such a key.
        ReadOnly, StorageFull, PermissionDenied
            As they say.

        Examples
        --------
        >>> from icechunk_core.contract import (
        ...     IfAbsent, IfVersion, ObjectInfo, Version, errors, joined,
        ... )
        >>> from icechunk_core.contract.keys import check_key
        >>> from icechunk_core.clock import SystemClock, datetime_from_us
        >>> from icechunk_core.ids import SystemIds
        >>> class ShelfStorage:
        ...     @hookimpl
        ...     async def put(self, key, data, condition, metadata):
        ...         version = Version(SystemIds().write_id())
        ...         body, now = joined(data), datetime_from_us(SystemClock().now_us())
        ...         info = ObjectInfo(check_key(key), len(body), version, now, dict(metadata or {}))
        ...         with self.lock:  # looking and writing are one step
        ...             found = self.objects.get(key)
        ...             if isinstance(condition, IfAbsent) and found:
        ...                 raise errors.AlreadyExists(f"object {key!r} exists", key=key)
        ...             if isinstance(condition, IfVersion):
        ...                 if not found or found[1].version != condition.version:
        ...                     raise errors.VersionMismatch(f"{key!r} has another version", key=key)
        ...             self.objects[key] = (body, info)
        ...         return version
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def list(self, prefix: str, start_after: str | None) -> AsyncIterator[ObjectInfo]:
        """All objects whose key starts with the text ``prefix``, in key order, after ``start_after``.

        An async generator; pages inside. Reflects every write that finished before it began. Garbage
        collection decides by it: an object that is missing here, or is listed after it was
        deleted, is a wrong decision.

        Parameters
        ----------
        prefix
            The beginning of the keys, as text: ``a/b`` finds ``a/bc``. Empty for all objects.
        start_after
            Only keys after this one, by their UTF-8 bytes; or ``None``.

        Returns
        -------
        items
            `ObjectInfo` in the order of the keys' UTF-8 bytes, if ``ordered_list`` is declared. Version
            and metadata may be missing.

        Raises
        ------
        Unsupported
            Where ``list`` is not declared.

        Examples
        --------
        >>> class ShelfStorage:
        ...     @hookimpl
        ...     async def list(self, prefix, start_after):
        ...         for key in sorted(self.objects, key=str.encode):
        ...             if key.startswith(prefix) and key.encode() > (start_after or "").encode():
        ...                 if key in self.objects:  # the caller may delete while it lists
        ...                     yield self.objects[key][1]
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    async def head(self, key: str) -> ObjectInfo:
        """What is known about an object, without reading it.

        Commits rest on it too: when the answer to a conditional put was lost, the metadata that it tells
        says whose write is there.

        Parameters
        ----------
        key
            Which object.

        Returns
        -------
        info
            Size, version, time of the last write by the storage's clock, metadata, and the server's
            ETag where it has one.

        Raises
        ------
        NotFound
            If there is no object.

        Examples
        --------
        >>> from icechunk_core.contract import errors
        >>> class ShelfStorage:
        ...     @hookimpl
        ...     async def head(self, key):
        ...         if key not in self.objects:
        ...             raise errors.NotFound(f"no object {key!r}", key=key)
        ...         return self.objects[key][1]
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    async def delete(self, keys: Sequence[str]) -> Sequence[DeleteResult]:
        """Delete objects; a result per key.

        A missing object counts as deleted. One key that fails leaves the others to be deleted.

        Parameters
        ----------
        keys
            Which objects; thousands, perhaps, and a key may be there twice.

        Returns
        -------
        results
            A `DeleteResult` per key, in the order given; with the error of those that are still there.

        Raises
        ------
        ReadOnly
            Where nothing can be deleted at all.

        Examples
        --------
        >>> from icechunk_core.contract import DeleteResult
        >>> class ShelfStorage:
        ...     @hookimpl
        ...     async def delete(self, keys):
        ...         for key in keys:
        ...             self.objects.pop(key, None)
        ...         return [DeleteResult(key) for key in keys]
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    async def copy(self, source: str, target: str) -> Version:
        """Copy inside the storage, unconditionally.

        Optional: where ``copy`` is not declared, icechunk-core reads and writes.

        Parameters
        ----------
        source, target
            Keys. What is under ``target`` is replaced.

        Returns
        -------
        version
            Of the new object.

        Raises
        ------
        NotFound
            If there is no object to copy.

        Examples
        --------
        >>> from attrs import evolve
        >>> from icechunk_core.contract import Version, errors
        >>> from icechunk_core.ids import SystemIds
        >>> class ShelfStorage:
        ...     @hookimpl
        ...     async def copy(self, source, target):
        ...         if source not in self.objects:
        ...             raise errors.NotFound(f"no object {source!r}", key=source)
        ...         data, info = self.objects[source]
        ...         version = Version(SystemIds().write_id())
        ...         self.objects[target] = (data, evolve(info, key=target, version=version))
        ...         return version
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    async def sync(self, keys: Sequence[str]) -> None:
        """Make earlier puts of these keys survive power loss, in one batch.

        Optional, for storages that put off syncing (a filesystem); object stores leave it out. Called
        once before a commit is acknowledged, with all that it wrote.

        Parameters
        ----------
        keys
            What was put. Keys that are there no more are passed over.

        Raises
        ------
        Unavailable, StorageFull
            If it is not certain that all of them would survive.

        Examples
        --------
        >>> import os
        >>> class ShelfStorage:
        ...     @hookimpl
        ...     async def sync(self, keys):
        ...         for file in [self.files.pop(key) for key in keys if key in self.files]:
        ...             os.fsync(file.fileno())
        ...             file.close()
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    async def take_turn(self, key: str, seconds: float) -> EndTurn | None:
        """Wait until it is the caller's turn to update an object that many want to update.

        Optional, and advice: conditional puts decide who wins, with turns and without. Commits take one, so
        that those who race for a branch do not write files for an update that is refused. For storages
        where waiting is cheap and the turn of a process that dies is over at once, such as with a lock of the
        operating system; others leave the hook out.

        Parameters
        ----------
        key
            Which object is going to be updated. Different keys may share their turns.
        seconds
            How long to wait at most.

        Returns
        -------
        end
            Ends the turn; may be called on any thread, and more than once. ``None`` if it did not come in
            time, or there can be none: the caller goes on without.

        Raises
        ------
        ReadOnly
            Where nothing can be written at all.

        Examples
        --------
        >>> class ShelfStorage:
        ...     @hookimpl
        ...     async def take_turn(self, key, seconds):
        ...         lock = self.turns[key]  # a threading.Lock
        ...         if not lock.acquire(timeout=seconds):
        ...             return None
        ...         mine = [lock]
        ...         return lambda: mine.pop().release() if mine else None
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    async def close(self) -> None:
        """Free what is held.

        Idempotent. Every later call of any hook raises `Closed`; other clients of the same place go on.

        Examples
        --------
        >>> class ShelfStorage:
        ...     @hookimpl
        ...     async def close(self):
        ...         self.closed = True
        """
        raise NotImplementedError
