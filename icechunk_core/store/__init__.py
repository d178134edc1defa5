"""The zarr store: the only package of the engine that imports zarr."""

from icechunk_core.store.face import SESSION_FACE, StoreControl
from icechunk_core.store.icechunk_store import IcechunkStore
from icechunk_core.store.session_protocol import StoreSession
from icechunk_core.store.virtual import VirtualChunkSpec

__all__ = ["SESSION_FACE", "IcechunkStore", "StoreControl", "StoreSession", "VirtualChunkSpec"]
