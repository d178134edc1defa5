"""Where the two public faces of the store differ.

One `IcechunkStore` class serves stores that come from ``session.store`` and stores that
come from the store's own constructors (``IcechunkStore.create`` ...). What they do
differently is asked of a control object that the maker of the store passes in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import frozen

from icechunk_core.errors import ErrorKind, InvalidInputError

if TYPE_CHECKING:
    from icechunk_core.store.session_protocol import StoreSession

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


SESSION_FACE = SessionFace()
