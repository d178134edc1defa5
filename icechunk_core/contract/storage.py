"""`Storage`: one opened object store, its hooks resolved once."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import attrs

from icechunk_core.contract.attached_names import AttachedNames
from icechunk_core.contract.binding import bind_hooks, check_replacements
from icechunk_core.contract.tuning import Tuning, tuned_options
from icechunk_core.contract.types import (
    ALWAYS,
    Buffer,
    ByteRange,
    Capabilities,
    Condition,
    DeleteResult,
    EndTurn,
    ObjectInfo,
    Version,
)
from icechunk_core.drive import run_direct
from icechunk_core.errors import NotFound, PluginError, Unsupported

if TYPE_CHECKING:
    from icechunk_core.contract.spec import BackendSpec

__all__ = ["Storage", "open_backend"]


class Storage(AttachedNames):
    """An object store behind the contract. Made by `open_backend`, or by a wrapper.

    The methods take what the hooks of `OperationHooks` take, with defaults. On the hot
    path use the attributes ``get_range_hook`` and ``put_hook``: the backend's own bound
    coroutine functions, called by position with every argument.

    It pickles by its configuration and opens anew on the other side. Two storages are
    equal when they were opened from equal configurations.

    Attributes
    ----------
    plugin
        Name of the backend.
    capabilities
        What the storage can do.
    config
        The backend's configuration; ``None`` where it was made from an object.
    tuned_config
        The same with what a repository asked for; see `tuned`.
    layers
        Wrappers that its URL names, the innermost first: name and configuration of each.
    """

    def __init__(
        self,
        *,
        plugin: str,
        hooks: Mapping[str, Callable[..., Any]],
        capabilities: Capabilities,
        config: Any = None,
        reopen: Callable[[Any], Storage] | None = None,
        layers: tuple[tuple[str, Any], ...] = (),
        tuned_config: Any = None,
    ) -> None:
        self.plugin = plugin
        self.capabilities = capabilities
        self.config = config
        self.tuned_config = config if tuned_config is None else tuned_config
        self.layers = layers
        self._reopen = reopen
        self._hooks = dict(hooks)
        self._origin: Storage | None = None
        self.may_suspend = capabilities.may_suspend
        self.get_range_hook: Callable[
            [str, ByteRange, Version | None], Awaitable[tuple[Buffer, ObjectInfo]]
        ] = hooks["get_range"]
        self.put_hook: Callable[..., Awaitable[Version]] = hooks["put"]
        self.get_range_at_once: Callable[[str, ByteRange], tuple[Buffer, ObjectInfo]] = partial(
            _driven, self.get_range_hook
        )

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # `icechunk_core.storage` gives this class more methods, and where a pickled storage arrives
            # nobody may have imported it yet.
            if "icechunk_core.storage" in sys.modules:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            import_module("icechunk_core.storage")
            return getattr(self, name)

    # --- reading

    async def get_range(
        self, key: str, byte_range: ByteRange = None, if_version: Version | None = None
    ) -> tuple[Buffer, ObjectInfo]:
        """Bytes of an object or a part of it, and what the storage says about it."""
        return await self.get_range_hook(key, byte_range, if_version)

    async def head(self, key: str) -> ObjectInfo:
        """Size, version, time and metadata of an object."""
        info: ObjectInfo = await self._hooks["head"](key)
        return info

    def list(self, prefix: str = "", start_after: str | None = None) -> AsyncIterator[ObjectInfo]:
        """All objects whose key starts with ``prefix``, in key order."""
        items: AsyncIterator[ObjectInfo] = self._hooks["list"](prefix, start_after)
        return items

    # --- writing

    async def put(
        self,
        key: str,
        data: Buffer | Sequence[Buffer],
        condition: Condition = ALWAYS,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
        storage_class: str | None = None,
    ) -> Version:
        """Write one object; see `OperationHooks.put`."""
        buffers = [data] if isinstance(data, bytes | bytearray | memoryview) else data
        return await self.put_hook(key, buffers, condition, metadata, content_type, storage_class)

    async def delete(self, keys: Sequence[str]) -> Sequence[DeleteResult]:
        """Delete objects, a result per key."""
        results: Sequence[DeleteResult] = await self._hooks["delete"](keys)
        return results

    async def copy(self, source: str, target: str) -> Version:
        """Copy an object; by get and put where the storage cannot."""
        hook = self._hooks.get("copy")
        if hook is not None and self.capabilities.copy:
            version: Version = await hook(source, target)
            return version
        data, info = await self.get_range_hook(source, None, None)
        metadata = info.metadata if self.capabilities.metadata else None
        return await self.put_hook(target, [data], ALWAYS, metadata or None, None, None)

    async def sync(self, keys: Sequence[str]) -> None:
        """Make earlier puts survive power loss; nothing to do where puts are durable by themselves."""
        hook = self._hooks.get("sync")
        if hook is not None and keys:
            await hook(keys)

    async def take_turn(self, key: str, seconds: float) -> EndTurn | None:
        """Wait until it is one's turn to update an object; what ends the turn, or None if there is none.

        See `OperationHooks.take_turn`. Without such a hook there are no turns.
        """
        hook = self._hooks.get("take_turn")
        if hook is None:
            return None
        end: EndTurn | None = await hook(key, seconds)
        return end

    async def close(self) -> None:
        """Free what is held; later calls raise `Closed`."""
        await self._hooks["close"]()

    # --- helpers

    async def exists(self, key: str) -> bool:
        """Whether there is an object under the key."""
        try:
            await self.head(key)
        except NotFound:
            return False
        return True

    def with_hooks(
        self,
        capabilities: Capabilities | None = None,
        rewrap: Callable[[Storage], Storage] | None = None,
        **replaced: Callable[..., Any],
    ) -> Storage:
        """A storage with some hooks replaced: how wrappers are made.

        Replacements are called by position with all arguments of `OperationHooks`; take
        and hand on ``*arguments``, so that arguments added later pass through.

        ``rewrap`` is a picklable function that wraps the storage inside again where it is
        unpickled. Without it the result does not pickle, for it would come back without the
        wrapper; a wrapper that is registered (`icechunk_core.plugins.register_wrapper`) is
        applied again there.

        Raises
        ------
        PluginError
            If there is no such hook, or the replacement is of another kind (coroutine
            function, async generator) than the hook.
        """
        check_replacements(self.plugin, replaced)
        return Storage(
            plugin=self.plugin,
            hooks={**self._hooks, **replaced},
            capabilities=capabilities or self.capabilities,
            config=self.config,
            reopen=partial(_wrapped_again, self._reopen, rewrap) if self._reopen and rewrap else None,
            layers=self.layers,
            tuned_config=self.tuned_config,
        )

    def reconfigured(self, **options: Any) -> Storage:
        """The same storage opened anew with some options of its configuration changed, wrappers included.

        A storage that was made in code, from an object or by a wrapper that does not pickle, cannot
        be opened anew, and is returned as it is.
        """
        if self._reopen is None:
            return self
        return self._reopen(attrs.evolve(self.config, **options))

    def tuned(self, tuning: Tuning) -> Storage:
        """The same storage with a client that does what a repository asks of it.

        Options that were given to the storage stay as they are, and so does what no option of the backend
        does (see `tuned_options`). The result equals this storage, and pickles with what was asked.
        """
        options, _ = tuned_options(self.config, tuning)
        if self._reopen is None or not options:
            return self
        opened = self._reopen(attrs.evolve(self.config, **options))
        ours = self.hook("close")
        theirs = opened.hook("close")

        async def close() -> None:
            await theirs()
            await ours()

        return Storage(
            plugin=self.plugin,
            hooks={**opened._hooks, "close": close},
            capabilities=opened.capabilities,
            config=self.config,
            reopen=partial(_tuned_again, self._reopen, tuning),
            layers=self.layers,
            tuned_config=opened.tuned_config,
        )

    def reopened_by(
        self, reopen: Callable[[Any], Storage], layers: tuple[tuple[str, Any], ...] = ()
    ) -> Storage:
        """The same storage, unpickled by calling a picklable function with its configuration."""
        return Storage(
            plugin=self.plugin,
            hooks=self._hooks,
            capabilities=self.capabilities,
            config=self.config,
            reopen=reopen,
            layers=layers,
            tuned_config=self.tuned_config,
        )

    def observed_by(
        self,
        hooks: Mapping[str, Callable[..., Any]],
        at_once: Callable[[str, ByteRange], tuple[Buffer, ObjectInfo]],
    ) -> Storage:
        """The same storage seen through hooks that only look on: it equals this one, and pickles as it.

        See `icechunk_core.contract.wrappers.observed`. Who changes what a storage does takes `with_hooks`.
        """
        origin = self.unobserved
        seen = object.__new__(Storage)
        seen.__dict__.update(origin.__dict__)
        seen._origin = origin
        seen._hooks = {**origin._hooks, **hooks}
        seen.get_range_hook, seen.put_hook = seen._hooks["get_range"], seen._hooks["put"]
        seen.get_range_at_once = at_once
        return seen

    @property
    def location(self) -> str:
        """Where it is, for messages: the URL or path that its backend's configuration tells, without secrets.

        >>> from icechunk_core.plugins import open_storage
        >>> open_storage("memory:scratch").location
        'memory:scratch'
        """
        told = getattr(self.config, "location", None)
        if not isinstance(told, str):
            told = f"{self.plugin} storage" if self.config is None else repr(self.config)
        for name, _ in self.layers:
            told = f"{name}+{told}"
        return told

    @property
    def unobserved(self) -> Storage:
        """The storage itself, where this is one that is observed."""
        return self if self._origin is None else self._origin

    @property
    def hook_names(self) -> frozenset[str]:
        """The operation hooks that this storage has, the optional ones among them."""
        return frozenset(self._hooks)

    def hook(self, name: str) -> Callable[..., Any]:
        """The bound implementation of an operation hook, for wrappers.

        Raises
        ------
        Unsupported
            If it is an optional hook that the backend does not implement.
        """
        try:
            return self._hooks[name]
        except KeyError:
            raise Unsupported(f"storage {self.plugin!r} has no {name!r}") from None

    def __repr__(self) -> str:
        inside = repr(self.config) if self.config is not None else self.plugin
        for name, config in self.layers:
            inside = f"{name}({config!r}, {inside})"
        return f"<Storage {inside}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Storage):
            return NotImplemented
        if self.unobserved is other.unobserved:
            return True
        mine = (self.plugin, self.config, self.layers)
        return self.config is not None and mine == (other.plugin, other.config, other.layers)

    def __hash__(self) -> int:
        return hash((self.plugin, repr(self.config), repr(self.layers)))

    def __reduce__(self) -> tuple[Callable[[Any], Storage], tuple[Any]]:
        if self._reopen is None:
            raise PluginError(
                f"storage {self.plugin!r} was made in code, from an object or by a wrapper, and cannot be "
                "pickled; register its backend (icechunk_core.plugins.register_backend) or its wrapper "
                "(register_wrapper) and open it by URL"
            )
        return self._reopen, (self.config,)


def _driven(
    get_range: Callable[..., Awaitable[tuple[Buffer, ObjectInfo]]], key: str, byte_range: ByteRange
) -> tuple[Buffer, ObjectInfo]:
    """The hook ``get_range`` driven to its end here and now, of a storage that never suspends."""
    reading = cast("Coroutine[Any, Any, tuple[Buffer, ObjectInfo]]", get_range(key, byte_range, None))
    return run_direct(reading)


def _tuned_again(reopen: Callable[[Any], Storage], tuning: Tuning, config: Any) -> Storage:
    return reopen(config).tuned(tuning)


def _wrapped_again(
    reopen: Callable[[Any], Storage], rewrap: Callable[[Storage], Storage], config: Any
) -> Storage:
    return rewrap(reopen(config))


def open_backend(
    backend: object,
    spec: BackendSpec | None = None,
    *,
    plugin: str | None = None,
    config: Any = None,
    reopen: Callable[[Any], Storage] | None = None,
) -> Storage:
    """Check a backend object against the contract and bind it.

    Raises
    ------
    PluginError
        If a hook is missing, unknown or has a wrong signature; the message names the mend.
    """
    name = plugin or (spec.name if spec is not None else type(backend).__name__)
    hooks = bind_hooks(backend, name)
    declare = hooks.pop("capabilities", None)
    capabilities = declare() if declare is not None else spec.capabilities if spec is not None else None
    if not isinstance(capabilities, Capabilities):
        raise PluginError(
            f"storage plugin {name!r} declares no capabilities; "
            "give its BackendSpec some or implement the hook 'capabilities'"
        )
    return Storage(plugin=name, hooks=hooks, capabilities=capabilities, config=config, reopen=reopen)
