"""Where the two public faces of the store differ.

One `IcechunkStore` class serves stores that come from ``session.store`` and stores that
come from the store's own constructors (``IcechunkStore.create`` ...). What they do
differently is asked of a control object that the maker of the store passes in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import frozen

from icechunk_core.errors import ErrorKind, InvalidInputError, SessionStateError

if TYPE_CHECKING:
    from icechunk_core.store.session_protocol import StoreSession
    from icechunk_core.store.version_control import VersionControlActions

__all__ = ["SESSION_FACE", "SessionFace", "StoreControl"]


class StoreControl(Protocol):
    """Decides what depends on where a store came from. Picklable, without state of one store."""

    def read_only_after_pickling(self, session: StoreSession, *, read_only: bool) -> bool:
        """Whether the unpickled copy of a store is read-only.

        Raises
        ------
        InvalidInputError
            If the store may not be pickled in its present state.
        """
        ...

    def must_have_container(self, requested: bool) -> bool:
        """Whether a virtual ref needs a container, given what the caller asked for."""
        ...

    @property
    def how_to_write(self) -> str:
        """What to do when a store refuses a write because it is read-only."""
        ...

    def version_control(self, session: StoreSession) -> VersionControlActions:
        """What commits, checks out and so on; raises where the session does that."""
        ...

    def preserving_read_only(self) -> StoreControl:
        """The control to use where pickled copies keep ``read_only`` as it is; raises where they never do."""
        ...


@frozen
class SessionFace:
    """The rules for a store that comes from ``session.store``.

    A store on a writable session does not pickle, because writes made through the copy
    would silently be missing from the commit; ``Session.fork()`` is the explicit way.
    """

    def read_only_after_pickling(self, session: StoreSession, *, read_only: bool) -> bool:
        if not session.read_only and not session.is_fork:
            raise InvalidInputError(
                "a store of a writable session cannot be pickled: what its copy writes would not be part "
                "of the commit. Use Session.fork() and pickle the fork's store, then Session.merge() the "
                "forks that come back",
                kind=ErrorKind.PICKLE,
            )
        return read_only

    def must_have_container(self, requested: bool) -> bool:
        return requested

    @property
    def how_to_write(self) -> str:
        return "get a writable one from Repository.writable_session(branch).store"

    def version_control(self, session: StoreSession) -> VersionControlActions:
        raise SessionStateError(
            "this store belongs to a session: use store.session (commit, branch, snapshot_id, ...) and the "
            "repository's methods, or open a store of its own with IcechunkStore.open_existing"
        )

    def preserving_read_only(self) -> StoreControl:
        raise SessionStateError(
            "a store of a session is pickled as it is, or not at all: fork the session to write from other "
            "processes, or open a store of its own with IcechunkStore.open_existing"
        )


SESSION_FACE = SessionFace()
