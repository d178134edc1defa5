"""Virtual chunks in buckets: settings from the configuration, credentials from whoever opens."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import zarr

import icechunk_core as ic
from icechunk_core.contract import ObjectInfo
from icechunk_core.errors import StorageError
from tests.servers.s3 import S3Server

VALUES = np.arange(8, dtype="<i4")
OBJECT = b"abc" + VALUES.tobytes()


@pytest.fixture
def bucket(ministack: S3Server) -> str:
    """A bucket for data."""
    return ministack.new_bucket()


@pytest.fixture
def written(ministack: S3Server, bucket: str) -> ObjectInfo:
    """An object that another program wrote, as it is known."""
    client = ministack.client()
    client.put_object(Bucket=bucket, Key="files/raw data.bin", Body=OBJECT)
    client.close()
    return _head(ministack, bucket)


def _head(server: S3Server, bucket: str) -> ObjectInfo:
    storage = server.storage(bucket, "files", legacy_rooted_keys=None)
    info: ObjectInfo = ic.drive.run(storage.head("raw data.bin"), may_suspend=True)
    return info


def _repository(server: S3Server, bucket: str, secret: str, **checksum: Any) -> ic.Repository:
    """One array whose two chunks are parts of that object."""
    prefix = f"s3://{bucket}/files/"
    config = ic.RepositoryConfig()
    store = ic.s3_store(
        region=server.region, endpoint_url=server.endpoint, allow_http=True, s3_compatible=True
    )
    config.set_virtual_chunk_container(ic.VirtualChunkContainer(prefix, store))
    key = ic.s3_credentials(access_key_id=server.access_key, secret_access_key=secret)
    repo = ic.Repository.create("memory:", config, ic.containers_credentials({prefix: key}))
    session = repo.writable_session("main")
    zarr.create_array(
        session.store, name="x", shape=(8,), chunks=(4,), dtype="<i4", compressors=None, filters=None
    )
    for index in range(2):
        session.store.set_virtual_ref(
            f"x/c/{index}", f"{prefix}raw data.bin", offset=3 + 16 * index, length=16, **checksum
        )
    session.commit("refs")
    return repo


def _read(repo: ic.Repository) -> np.ndarray[Any, Any]:
    return np.asarray(zarr.open_array(repo.readonly_session("main").store, path="x", mode="r")[:])


def test_read(ministack: S3Server, bucket: str, written: ObjectInfo) -> None:
    """Chunks are read with the container's settings and the given credentials; checksums hold."""
    for checksum in ({}, {"checksum": f'"{written.etag}"'}, {"checksum": written.last_modified}):
        repo = _repository(ministack, bucket, ministack.secret_key, **checksum)
        assert np.array_equal(_read(repo), VALUES)


def test_modified(ministack: S3Server, bucket: str, written: ObjectInfo) -> None:
    """An object with another ETag, or newer than recorded, is an error that says so."""
    earlier = written.last_modified - timedelta(seconds=10)
    for checksum in ('"0123456789abcdef0123456789abcdef"', earlier):
        repo = _repository(ministack, bucket, ministack.secret_key, checksum=checksum)
        with pytest.raises(StorageError, match="changed since it was referenced"):
            _read(repo)


def test_refused(seaweedfs: S3Server) -> None:
    """Wrong credentials are named with the chunk's place, and do not show."""
    bucket = seaweedfs.new_bucket()
    repo = _repository(seaweedfs, bucket, "wrong-secret-of-the-tests")
    with pytest.raises(StorageError, match=r"raw data\.bin.*check secret_access_key") as raised:
        _read(repo)
    assert "wrong-secret-of-the-tests" not in str(raised.value)
