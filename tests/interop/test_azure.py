"""On Azurite, each implementation creates, opens, reads and continues the other's repository.

Both constructors take the same arguments: the peer reaches an emulator through the options
``azure_storage_endpoint`` and ``allow_http`` of its client, which ours understands too.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.interop.implementations import OURS, load_peer
from tests.interop.turns import commit_in_turns, write_in_turns
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


@pytest.mark.parametrize("spec_version", [1, 2])
def test_each_continues_the_others_repository(
    pair: tuple[Any, Any], place: dict[str, Any], spec_version: int
) -> None:
    """Arrays, attributes, branches and tags: what one wrote the other reads and goes on with, in turns."""
    write_in_turns(pair, spec_version, lambda ic: ic.azure_storage(**place))


def test_both_commit_in_turns(place: dict[str, Any]) -> None:
    """Commits of both, each on top of the other's, are all in the history that either sees."""
    commit_in_turns(lambda ic: ic.azure_storage(**place))
