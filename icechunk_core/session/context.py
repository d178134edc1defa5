"""`RepositoryContext`: what all sessions of one opened repository share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icechunk_core.assets.manager import AssetManager
from icechunk_core.assets.pack_config import PackConfig, as_pack_config, plain_layout
from icechunk_core.assets.settings import EngineSettings
from icechunk_core.assets.virtual import VirtualChunks
from icechunk_core.clock import Clock, SystemClock
from icechunk_core.contract import Storage
from icechunk_core.format.configuration import RepositoryConfig
from icechunk_core.history import History, RefFilesHistory, RepoObjectHistory
from icechunk_core.ids import IdSource, SystemIds
from icechunk_core.storage._containers import open_container
from icechunk_core.transaction.split_rules import split_grids

__all__ = ["RepositoryContext"]


class RepositoryContext:
    """Storage, caches, history and configuration of one opened repository.

    It pickles by storage, configuration and authorisations; caches start empty on the other side.
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
    ) -> None:
        self.storage = storage
        self.config = config
        self.spec_version = spec_version
        self.authorized = dict(authorized or {})
        self.open_schemes = dict(open_schemes or {})
        self.clock: Clock = clock or SystemClock()
        self.ids: IdSource = ids or SystemIds()
        self.settings = EngineSettings.from_config(config)
        self.packs = as_pack_config(packs)
        self.assets = AssetManager(storage, self.settings, spec_version, self.packs)
        self.virtual = VirtualChunks(
            config,
            self.authorized,
            direct=not storage.may_suspend,
            open_container=open_container,
            open_schemes=self.open_schemes,
            over_read=self.packs.over_read_bytes,
        )
        self.preloaded: bytes | None = None  # the snapshot whose manifests were preloaded last
        self.splits_automatically = config.splits_automatically() and not plain_layout()
        self.grid_of = split_grids(config.effective_split_sizes())
        history = RepoObjectHistory if spec_version >= 2 else RefFilesHistory
        self.history: History = history(self.assets, self.ids, self.clock)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "storage": self.storage,
            "config": self.config,
            "spec_version": self.spec_version,
            "authorized": self.authorized,
            "open_schemes": self.open_schemes,
            "packs": self.packs,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(  # type: ignore[misc]
            state["storage"],
            state["config"],
            state["spec_version"],
            authorized=state["authorized"],
            open_schemes=state["open_schemes"],
            packs=state["packs"],
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
        )
