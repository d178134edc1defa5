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
from tests.interop.implementations import OURS, load_peer
from tests.interop.turns import commit_in_turns, write_in_turns
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
    write_in_turns(pair, spec_version, lambda ic: ic.gcs_storage(**place))


def test_both_commit_in_turns(place: dict[str, Any]) -> None:
    """Commits of both, each on top of the other's, are all in the history that either sees."""
    commit_in_turns(lambda ic: ic.gcs_storage(**place))
