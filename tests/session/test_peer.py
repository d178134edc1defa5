"""Sessions against Icechunk on the same directory, and side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import icechunk_core as ic
from tests.interop.implementations import load_peer
from tests.session.support import (
    create,
    delete_dir,
    make_array,
    paths,
    populate,
    put,
    reopen,
    tip,
    values,
)
from tests.session.workers import processes, write_to_fork

peer = load_peer()


def kind_of(attempt: Callable[..., Any], *args: Any) -> str | None:
    """The kind of error that a call ends with, if any."""
    try:
        attempt(*args)
    except (ic.IcechunkError, peer.IcechunkError) as error:
        return str(error.kind)
    return None


def move_all(repo: Any) -> None:
    session = repo.rearrange_session("main")
    session.move("/g/a", "/first")
    session.move("/g", "/x")
    session.move("/first", "/x/again")
    session.commit("moved")


@pytest.mark.parametrize("writer", [ic, peer], ids=["ours", "peer"])
def test_moves_are_read_by_the_other(root: Path, writer: Any) -> None:
    """Moves of one implementation have the same paths, ids, data, diff and amended log for the other."""
    reader = ic if writer is peer else peer
    repo = populate(create(writer, root))
    base = repo.lookup_branch("main")
    move_all(repo)
    theirs = reopen(reader, root)
    assert paths(tip(theirs)) == paths(tip(repo)) == ["/", "/b", "/x", "/x/again", "/x/h"]
    assert values(tip(theirs), "x/again")[:3] == [0, 1, 2]
    assert tip(theirs).get_node_id("/x/again") == tip(repo).get_node_id("/x/again")
    diffs = [r.diff(from_snapshot_id=base, to_branch="main") for r in (repo, theirs)]
    assert diffs[0].moved_nodes == diffs[1].moved_nodes
    assert diffs[0].moved_nodes == [("/g", "/x"), ("/g/a", "/x/again"), ("/g/h", "/x/h")]
    session = theirs.rearrange_session("main")
    session.move("/x", "/y")
    session.amend("moved further")
    for one in (repo, theirs, reopen(writer, root)):
        diff = one.diff(from_snapshot_id=base, to_branch="main")
        assert diff.moved_nodes == [("/g", "/y"), ("/g/a", "/y/again"), ("/g/h", "/y/h")]
    assert kind_of(lambda: theirs.writable_session("main").amend("x", allow_empty=True)) == kind_of(
        lambda: repo.writable_session("main").amend("x", allow_empty=True)
    )


PLACES = st.sampled_from(["/g", "/g/a", "/g/h", "/b", "/x", "/g/x", "/g/h/x", "/x/a", "/", "b", "/b/x"])


@settings(max_examples=15)
@given(st.lists(st.tuples(PLACES, PLACES), min_size=1, max_size=8))
def test_random_moves(moves: list[tuple[str, str]]) -> None:
    """The same moves succeed or fail alike in both, with the same net moves and hierarchy."""
    with TemporaryDirectory() as one, TemporaryDirectory() as two:
        roots = Path(one) / "repo", Path(two) / "repo"
        repos = [populate(create(impl, at)) for impl, at in zip((ic, peer), roots, strict=True)]
        ours, theirs = sessions = [repo.rearrange_session("main") for repo in repos]
        for move in moves:
            assert kind_of(lambda move=move: ours.move(*move)) == kind_of(
                lambda move=move: theirs.move(*move)
            )
        assert ours.has_uncommitted_changes == theirs.has_uncommitted_changes
        assert ours.status().moved_nodes == theirs.status().moved_nodes
        assert paths(ours) == paths(theirs)
        assert len({kind_of(session.commit, "moved") for session in sessions}) == 1
        assert paths(tip(reopen(peer, roots[0]))) == paths(tip(reopen(ic, roots[1])))


Step = tuple[str, Any]
STEPS = st.one_of(
    st.tuples(st.just("shift"), st.integers(-9, 9)),
    st.tuples(st.just("put"), st.integers(0, 7)),
    st.tuples(st.just("rotate"), st.integers(1, 7)),
    st.tuples(st.just("forward"), st.lists(st.none() | st.integers(0, 8), min_size=8, max_size=8)),
    st.tuples(st.just("both"), st.lists(st.none() | st.integers(0, 8), min_size=16, max_size=16)),
)


def apply(session: Any, step: Step) -> None:
    name, how = step
    if name == "put":
        put(session, "g/a", how, 100 + how)
    elif name == "shift":
        session.shift_array("/g/a", [how])
    elif name == "rotate":
        session.reindex_array("/g/a", lambda at: [(at[0] + how) % 8], lambda at: [(at[0] - how) % 8])
    else:

        def look(at: Any, start: int) -> list[int] | None:
            found = how[start + at[0]]
            return None if found is None else [found]

        inverse = (lambda at: look(at, 8)) if name == "both" else None
        session.reindex_array("/g/a", lambda at: look(at, 0), inverse)


def unambiguous(step: Step) -> bool:
    """Whether no two chunks are sent to one place, where the order of visits would count."""
    targets = [to for to in step[1][:8] if to is not None] if isinstance(step[1], list) else []
    return len(targets) == len(set(targets))


@settings(max_examples=20)
@given(st.sampled_from([1, 2]), st.lists(STEPS.filter(unambiguous), min_size=1, max_size=4))
def test_random_reindexing(spec_version: int, steps: list[Step]) -> None:
    """The same shifts and reindexes give the same chunks, touch the same, and fail alike."""
    with TemporaryDirectory() as one, TemporaryDirectory() as two:
        roots = Path(one) / "repo", Path(two) / "repo"
        repos = [populate(create(impl, at, spec_version)) for impl, at in zip((ic, peer), roots, strict=True)]
        for step in steps:
            # A session each: within one, the peer visits chunks that were deleted before, too.
            ours, theirs = sessions = [repo.writable_session("main") for repo in repos]
            kinds = [kind_of(apply, session, step) for session in sessions]
            assert kinds[0] == kinds[1]
            assert values(ours, "g/a") == values(theirs, "g/a")
            assert ours.status().updated_chunks == theirs.status().updated_chunks
            for session in sessions:
                session.commit("step", allow_empty=True)
        assert values(tip(reopen(peer, roots[0])), "g/a") == values(tip(reopen(ic, roots[1])), "g/a")


# --- forks


@pytest.mark.parametrize("writer", [ic, peer], ids=["ours", "peer"])
@pytest.mark.parametrize("version", [2, 1])
def test_forked_commits_are_read_by_the_other(root: Path, writer: Any, version: int) -> None:
    """What workers of one implementation wrote into one commit is there for the other."""
    repo = populate(create(writer, root, version))
    session = repo.writable_session("main")
    make_array(session.store, "pending")
    fork = session.fork()
    with processes(2) as pool:
        jobs = [pool.submit(write_to_fork, fork, "pending", at, at * 10) for at in range(3)]
        session.merge(*[job.result() for job in jobs])
    session.commit("by workers")
    other = reopen(ic if writer is peer else peer, root)
    assert values(tip(other), "pending")[:4] == [0, 10, 20, -1]
    assert [info.message for info in other.ancestry(branch="main")][:2] == ["by workers", "populated"]


MERGES: dict[str, tuple[Callable[[Any], object], Callable[[Any], object]]] = {
    "two arrays": (lambda s: make_array(s.store, "n"), lambda s: make_array(s.store, "m")),
    "one array twice": (lambda s: make_array(s.store, "n"), lambda s: make_array(s.store, "n")),
    "one group twice": (
        lambda s: zarr.create_group(s.store, path="new"),
        lambda s: zarr.create_group(s.store, path="new"),
    ),
    "chunks": (lambda s: put(s, "b", 1, 1), lambda s: put(s, "b", 2, 2)),
    "one chunk": (lambda s: put(s, "b", 1, 1), lambda s: put(s, "b", 1, 2)),
    "chunk and delete": (lambda s: put(s, "b", 1, 1), lambda s: delete_dir(s, "b")),
    "delete and chunk": (lambda s: delete_dir(s, "b"), lambda s: put(s, "b", 1, 1)),
    "both delete": (lambda s: delete_dir(s, "b"), lambda s: delete_dir(s, "b")),
    "same attributes": (
        lambda s: zarr.open_group(s.store, path="g", mode="r+").attrs.update(k=1),
        lambda s: zarr.open_group(s.store, path="g", mode="r+").attrs.update(k=1),
    ),
    "other attributes": (
        lambda s: zarr.open_group(s.store, path="g", mode="r+").attrs.update(k=1),
        lambda s: zarr.open_group(s.store, path="g", mode="r+").attrs.update(k=2),
    ),
    "attributes of a deleted group": (
        lambda s: zarr.open_group(s.store, path="g", mode="r+").attrs.update(k=1),
        lambda s: delete_dir(s, "g"),
    ),
    "replaced and deleted": (
        lambda s: make_array(s.store, "b", overwrite=True),
        lambda s: delete_dir(s, "b"),
    ),
    "shifts": (lambda s: s.shift_array("/g/a", [1]), lambda s: s.shift_array("/g/a", [2])),
}


@pytest.mark.parametrize("case", MERGES)
def test_merges_end_alike(tmp_path: Path, case: str) -> None:
    """Merging two forks is accepted or refused as by the peer, with the same result."""
    ended = []
    for name, impl in (("ours", ic), ("peer", peer)):
        repo = populate(create(impl, tmp_path / name))
        session = repo.writable_session("main")
        forks = [session.fork(), session.fork()]
        kinds = []
        for fork, change in zip(forks, MERGES[case], strict=True):
            change(fork)
        kinds += [kind_of(session.merge, fork) for fork in forks]
        status = session.status()
        session.commit("merged")
        nodes = paths(tip(repo))
        data = {path: values(tip(repo), path) for path in ("/b", "/g/a", "/n", "/m") if path in nodes}
        ended.append((kinds, nodes, data, dict(status.updated_chunks)))
    assert ended[0] == ended[1]


# --- reading


def test_chunk_listings_agree(root: Path) -> None:
    """Types, coordinates, columns and virtual locations of one repository are the same in both."""
    config = ic.RepositoryConfig(inline_chunk_threshold_bytes=4)
    session = create(ic, root, 2, config=config).writable_session("main")
    make_array(session.store, "inline", values=[1, 2])
    array = zarr.create_array(
        session.store, name="m", shape=(8, 8), chunks=(2, 4), dtype="i4", fill_value=0, compressors=None
    )
    array[2:6, :] = 1
    for at, key in enumerate(("m/c/0/1", "m/c/3/0")):
        session.store.set_virtual_ref(
            key, f"s3://bucket/{at}", offset=at, length=32, validate_container=False
        )
    session.commit("all kinds")

    async def listed(one: Any) -> list[Any]:
        found: list[Any] = []
        for path in ("/m", "/inline"):
            found.append([at async for at in one.chunk_coordinates(path)])
            async for coords, kinds, places, offsets, lengths, inlined in one.store.array_chunk_iterator(
                path, 3
            ):
                columns = [column.tolist() for column in (coords, kinds, offsets, lengths)]
                found.append([*columns, places, inlined])
        return found

    ours, theirs = tip(reopen(ic, root)), tip(reopen(peer, root))
    assert asyncio.run(listed(ours)) == asyncio.run(listed(theirs))
    assert ours.all_virtual_chunk_locations() == theirs.all_virtual_chunk_locations()
    for row in range(5):
        for column in range(2):
            kinds = [s.chunk_type("/m", [row, column]) for s in (ours, theirs)]
            assert str(kinds[0]) == str(kinds[1])
            assert int(kinds[0]) == int(kinds[1])


def test_flushed_snapshots_are_read_by_the_other(root: Path) -> None:
    """A snapshot aside from all branches is found by its id."""
    repo = populate(create(ic, root))
    session = repo.writable_session("main")
    put(session, "b", 1, 11)
    flushed = session.flush("aside", metadata={"a": 1})
    theirs = reopen(peer, root)
    assert values(theirs.readonly_session(snapshot_id=flushed), "b")[:2] == [7, 11]
    assert theirs.lookup_snapshot(flushed).metadata == {"a": 1}


def refusals(impl: Any, repo: Any) -> list[str | None]:
    """Kinds of the errors of what sessions in several states may not do."""
    writable, done = repo.writable_session("main"), repo.writable_session("main")
    done.commit("empty", allow_empty=True)
    fork, solver = writable.fork(), impl.ConflictDetector()
    return [
        kind_of(writable.commit, "no changes"),
        kind_of(writable.amend, "no changes"),
        kind_of(writable.move, "/g", "/x"),
        kind_of(writable.chunk_type, "b", [0]),
        kind_of(writable.chunk_type, "/g", [0]),
        kind_of(writable.get_node_id, "/nope"),
        kind_of(done.commit, "again"),
        kind_of(lambda: done.amend("again", allow_empty=True)),
        kind_of(done.rebase, solver),
        kind_of(done.fork),
        kind_of(done.merge, fork),
        kind_of(done.discard_changes),
        kind_of(done.move, "/g", "/x"),
        kind_of(done.shift_array, "/b", [1]),
        kind_of(done.flush, "allowed"),
        kind_of(lambda: fork.commit("fork", allow_empty=True)),
        kind_of(lambda: fork.amend("fork", allow_empty=True)),
        kind_of(fork.flush, "fork"),
        kind_of(fork.rebase, solver),
        kind_of(fork.move, "/g", "/x"),
        kind_of(repo.rearrange_session, "main"),
        kind_of(repo.rearrange_session, "nope"),
    ]


@pytest.mark.parametrize("version", [2, 1])
def test_refusals_have_the_peers_kinds(tmp_path: Path, version: int) -> None:
    """What a session may not do in its state fails with the same kind as in the peer."""
    ours = refusals(ic, populate(create(ic, tmp_path / "ours", version)))
    assert ours == refusals(peer, populate(create(peer, tmp_path / "peer", version)))
