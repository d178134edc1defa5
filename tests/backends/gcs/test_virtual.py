"""Virtual chunks in buckets: the configuration has the settings, its opener the credentials."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import zarr

import icechunk_core as ic
from icechunk_core.credentials import GcsCredentials, containers_credentials, gcs_credentials
from icechunk_core.errors import InvalidInputError, StorageError
from icechunk_core.storage._containers import open_container
from tests.backends.gcs.scripted import Answer, Asked, ScriptedServer, json_error, stored
from tests.servers.gcs import GcsServer

PREFIX = "gs://data-bucket/files/"


def repository(store: ic.ObjectStoreConfig, allowed: dict[str, Any] | None) -> ic.Repository:
    """One array of 8 integers, whose two chunks are parts of one object in a bucket."""
    config = ic.RepositoryConfig()
    config.set_virtual_chunk_container(ic.VirtualChunkContainer(PREFIX, store))
    repo = ic.Repository.create("memory:", config, allowed)
    session = repo.writable_session("main")
    zarr.create_array(
        session.store, name="x", shape=(8,), chunks=(4,), dtype="<i4", compressors=None, filters=None
    )
    for index in range(2):
        session.store.set_virtual_ref(f"x/c/{index}", f"{PREFIX}raw.bin", offset=3 + 16 * index, length=16)
    session.commit("refs")
    return repo


def read(repo: ic.Repository) -> list[int]:
    """The array's values."""
    return list(zarr.open_array(repo.readonly_session("main").store, path="x", mode="r")[:].tolist())


OBJECT = b"abc" + np.arange(8, dtype="<i4").tobytes()


def serve(server: ScriptedServer, token: str | None) -> None:
    """The object, for those who have the token."""

    def script(asked: Asked) -> Answer:
        if asked.headers.get("authorization") != (None if token is None else f"Bearer {token}"):
            return json_error(401, "Invalid Credentials")
        start, end = asked.headers["range"].removeprefix("bytes=").split("-")
        data = OBJECT[int(start) : int(end) + 1]
        whole = stored(data, content_range=f"bytes {start}-{end}/{len(OBJECT)}")
        return Answer(206, whole.headers, data)

    server.script = script


@pytest.mark.parametrize("token", [None, "for-the-container"])
def test_credentials_reach_the_bucket(server: ScriptedServer, token: str | None) -> None:
    """The address is in the configuration, the token is not: it comes from the authorisation."""
    serve(server, token)
    credentials = gcs_credentials(anonymous=True) if token is None else gcs_credentials(bearer_token=token)
    store = ic.storage.gcs_store({"google_base_url": server.endpoint})
    repo = repository(store, containers_credentials({PREFIX: credentials}))
    assert read(repo) == list(range(8))
    assert all("/data-bucket/o/files%2Fraw.bin?" in asked.path for asked in server.asked)


def test_wrong_credentials_are_named_with_the_chunk(server: ScriptedServer) -> None:
    """The error has the location, the container and what to check, and not the token."""
    serve(server, "right")
    credentials = gcs_credentials(bearer_token="wrong-and-secret")
    store = ic.storage.gcs_store({"google_base_url": server.endpoint})
    repo = repository(store, containers_credentials({PREFIX: credentials}))
    with pytest.raises(StorageError, match=r"raw\.bin.*expired.*data-bucket") as raised:
        read(repo)
    assert "wrong-and-secret" not in str(raised.value)


def test_on_a_server(fake_gcs: GcsServer) -> None:
    """As above, on a server that keeps objects."""
    bucket = fake_gcs.new_bucket()
    storage = fake_gcs.storage(bucket)
    prefix = f"gs://{bucket}/"
    ic.drive.run(storage.put("files/raw.bin", OBJECT), may_suspend=True)
    config = ic.RepositoryConfig()
    store = ic.storage.gcs_store({"google_base_url": fake_gcs.endpoint})
    config.set_virtual_chunk_container(ic.VirtualChunkContainer(prefix, store))
    allowed = containers_credentials({prefix: gcs_credentials(anonymous=True)})
    repo = ic.Repository.create("memory:", config, allowed)
    session = repo.writable_session("main")
    zarr.create_array(
        session.store, name="x", shape=(8,), chunks=(8,), dtype="<i4", compressors=None, filters=None
    )
    session.store.set_virtual_ref("x/c/0", f"{prefix}files/raw.bin", offset=3, length=32)
    session.commit("refs")
    assert read(repo) == list(range(8))
    ic.drive.run(storage.close(), may_suspend=True)


def test_credentials_of_another_service_are_refused() -> None:
    """Before anything is sent anywhere."""
    credentials = containers_credentials({PREFIX: ic.s3_anonymous_credentials()})[PREFIX]
    with pytest.raises(InvalidInputError, match="S3"):
        open_container(PREFIX, None, credentials)


def test_settings_of_containers_become_options() -> None:
    """Those of the configuration, and credentials; what is read is not written."""
    store = ic.storage.gcs_store({"base_url": "https://own.test"})
    (allowed,) = containers_credentials({PREFIX: gcs_credentials(anonymous=True)}).values()
    config = open_container(PREFIX, store, allowed).config
    assert (config.bucket, config.prefix, config.read_only) == ("data-bucket", "files", True)
    assert config.credentials == GcsCredentials.Anonymous()
    assert json.dumps(config.config) == '{"base_url": "https://own.test"}'
