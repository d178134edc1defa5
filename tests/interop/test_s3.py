"""Each implementation opens, reads and continues the other's repository in a bucket."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import zarr

from tests.interop.implementations import OURS, everything
from tests.servers.s3 import S3Server


@pytest.fixture
def server(request: pytest.FixtureRequest) -> S3Server:
    """The server that a test asks for."""
    running: S3Server = request.getfixturevalue(request.param)
    return running


def _storage(ic: Any, server: S3Server, bucket: str, prefix: str) -> Any:
    return ic.s3_storage(bucket=bucket, prefix=prefix, **server.options())


@pytest.mark.parametrize(
    ("server", "spec"),
    [("ministack", 2), ("ministack", 1), ("seaweedfs", 2)],
    indirect=["server"],
)
def test_s3(pair: tuple[Any, Any], server: S3Server, spec: int) -> None:
    """One creates a repository with inline, small and large chunks, the other adds a commit, a branch and
    a tag, the first goes on; both see the same all the time."""
    _write_in_turns(pair, server, spec, "repo")


def test_root_of_a_bucket(peer: Any, ministack: S3Server) -> None:
    """The same without a prefix, where only we create repositories."""
    _write_in_turns((OURS, peer), ministack, 2, "")


def _write_in_turns(pair: tuple[Any, Any], server: S3Server, spec: int, prefix: str) -> None:
    first, second = pair
    bucket = server.new_bucket()

    def agree() -> dict[str, Any]:
        seen = [everything(ic.Repository.open(_storage(ic, server, bucket, prefix))) for ic in pair]
        assert seen[0] == seen[1]
        return seen[0]

    repo = first.Repository.create(
        _storage(first, server, bucket, prefix), spec_version=getattr(first.SpecVersion, f"v{spec}")
    )
    session = repo.writable_session("main")
    group = zarr.create_group(session.store, attributes={"title": "Übersicht"})
    group.create_array("small", shape=(40,), chunks=(10,), dtype="i4")[:] = np.arange(40)
    large = np.random.default_rng(1).integers(0, 255, 3 << 20, dtype="u1")
    group.create_array("large", data=large, chunks=(1 << 20,), compressors=None)
    session.commit("first")

    other = second.Repository.open(_storage(second, server, bucket, prefix))
    session = other.writable_session("main")
    group = zarr.open_group(session.store, mode="r+")
    assert np.array_equal(np.asarray(group["large"][:]), large)  # type: ignore[index]
    group["small"][5:15] = 7  # type: ignore[index]
    snapshot = session.commit("second")
    other.create_tag("v1", snapshot_id=snapshot)
    other.create_branch("side", snapshot_id=snapshot)
    agree()

    session = repo.writable_session("side")
    del zarr.open_group(session.store, mode="r+")["large"]
    session.commit("third")
    seen = agree()
    assert set(seen["branches"]) == {"main", "side"}
    assert len(seen["histories"][seen["branches"]["side"]]) == 4


def test_conflicts(ministack: S3Server, peer: Any) -> None:
    """A commit of one is a conflict for a session of the other that began before."""
    bucket = ministack.new_bucket()
    first = OURS.Repository.create(ministack.storage(bucket, "repo")).writable_session("main")
    zarr.create_group(first.store)
    first.commit("root")
    ours = OURS.Repository.open(ministack.storage(bucket, "repo")).writable_session("main")
    theirs = peer.Repository.open(ministack.peer_storage(bucket, "repo")).writable_session("main")
    late = OURS.Repository.open(ministack.storage(bucket, "repo")).writable_session("main")
    for session, name in ((ours, "a"), (theirs, "b"), (late, "c")):
        zarr.create_group(session.store, path=name)
    ours.commit("ours")
    with pytest.raises(peer.ConflictError):
        theirs.commit("theirs")
    theirs.commit("theirs", rebase_with=peer.ConflictDetector())
    with pytest.raises(OURS.ConflictError):
        late.commit("late")
