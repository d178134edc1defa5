"""On Azurite, each implementation creates, opens, reads and continues the other's repository.

Both constructors take the same arguments: the peer reaches an emulator through the options
``azure_storage_endpoint`` and ``allow_http`` of its client, which ours understands too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import zarr

from tests.interop.implementations import OURS, everything, load_peer
from tests.servers.azure import AzureServer


@pytest.fixture(params=["ours first", "the peer first"])
def pair(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """Both implementations, in either order."""
    both = (OURS, load_peer())
    return both if request.param == "ours first" else both[::-1]


@pytest.fixture
def place(azurite: AzureServer) -> dict[str, Any]:
    """Arguments of `azure_storage`, for both."""
    return {
        "account": azurite.account,
        "container": azurite.new_bucket(),
        "prefix": "some/repo",
        "access_key": azurite.account_key,
        "config": {"azure_storage_endpoint": azurite.endpoint, "allow_http": "true"},
    }


def _open(ic: Any, place: dict[str, Any]) -> Any:
    return ic.Repository.open(ic.azure_storage(**place))


@pytest.mark.parametrize("spec_version", [1, 2])
def test_each_continues_the_others_repository(
    pair: tuple[Any, Any], place: dict[str, Any], spec_version: int
) -> None:
    """Arrays, attributes, branches and tags: what one wrote the other reads and goes on with, in turns."""
    first, second = pair
    repo = first.Repository.create(
        first.azure_storage(**place), spec_version=getattr(first.SpecVersion, f"v{spec_version}")
    )
    session = repo.writable_session("main")
    values = np.random.default_rng(1).random((40, 60))
    array = zarr.create_array(session.store, name="x", shape=(40, 60), chunks=(10, 60), dtype="f8")
    array[:] = values
    tagged = session.commit("first")
    repo.create_tag("v1", tagged)

    other = _open(second, place)
    session = other.writable_session("main")
    array = zarr.open_array(session.store, path="x")
    np.testing.assert_array_equal(array[:], values)
    array[5:25] = 1.5
    array.attrs["unit"] = "°C"
    snapshot = session.commit("second")
    other.create_branch("side", snapshot)

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
    OURS.Repository.create(OURS.azure_storage(**place))
    for turn, ic in enumerate([OURS, peer] * 3):
        session = _open(ic, place).writable_session("main")
        zarr.create_group(session.store, path=f"group-{turn}")
        session.commit(f"turn {turn}")
    for ic in (OURS, peer):
        messages = [info.message for info in _open(ic, place).ancestry(branch="main")]
        assert messages[:6] == [f"turn {turn}" for turn in reversed(range(6))]
