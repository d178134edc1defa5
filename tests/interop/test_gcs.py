"""On fake-gcs-server, each implementation creates, opens, reads and continues the other's repository.

Both constructors take the same arguments: Icechunk reaches an emulator through a service account
that names its address, which ours understands too. Icechunk uploads by the XML protocol, which
fake-gcs-server does not have: `tests.interop.gcs_adapter` stands in front of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import zarr

from tests.interop.gcs_adapter import xml_adapter
from tests.interop.implementations import OURS, everything, load_peer
from tests.servers.gcs import GcsServer


@pytest.fixture(params=["ours first", "the peer first"])
def pair(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """Both implementations, in either order."""
    both = (OURS, load_peer())
    return both if request.param == "ours first" else both[::-1]


def _place(bucket: str, endpoint: str) -> dict[str, Any]:
    """Arguments of `gcs_storage`, for both."""
    account = {"gcs_base_url": endpoint, "disable_oauth": True, "client_email": "", "private_key": ""}
    return {
        "bucket": bucket,
        "prefix": "some/repo",
        "service_account_key": json.dumps({**account, "private_key_id": ""}),
        "config": {"allow_http": "true"},
    }


@pytest.fixture
def place(fake_gcs: GcsServer) -> Iterator[dict[str, Any]]:
    """A new bucket behind the adapter."""
    with xml_adapter(fake_gcs.endpoint) as endpoint:
        yield _place(fake_gcs.new_bucket(), endpoint)


def _open(ic: Any, place: dict[str, Any]) -> Any:
    return ic.Repository.open(ic.gcs_storage(**place))


def test_the_peer_reads_what_we_wrote(fake_gcs: GcsServer) -> None:
    """Straight from the server, with nothing in between."""
    peer, place = load_peer(), _place(fake_gcs.new_bucket(), fake_gcs.endpoint)
    session = OURS.Repository.create(OURS.gcs_storage(**place)).writable_session("main")
    values = np.random.default_rng(1).random((40, 60))
    zarr.create_array(session.store, name="x", data=values, chunks=(10, 60))
    session.commit("first")
    store = _open(peer, place).readonly_session("main").store
    np.testing.assert_array_equal(zarr.open_array(store, path="x", mode="r")[:], values)


@pytest.mark.parametrize("spec_version", [1, 2])
def test_each_continues_the_others_repository(
    pair: tuple[Any, Any], place: dict[str, Any], spec_version: int
) -> None:
    """Arrays, attributes, branches and tags: what one wrote the other reads and goes on with, in turns."""
    first, second = pair
    repo = first.Repository.create(
        first.gcs_storage(**place), spec_version=getattr(first.SpecVersion, f"v{spec_version}")
    )
    session = repo.writable_session("main")
    values = np.random.default_rng(1).random((40, 60))
    array = zarr.create_array(session.store, name="x", shape=(40, 60), chunks=(10, 60), dtype="f8")
    array[:] = values
    repo.create_tag("v1", session.commit("first"))

    other = _open(second, place)
    session = other.writable_session("main")
    array = zarr.open_array(session.store, path="x")
    np.testing.assert_array_equal(array[:], values)
    array[5:25] = 1.5
    array.attrs["unit"] = "°C"
    other.create_branch("side", session.commit("second"))

    session = _open(first, place).writable_session("side")
    zarr.open_array(session.store, path="x")[30:] = -1
    session.commit("third")

    seen = [everything(_open(ic, place)) for ic in pair]
    assert seen[0] == seen[1]
    side = zarr.open_array(_open(second, place).readonly_session("side").store, path="x", mode="r")
    assert side.attrs["unit"] == "°C"
    assert float(side[39, 59]) == -1  # type: ignore[arg-type]


def test_both_commit_in_turns(place: dict[str, Any]) -> None:
    """Commits of both, each on top of the other's, are all in the history that either sees."""
    peer = load_peer()
    OURS.Repository.create(OURS.gcs_storage(**place))
    for turn, ic in enumerate([OURS, peer] * 3):
        session = _open(ic, place).writable_session("main")
        zarr.create_group(session.store, path=f"group-{turn}")
        session.commit(f"turn {turn}")
    for ic in (OURS, peer):
        messages = [info.message for info in _open(ic, place).ancestry(branch="main")]
        assert messages[:6] == [f"turn {turn}" for turn in reversed(range(6))]
