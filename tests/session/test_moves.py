"""Moving and renaming nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import zarr

import icechunk_core as ic
from icechunk_core import ErrorKind as Kind
from icechunk_core.transaction.change_set import DeletedNode
from tests.session.support import FILL, make_array, paths, put, tip, values


def kind_of(error: pytest.ExceptionInfo[ic.IcechunkError]) -> str:
    return error.value.kind


def test_move_takes_everything_along(repo2: ic.Repository) -> None:
    """A moved group keeps its nodes' ids, metadata and chunks, before and after the commit."""
    before = {path: tip(repo2).get_node_id(path) for path in ("/g", "/g/a", "/g/h")}
    session = repo2.rearrange_session("main")
    session.move("/g", "/moved")
    for committed in (False, True):
        if committed:
            session.commit("renamed")
        seen = tip(repo2) if committed else session
        assert paths(seen) == ["/", "/b", "/moved", "/moved/a", "/moved/h"]
        assert {path: seen.get_node_id(path.replace("/g", "/moved", 1)) for path in before} == before
        assert values(seen, "moved/a") == [0, 1, 2] + [FILL] * 5
    assert session.read_only


def test_status_and_diff_show_net_moves_of_every_node(repo2: ic.Repository) -> None:
    """Moves in several steps are one move from the first path to the last, descendants included."""
    base = repo2.lookup_branch("main")
    session = repo2.rearrange_session("main")
    session.move("/g/a", "/other")
    session.move("/g", "/x")
    session.move("/other", "/x/a")
    session.move("/x", "/y")
    wanted = [("/g", "/y"), ("/g/a", "/y/a"), ("/g/h", "/y/h")]
    assert session.status().moved_nodes == wanted
    session.commit("renamed")
    diff = repo2.diff(from_snapshot_id=base, to_branch="main")
    assert diff.moved_nodes == wanted
    assert diff == ic.Diff(moved_nodes=wanted)


def test_nodes_swap_places(repo2: ic.Repository) -> None:
    """Paths that became free can be taken by others."""
    session = repo2.rearrange_session("main")
    session.move("/b", "/tmp")
    session.move("/g", "/b")
    session.move("/tmp", "/g")
    session.commit("swapped")
    assert paths(tip(repo2)) == ["/", "/b", "/b/a", "/b/h", "/g"]
    assert values(tip(repo2), "g")[:2] == [7, FILL]
    assert values(tip(repo2), "b/a")[:3] == [0, 1, 2]


def test_there_and_back(repo2: ic.Repository) -> None:
    """A node that ends where it began is no move, in the session and in the commit."""
    session = repo2.rearrange_session("main")
    session.move("/g", "/x")
    session.move("/x", "/g")
    assert session.status().is_empty()
    base = session.snapshot_id
    session.commit("nothing moved")
    assert repo2.diff(from_snapshot_id=base, to_branch="main").is_empty()
    assert values(tip(repo2), "g/a")[:3] == [0, 1, 2]


@pytest.mark.parametrize(
    ("source", "target", "error", "kind"),
    [
        ("/nope", "/x", ic.NodeNotFoundError, Kind.NODE_NOT_FOUND),
        ("/nope", "/b", ic.NodeNotFoundError, Kind.NODE_NOT_FOUND),
        ("/g", "/g", ic.SessionStateError, Kind.MOVE_INTO_SELF_OR_DESCENDANT),
        ("/g", "/g/h/x", ic.SessionStateError, Kind.MOVE_INTO_SELF_OR_DESCENDANT),
        ("/", "/x", ic.SessionStateError, Kind.MOVE_INTO_SELF_OR_DESCENDANT),
        ("/g", "/b", ic.AlreadyExistsError, Kind.MOVE_WONT_OVERWRITE),
        ("/g", "/", ic.AlreadyExistsError, Kind.MOVE_WONT_OVERWRITE),
        ("/g", "/q/x", ic.SessionStateError, Kind.MOVE_DESTINATION_PARENT_MISSING),
        ("/g", "/b/x", ic.SessionStateError, Kind.MOVE_DESTINATION_PARENT_NOT_GROUP),
        ("g", "/x", ic.InvalidInputError, Kind.INVALID_PATH),
        ("/g", "/../x", ic.InvalidInputError, Kind.INVALID_PATH),
        ("/g", "", ic.InvalidInputError, Kind.INVALID_PATH),
    ],
)
def test_refused_moves_change_nothing(
    repo2: ic.Repository, source: str, target: str, error: type[ic.IcechunkError], kind: str
) -> None:
    """Each reason to refuse a move has its kind, and the session has no changes afterwards."""
    session = repo2.rearrange_session("main")
    with pytest.raises(error) as caught:
        session.move(source, target)
    assert kind_of(caught) == kind
    assert not session.has_uncommitted_changes


