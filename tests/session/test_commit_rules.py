"""When sessions commit, amend and flush, and what becomes of messages and metadata."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import icechunk_core as ic
from icechunk_core import ErrorKind as Kind
from tests.session.support import put, tip, values


def latest(repo: ic.Repository) -> ic.SnapshotInfo:
    return next(iter(repo.ancestry(branch="main")))


def test_flush_needs_no_changes(repo: ic.Repository) -> None:
    """Flushing writes a snapshot even of an unchanged or read-only session, and makes it read-only."""
    base = repo.lookup_branch("main")
    session = repo.writable_session("main")
    first = session.flush("nothing", metadata={"a": 1})
    assert (session.read_only, session.branch, session.snapshot_id) == (True, None, first)
    second = session.flush("again")
    assert len({base, first, second}) == 3
    assert repo.lookup_branch("main") == base
    assert values(session, "b")[0] == 7
    if repo.spec_version == ic.SpecVersion.v2:
        info = repo.lookup_snapshot(first)
        assert (info.message, info.metadata, info.parent_id) == ("nothing", {"a": 1}, base)
        assert repo.lookup_snapshot(second).parent_id == first


def test_read_only_sessions_do_not_commit(repo: ic.Repository) -> None:
    """After a commit, and where opened so, a session refuses to commit, rebase and discard."""
    session = repo.writable_session("main")
    session.commit("empty", allow_empty=True)
    for one in (session, tip(repo)):
        with pytest.raises(ic.SessionStateError) as caught:
            one.commit("no")
        assert caught.value.kind == Kind.COMMIT_NOT_ALLOWED
        with pytest.raises(ic.SessionStateError) as caught:
            one.rebase(ic.ConflictDetector())
        assert caught.value.kind == Kind.COMMIT_NOT_ALLOWED
        with pytest.raises(ic.ReadOnlyError):
            one.discard_changes()


def test_amend(repo: ic.Repository) -> None:
    """Amending without changes needs to be asked for; spec 1 cannot amend at all."""
    if repo.spec_version == ic.SpecVersion.v1:
        for session in (repo.writable_session("main"), tip(repo)):
            with pytest.raises(ic.FormatError) as refused:
                session.amend("no", allow_empty=True)
            assert refused.value.kind == Kind.UNSUPPORTED_SPEC_VERSION
        return
    with pytest.raises(ic.SessionStateError) as caught:
        repo.writable_session("main").amend("no")
    assert caught.value.kind == Kind.NO_CHANGES_TO_COMMIT
    repo.writable_session("main").amend("better words", metadata={"a": 1}, allow_empty=True)
    assert (latest(repo).message, latest(repo).metadata) == ("better words", {"a": 1})
    assert len(list(repo.ancestry(branch="main"))) == 2


def test_first_commit_is_not_amended(repo2: ic.Repository) -> None:
    """The snapshot that every repository starts with stays."""
    repo2.create_branch("start", list(repo2.ancestry(branch="main"))[-1].id)
    with pytest.raises(ic.SessionStateError) as caught:
        repo2.writable_session("start").amend("no", allow_empty=True)
    assert caught.value.kind == Kind.NO_AMEND_FOR_INITIAL_COMMIT


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({}, {}),
        ({"a": [1, 2.5, None, True, {"b": "é"}]}, {"a": [1, 2.5, None, True, {"b": "é"}]}),
        ({"a": (1, np.int64(2))}, {"a": [1, 2]}),
        ({"a": float("nan"), "b": float("-inf")}, {"a": None, "b": None}),
        ({"a": 2**64 - 1, "b": -(2**63), "c": 2**64}, {"a": 2**64 - 1, "b": -(2**63), "c": 2.0**64}),
        ({"__icechunk": {"x": 1}}, {"__icechunk": {"x": 1}}),
    ],
)
def test_metadata(repo: ic.Repository, given: dict[str, Any], stored: dict[str, Any]) -> None:
    """Metadata comes back as the JSON values that were given, also to who opens the repository anew."""
    repo.writable_session("main").commit("", given, allow_empty=True)
    assert (latest(repo).message, latest(repo).metadata) == ("", stored)
    assert latest(ic.Repository.open(repo.storage)).metadata == stored


@pytest.mark.parametrize("given", [{1: 2}, [1], {"a": {1, 2}}, {"a": object()}, {"a": {2: 3}}])
def test_metadata_that_is_not_json(repo: ic.Repository, given: Any) -> None:
    """Anything else is refused before something is written."""
    session = repo.writable_session("main")
    with pytest.raises(TypeError):
        session.commit("no", given, allow_empty=True)
    with pytest.raises(TypeError):
        session.flush("no", metadata=given)
    assert not session.read_only


@pytest.mark.parametrize("own", [{"x": 1}, 3])
def test_reserved_metadata_key(repo: ic.Repository, own: Any) -> None:
    """What the library records is merged into a dictionary under its key, and replaces anything else."""
    session = repo.writable_session("main")
    put(session, "b", 1, 1)
    session.commit("tries", {"__icechunk": own}, rebase_with=ic.ConflictDetector())
    kept = own if isinstance(own, dict) else {}
    assert latest(repo).metadata == {"__icechunk": {**kept, "rebase_attempts": 0}}


def test_default_metadata(repo: ic.Repository) -> None:
    """The repository's defaults are added to what a commit or flush says, which wins."""
    repo.set_default_commit_metadata({"who": "me", "a": 1})
    repo.writable_session("main").commit("x", {"a": 2}, allow_empty=True)
    assert latest(repo).metadata == {"who": "me", "a": 2}


def test_branch_that_is_gone(repo: ic.Repository) -> None:
    """On a deleted branch rebasing does nothing, committing fails, and flushing saves the work."""
    repo.create_branch("dev", repo.lookup_branch("main"))
    session = repo.writable_session("dev")
    put(session, "b", 1, 1)
    repo.delete_branch("dev")
    session.rebase(ic.ConflictDetector())
    with pytest.raises(ic.IcechunkError):
        session.commit("no")
    assert session.has_uncommitted_changes
    session.flush("saved")
    assert values(session, "b")[1] == 1


def test_no_tries_left(repo: ic.Repository) -> None:
    """With no tries allowed a conflict is reported although a solver was given."""
    session, other = repo.writable_session("main"), repo.writable_session("main")
    put(session, "b", 1, 1)
    put(other, "b", 2, 2)
    other.commit("first")
    with pytest.raises(ic.ConflictError):
        session.commit("no", rebase_with=ic.ConflictDetector(), rebase_tries=0)
    session.commit("yes", rebase_with=ic.ConflictDetector(), rebase_tries=1)
    assert latest(repo).metadata == {"__icechunk": {"rebase_attempts": 1}}


def test_shown(repo: ic.Repository) -> None:
    """Sessions describe themselves as text and as HTML; a name in it cannot break the page."""
    session = repo.writable_session("main")
    assert repr(session).splitlines()[1:] == [
        "read_only: False",
        f"snapshot_id: {session.snapshot_id}",
        "branch: main",
        "has_uncommitted_changes: False",
    ]
    assert repr(session.fork()).startswith("<icechunk_core.ForkSession>\nread_only: False")
    assert "branch" not in repr(tip(repo))
    session._state.branch = "<b>"
    assert "&lt;b&gt;" in session._repr_html_()
