"""The store with version control: `IcechunkStore.create`, `commit`, `checkout` ..., and its configuration.

A thin face on the same engine as `Repository` and `Session`: both see the same repositories.
"""

from icechunk_core.classic.factories import ClassicFactories
from icechunk_core.classic.metadata import SnapshotMetadata
from icechunk_core.classic.storage_config import StorageConfig
from icechunk_core.classic.store_config import StoreConfig, VirtualRefConfig
from icechunk_core.store.version_control import register_factories

__all__ = ["SnapshotMetadata", "StorageConfig", "StoreConfig", "VirtualRefConfig"]

register_factories(ClassicFactories())
