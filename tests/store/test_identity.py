"""Equality, pickling, opening, capabilities, and what the control object decides."""

from __future__ import annotations

import pickle

import pytest
from zarr.abc.store import Store

from icechunk_core.errors import ErrorKind, InvalidInputError
from icechunk_core.store import SESSION_FACE, IcechunkStore, StoreSession
from tests.store.conftest import GROUP, buffer
from tests.store.fake_session import FakeSession


class AnyWhere:
    """A control that lets writable stores pickle as read-only ones and asks for no containers."""

    def read_only_after_pickling(self, session: StoreSession, *, read_only: bool) -> bool:
        return True

    def must_have_container(self, requested: bool) -> bool:
        return False


def test_equality(session: FakeSession) -> None:
    """Stores are equal when their sessions are, whether read-only or not; other objects are not."""
    store = IcechunkStore(session)
    assert store == IcechunkStore(session) == IcechunkStore.from_session(session)
    assert store == store.with_read_only(True)
    assert store == IcechunkStore(FakeSession())
    other = FakeSession()
    IcechunkStore(other).set_sync("zarr.json", buffer(GROUP))
    assert store != IcechunkStore(other)
    assert store != session


def test_session_and_texts(session: FakeSession) -> None:
    """The store leads back to its session, and says whether it writes."""
    store = IcechunkStore(session)
    assert store.session is session
    assert "writable" in repr(store)
    assert "read-only" in repr(store.with_read_only(True))
    assert str(store).startswith("icechunk:")


def test_capabilities(store: IcechunkStore) -> None:
    """Writes, deletes and listing; no partial writes, and no consolidated metadata, which a snapshot is."""
    assert isinstance(store, Store)
    assert (store.supports_writes, store.supports_deletes, store.supports_listing) == (True, True, True)
    assert store.supports_partial_writes is False
    assert store.supports_consolidated_metadata is False


def test_writable_stores_do_not_pickle(session: FakeSession) -> None:
    """A store of a writable session says to fork; one of a fork or of a read-only session pickles."""
    store = IcechunkStore(session)
    for unpicklable in (store, store.with_read_only(True)):
        with pytest.raises(InvalidInputError, match="fork") as caught:
            pickle.dumps(unpicklable)
        assert caught.value.kind == ErrorKind.PICKLE
    session.is_fork = True
    copy = pickle.loads(pickle.dumps(store))
    assert copy == store
    assert not copy.read_only
    session.is_fork, session.read_only = False, True
    assert pickle.loads(pickle.dumps(IcechunkStore(session))).read_only


def test_control_decides(session: FakeSession) -> None:
    """Pickling and the need of containers are up to the control object, which goes with the copies."""
    store = IcechunkStore(session, control=AnyWhere())
    store.set_sync("zarr.json", buffer(GROUP))
    copy = pickle.loads(pickle.dumps(store))
    assert copy.read_only
    assert copy == store
    assert pickle.loads(pickle.dumps(copy.with_read_only(False))).read_only
    assert store.with_read_only(True)._control is store._control
    assert not store._control.must_have_container(True)
    assert SESSION_FACE.must_have_container(True)
    assert not SESSION_FACE.must_have_container(False)


def test_open_state_survives_pickling(session: FakeSession) -> None:
    """An open store comes back open."""
    session.read_only = True
    store = IcechunkStore(session)
    assert not pickle.loads(pickle.dumps(store))._is_open
    store._is_open = True
    assert pickle.loads(pickle.dumps(store))._is_open


def test_synchronous_protocol_follows_the_storage() -> None:
    """zarr takes its synchronous path only where the storage never suspends."""
    assert IcechunkStore(FakeSession())._supports_sync_io is True
    assert IcechunkStore(FakeSession(may_suspend=True))._supports_sync_io is False


def test_blocking_methods_on_a_suspending_storage() -> None:
    """Blocking methods work on a storage that suspends, too; they run on the background loop."""
    store = IcechunkStore(FakeSession(may_suspend=True))
    store.set_sync("zarr.json", buffer(GROUP))
    value = store.get_sync("zarr.json")
    assert value is not None
    assert value.to_bytes() == GROUP
    store.delete_sync("zarr.json")
    store.sync_clear()
    assert store.get_sync("zarr.json") is None
