"""`RepositoryContext`: what all sessions of one opened repository share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from icechunk_core.assets.manager import AssetManager
from icechunk_core.assets.pack_config import PackConfig, as_pack_config, plain_layout
from icechunk_core.assets.settings import EngineSettings
from icechunk_core.assets.virtual import VirtualChunks
from icechunk_core.clock import Clock, SystemClock
from icechunk_core.contract import Storage
from icechunk_core.contract.io_stats import IoStats
from icechunk_core.contract.wrappers import observed
from icechunk_core.errors import IcechunkError
from icechunk_core.format.configuration import RepositoryConfig
from icechunk_core.history import History, RefFilesHistory, RepoObjectHistory
from icechunk_core.ids import IdSource, SystemIds
from icechunk_core.session.sharing import Unreachable, arrived
from icechunk_core.storage._containers import open_container
from icechunk_core.transaction.split_rules import split_grids

__all__ = ["RepositoryContext"]


class RepositoryContext:
    """Storage, caches, history and configuration of one opened repository.

    It pickles by storage, configuration and authorisations; caches start empty on the other side.
    However often it arrives in a process, it is one object there.
    """

    def __init__(
        self,
        storage: Storage,
        config: RepositoryConfig,
        spec_version: int,
        *,
        authorized: Mapping[str, Any] | None = None,
        open_schemes: Mapping[str, Any] | None = None,
        clock: Clock | None = None,
        ids: IdSource | None = None,
        packs: PackConfig | bool | None = None,
        io_stats: IoStats | None = None,
    ) -> None:
        self.io_stats = io_stats or IoStats()
        self.storage = observed(storage, self.io_stats)
        self.config = config
        self.spec_version = spec_version
        self.authorized = dict(authorized or {})
        self.open_schemes = dict(open_schemes or {})
        self.clock: Clock = clock or SystemClock()
        self.ids: IdSource = ids or SystemIds()
        self.settings = EngineSettings.from_config(config)
        self.packs = as_pack_config(packs)
        assets = AssetManager(self.storage, self.settings, spec_version, self.packs)
        self.assets = assets.observed_by(self.storage, self.io_stats)
        self.virtual = VirtualChunks(
            config,
            self.authorized,
            direct=not storage.may_suspend,
            open_container=open_container,
            open_schemes=self.open_schemes,
            over_read=self.packs.over_read_bytes,
        ).observed_by(self.io_stats)
        self.preloaded: bytes | None = None  # the snapshot whose manifests were preloaded last
        self.splits_automatically = config.splits_automatically() and not plain_layout()
        self.grid_of = split_grids(config.effective_split_sizes())
        history = RepoObjectHistory if spec_version >= 2 else RefFilesHistory
        self.history: History = history(self.assets, self.ids, self.clock)
        self._repository = self
        self._token: bytes | None = None  # by which other processes know it

    def __reduce__(self) -> tuple[Callable[..., RepositoryContext], tuple[Any, ...]]:
        if self._repository is not self:
            return self._repository.__reduce__()
        if self._token is None:
            # Not from `ids`: pickling should not change what ids come next.
            self._token = SystemIds().object_id()
        return _arrived, (
            self._token,
            self.storage.__reduce__(),  # opened where the context is not known yet
            self.config,
            self.spec_version,
            self.authorized,
            self.open_schemes,
            self.packs,
        )

    def with_open_schemes(self, open_schemes: Mapping[str, Any]) -> RepositoryContext:
        """The same, with virtual chunks allowed anywhere under these URL schemes."""
        return RepositoryContext(
            self.storage,
            self.config,
            self.spec_version,
            authorized=self.authorized,
            open_schemes=open_schemes,
            clock=self.clock,
            ids=self.ids,
            packs=self.packs,
            io_stats=self.io_stats,
        )

    def for_session(self) -> RepositoryContext:
        """The same, with counters of its own beside the repository's; it pickles as the repository's."""
        root = self._repository
        seen = object.__new__(RepositoryContext)
        seen.__dict__.update(root.__dict__)
        seen.io_stats = IoStats()
        seen.storage = observed(root.storage, seen.io_stats, root.io_stats)
        seen.assets = root.assets.observed_by(seen.storage, seen.io_stats, root.io_stats)
        seen.virtual = root.virtual.observed_by(seen.io_stats, root.io_stats)
        seen.history = root.history.observed_by(seen.assets)
        return seen


def _arrived(
    token: bytes,
    opening: tuple[Callable[..., Storage], tuple[Any, ...]],
    config: RepositoryConfig,
    spec_version: int,
    authorized: Mapping[str, Any],
    open_schemes: Mapping[str, Any],
    packs: PackConfig,
) -> RepositoryContext:
    def make() -> RepositoryContext:
        reopen, arguments = opening
        context = RepositoryContext(
            reopen(*arguments),
            config,
            spec_version,
            authorized=authorized,
            open_schemes=open_schemes,
            packs=packs,
        )
        context._token = token
        return context

    try:
        return arrived(token, make)
    except IcechunkError as error:
        unreachable: Any = Unreachable(error)
        return unreachable  # type: ignore[no-any-return]
