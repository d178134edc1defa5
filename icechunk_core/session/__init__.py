"""Sessions: what one reader or writer sees, and how it commits."""

from typing import TYPE_CHECKING

from icechunk_core._lazy import lazy

if TYPE_CHECKING:
    from icechunk_core.session.chunk_methods import ChunkType
    from icechunk_core.session.context import RepositoryContext
    from icechunk_core.session.forks import ForkSession
    from icechunk_core.session.modes import SessionMode
    from icechunk_core.session.session import Session
    from icechunk_core.session.state import SessionState
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "chunk_methods": ("ChunkType",),
            "context": ("RepositoryContext",),
            "forks": ("ForkSession",),
            "modes": ("SessionMode",),
            "session": ("Session",),
            "state": ("SessionState",),
        },
    )

__all__ = ["ChunkType", "ForkSession", "RepositoryContext", "Session", "SessionMode", "SessionState"]