def test_a_move_overwrites_nothing_below_its_target(repo2: ic.Repository) -> None:
    """Where a group is missing above existing nodes, moving another there refuses to hide them."""
    session = repo2.writable_session("main")
    make_array(session.store, "lone/a")  # zarr makes the groups above it
    session.commit("lone")
    session = repo2.writable_session("main")
    session._state.changes._place("/lone", None)  # as written by tools that make no groups
    node = session._state.base.nodes.get("/lone")
    assert node is not None
    session._state.changes.deleted[node.id] = DeletedNode(node.id, "/lone", False)
    session.commit("no group above")
    moving = repo2.rearrange_session("main")
    with pytest.raises(ic.AlreadyExistsError) as caught:
        moving.move("/g", "/lone")
    assert kind_of(caught) == Kind.MOVE_WONT_OVERWRITE
    moving.move("/lone/a", "/lone")
    assert paths(moving) == ["/", "/b", "/g", "/g/a", "/g/h", "/lone"]


def test_only_rearrange_sessions_move(repo2: ic.Repository) -> None:
    """Writable, read-only and forked sessions refuse to move; a rearrange session refuses all else."""
    writable = repo2.writable_session("main")
    for session, kind in [
        (writable, Kind.NON_REARRANGE_SESSION),
        (writable.fork(), Kind.NON_REARRANGE_SESSION),
        (tip(repo2), Kind.READ_ONLY_SESSION),
    ]:
        with pytest.raises(ic.IcechunkError) as caught:
            session.move("/g", "/x")
        assert kind_of(caught) == kind
    moving = repo2.rearrange_session("main")
    assert moving.mode is ic.SessionMode.rearrange
    attempts: list[Callable[[], Any]] = [
        lambda: zarr.create_group(moving.store, path="new"),
        lambda: put(moving, "b", 0, 1),
        lambda: moving.shift_array("/b", [1]),
        moving.store.sync_clear,
        lambda: moving.merge(writable.fork()),
        lambda: writable.merge(moving),
    ]
    for attempt in attempts:
        with pytest.raises(ic.SessionStateError) as refused:
            attempt()
        assert refused.value.kind == Kind.REARRANGE_SESSION_ONLY
    assert not moving.has_uncommitted_changes


def test_spec_1_cannot_move(repo: ic.Repository, spec_version: int) -> None:
    """The older format has no place for moves: opening a session for them says so."""
    if spec_version == 2:
        assert not repo.rearrange_session("main").read_only
        return
    with pytest.raises(ic.FormatError) as caught:
        repo.rearrange_session("main")
    assert kind_of(caught) == Kind.UNSUPPORTED_SPEC_VERSION
    with pytest.raises(ic.FormatError):
        repo.writable_session("main").move("/g", "/x")


def test_feature_flag(repo2: ic.Repository) -> None:
    """With the flag off no rearrange session is opened, committed or flushed; moving itself is local."""
    session = repo2.rearrange_session("main")
    repo2.set_feature_flag("move_node", False)
    session.move("/g", "/x")
    for attempt in (
        lambda: session.commit("no"),
        lambda: session.amend("no"),
        lambda: session.flush("no"),
        lambda: repo2.rearrange_session("main"),
    ):
        with pytest.raises(ic.SessionStateError) as caught:
            attempt()
        assert kind_of(caught) == Kind.FEATURE_FLAG_DISABLED
    repo2.set_feature_flag("move_node", None)
    session.commit("yes")
    assert "/x/a" in paths(tip(repo2))


def test_discard(repo2: ic.Repository) -> None:
    """Discarded moves leave the base's paths."""
    session = repo2.rearrange_session("main")
    session.move("/g", "/x")
    session.discard_changes()
    assert not session.has_uncommitted_changes
    assert "/g/a" in paths(session)


