"""Virtual chunks in containers: the configuration has the settings, its opener the credentials."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import zarr

import icechunk_core as ic
from icechunk_core.credentials import azure_credentials, containers_credentials
from icechunk_core.drive import run
from icechunk_core.errors import StorageError
from tests.servers.azure import AzureServer

OBJECT = b"abc" + np.arange(8, dtype="<i4").tobytes()


def _repository(server: AzureServer, prefix: str, credentials: Any, key: str, **ref: Any) -> ic.Repository:
    """One array of 8 integers, whose only chunk is a part of an object in a container."""
    config = ic.RepositoryConfig()
    store = ic.storage.azure_store(
        account=server.account, config={"azure_storage_endpoint": server.endpoint, "allow_http": "true"}
    )
    config.set_virtual_chunk_container(ic.VirtualChunkContainer(prefix, store))
    repo = ic.Repository.create("memory:", config, containers_credentials({prefix: credentials}))
    session = repo.writable_session("main")
    zarr.create_array(
        session.store, name="x", shape=(8,), chunks=(8,), dtype="<i4", compressors=None, filters=None
    )
    session.store.set_virtual_ref("x/c/0", f"{prefix}{key}", offset=3, length=32, **ref)
    session.commit("refs")
    return repo


def _read(repo: ic.Repository) -> list[int]:
    return list(zarr.open_array(repo.readonly_session("main").store, path="x", mode="r")[:].tolist())


@pytest.mark.parametrize("scheme", ["az", "azure", "abfs"])
def test_chunks_come_with_the_openers_credentials(azurite: AzureServer, scheme: str) -> None:
    """Bytes of objects in a container become chunks; the key comes from whoever opens the repository."""
    bucket = azurite.new_bucket()
    storage = azurite.storage(bucket)
    run(storage.put("files/raw ü.bin", OBJECT), may_suspend=True)
    prefix = f"{scheme}://{bucket}/files/"
    credentials = azure_credentials(access_key=azurite.account_key)
    assert _read(_repository(azurite, prefix, credentials, "raw%20%C3%BC.bin")) == list(range(8))
    run(storage.close(), may_suspend=True)


def test_a_changed_object_is_noticed(azurite: AzureServer) -> None:
    """A reference that carries an ETag is not served from another object."""
    bucket = azurite.new_bucket()
    storage = azurite.storage(bucket)
    version = run(storage.put("raw.bin", OBJECT), may_suspend=True)
    credentials = azure_credentials(access_key=azurite.account_key)
    repo = _repository(azurite, f"az://{bucket}/", credentials, "raw.bin", checksum=f'"{version.token}"')
    assert _read(repo) == list(range(8))
    run(storage.put("raw.bin", OBJECT), may_suspend=True)
    with pytest.raises(StorageError, match="changed since"):
        _read(repo)
    run(storage.close(), may_suspend=True)


def test_wrong_credentials_are_named_with_the_chunk(azurite: AzureServer) -> None:
    """The error has location and container, and not the key."""
    bucket = azurite.new_bucket()
    credentials = azure_credentials(access_key="d3Jvbmc=")
    repo = _repository(azurite, f"az://{bucket}/", credentials, "raw.bin")
    with pytest.raises(StorageError, match=r"raw\.bin.*access key") as caught:
        _read(repo)
    assert "d3Jvbmc=" not in str(caught.value)
