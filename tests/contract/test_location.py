"""Where a storage is, as messages tell it: the URL or path that its user gave, and never a secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import icechunk_core as ic
from icechunk_core.contract import Storage, open_backend
from icechunk_core.storage import (
    azure_storage,
    http_storage,
    in_memory_storage,
    local_filesystem_storage,
    redirect_storage,
    s3_storage,
    storage_from_url,
)
from icechunk_memory._config import MemoryConfig
from icechunk_memory._storage import MemoryStorage

SECRET = "c2VjcmV0LWtleS1vZi10aGUtdGVzdHM="

LOCATIONS: dict[str, Any] = {
    "s3://bucket/a/b": lambda: s3_storage(
        bucket="bucket", prefix="a/b/", secret_access_key=SECRET, access_key_id="i"
    ),
    "s3://bucket at http://127.0.0.1:9": lambda: storage_from_url(
        "s3://bucket", endpoint_url="http://127.0.0.1:9", allow_http=True, anonymous=True
    ),
    "gs://bucket/a at https://host": lambda: storage_from_url(
        "gs://bucket/a", endpoint_url="https://host", bearer_token=SECRET
    ),
    "az://box/a at account 'acc'": lambda: azure_storage(
        account="acc", container="box", prefix="a", access_key=SECRET
    ),
    "https://host/path": lambda: http_storage("https://host/path/", opts={}),
    "https://host/where": lambda: redirect_storage(f"https://host/where?token={SECRET}"),
    "memory:": in_memory_storage,
    "memory:name": lambda: storage_from_url("memory:name"),
}


@pytest.mark.parametrize("location", LOCATIONS)
def test_urls(location: str) -> None:
    """The address, the place in it and, where it is not the provider's own, the service."""
    storage = LOCATIONS[location]()
    assert storage.location == location


def test_paths_and_their_errors(tmp_path: Path) -> None:
    """A directory is its path, and the message about a missing repository is a sentence with it."""
    assert local_filesystem_storage(str(tmp_path)).location == str(tmp_path)
    with pytest.raises(ic.RepositoryNotFoundError) as raised:
        ic.Repository.open(str(tmp_path))
    assert f"there is no repository at {tmp_path}; create one" in str(raised.value)
    assert "Config(" not in str(raised.value)


def test_messages_name_the_place_only(tmp_path: Path) -> None:
    """Refusals of read-only storages and of those without conditions show no configuration."""
    ic.Repository.create(str(tmp_path))
    reader = ic.Repository.open(storage_from_url(tmp_path.as_uri(), read_only=True))
    with pytest.raises(ic.ReadOnlyError, match=str(tmp_path)) as raised:
        reader.writable_session("main")
    assert "Config(" not in str(raised.value)


def test_storages_that_do_not_tell() -> None:
    """One that was made in code is named by its plugin; a backend that tells no location, by its options."""

    def made(config: Any) -> Storage:
        return open_backend(MemoryStorage(MemoryConfig()), plugin="mine", config=config)

    assert made(None).location == "mine storage"
    assert made(("a", 1)).location == "('a', 1)"
