"""Virtual chunks: references to data that stays where it is."""

from icechunk_core.format.configuration import VirtualChunkContainer
from icechunk_core.store import VirtualChunkSpec

__all__ = ["VirtualChunkContainer", "VirtualChunkSpec"]
