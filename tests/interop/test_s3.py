"""Each implementation opens, reads and continues the other's repository in a bucket."""

from __future__ import annotations

from typing import Any

import pytest
import zarr

from tests.interop.implementations import OURS
from tests.interop.turns import write_in_turns
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
    bucket = server.new_bucket()
    write_in_turns(pair, spec, lambda ic: _storage(ic, server, bucket, "repo"))


def test_root_of_a_bucket(peer: Any, ministack: S3Server) -> None:
    """The same without a prefix, where only we create repositories."""
    bucket = ministack.new_bucket()
    write_in_turns((OURS, peer), 2, lambda ic: _storage(ic, ministack, bucket, ""))


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
