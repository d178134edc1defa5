"""What is particular about a store with version control (see `icechunk_core.store.face`)."""

from __future__ import annotations

from typing import cast

from attrs import frozen

from icechunk_core.classic.actions import ClassicActions
from icechunk_core.session import SessionState
from icechunk_core.store.face import StoreControl
from icechunk_core.store.session_protocol import StoreSession
from icechunk_core.store.version_control import VersionControlActions

__all__ = ["ClassicControl"]


@frozen
class ClassicControl:
    """The rules for a store that has its own session.

    Pickled copies bring the uncommitted changes along and come back read-only, unless they
    were made inside ``preserve_read_only``. Virtual refs need no container.
    """

    preserve_read_only: bool = False

    def read_only_after_pickling(self, session: StoreSession, *, read_only: bool) -> bool:
        return read_only if self.preserve_read_only else True

    def must_have_container(self, requested: bool) -> bool:
        return False

    @property
    def how_to_write(self) -> str:
        return "allow writing with set_writeable()"

    def version_control(self, session: StoreSession) -> VersionControlActions:
        return ClassicActions(cast(SessionState, session))

    def preserving_read_only(self) -> StoreControl:
        return ClassicControl(preserve_read_only=True)

    def __reduce__(self) -> tuple[type[ClassicControl], tuple[()]]:
        # The rule of a ``with`` block ends with it; copies begin without.
        return ClassicControl, ()