async def test_async_twin(repo2: ic.Repository) -> None:
    """`move_async` does the same."""
    session = await repo2.rearrange_session_async("main")
    await session.move_async("/g//a/", "/a")
    await session.commit_async("moved")
    assert (await repo2.readonly_session_async("main")).get_node_id("/a")


# --- against commits of others


def test_moves_stop_every_rebase(repo2: ic.Repository) -> None:
    """A session cannot be rebased over a commit that moved nodes, whatever it did itself."""
    session = repo2.writable_session("main")
    put(session, "b", 3, 3)
    moving = repo2.rearrange_session("main")
    moving.move("/g", "/x")
    moving.commit("moved")
    with pytest.raises(ic.RebaseFailedError) as caught:
        session.commit("late", rebase_with=ic.BasicConflictSolver())
    assert [c.conflict_type for c in caught.value.conflicts] == [ic.ConflictType.MoveOperationCannotBeRebased]
    assert session.has_uncommitted_changes


def test_moves_pass_changes_of_content(repo2: ic.Repository) -> None:
    """A session that moves nodes is rebased over new chunks and over nodes made elsewhere, and loses none."""
    moving = repo2.rearrange_session("main")
    moving.move("/g", "/x")
    other = repo2.writable_session("main")
    put(other, "g/a", 5, 55)
    zarr.create_group(other.store, path="elsewhere")
    other.commit("content")
    moving.commit("moved", rebase_with=ic.ConflictDetector())
    assert paths(tip(repo2)) == ["/", "/b", "/elsewhere", "/x", "/x/a", "/x/h"]
    assert values(tip(repo2), "x/a") == [0, 1, 2, FILL, FILL, 55, FILL, FILL]


@pytest.mark.parametrize(
    "other",
    [
        lambda store: zarr.create_group(store, path="g/new"),
        lambda store: zarr.create_group(store, path="x"),
        lambda store: zarr.create_group(store, path="g/a", overwrite=True),
    ],
    ids=["made below the old path", "made at the new path", "replaced a moved node"],
)
def test_moves_do_not_pass_what_they_would_break(
    repo2: ic.Repository, other: Callable[[Any], object]
) -> None:
    """A node that would be left behind, overwritten or is gone stops the rebase; nothing is committed."""
    moving = repo2.rearrange_session("main")
    moving.move("/g", "/x")
    session = repo2.writable_session("main")
    other(session.store)
    committed = session.commit("in the way")
    with pytest.raises(ic.RebaseFailedError):
        moving.commit("moved", rebase_with=ic.BasicConflictSolver())
    assert repo2.lookup_branch("main") == committed


# --- amend


def test_amending_moves(repo2: ic.Repository) -> None:
    """A commit that moved nodes is amended by rearrange sessions only; the moves are composed."""
    base = repo2.lookup_branch("main")
    first = repo2.rearrange_session("main")
    first.move("/g", "/x")
    first.commit("moved")
    session = repo2.writable_session("main")
    put(session, "b", 3, 3)
    with pytest.raises(ic.SessionStateError) as caught:
        session.amend("no")
    assert kind_of(caught) == Kind.REARRANGE_SESSION_ONLY
    second = repo2.rearrange_session("main")
    second.move("/x", "/y")
    second.amend("moved further")
    diff = repo2.diff(from_snapshot_id=base, to_branch="main")
    assert diff.moved_nodes == [("/g", "/y"), ("/g/a", "/y/a"), ("/g/h", "/y/h")]
    assert [info.message for info in repo2.ancestry(branch="main")][:2] == ["moved further", "populated"]


def test_amending_content_with_moves(repo2: ic.Repository) -> None:
    """A rearrange session may amend any commit."""
    session = repo2.rearrange_session("main")
    session.move("/b", "/g/b")
    session.amend("populated, then moved")
    assert values(tip(repo2), "g/b")[0] == 7


def test_flushed_moves(repo2: ic.Repository) -> None:
    """A flushed rearrange session is a snapshot of its own; the branch keeps its paths."""
    session = repo2.rearrange_session("main")
    session.move("/g", "/x")
    flushed = session.flush("aside")
    assert "/x/a" in paths(repo2.readonly_session(snapshot_id=flushed))
    assert "/g/a" in paths(tip(repo2))
