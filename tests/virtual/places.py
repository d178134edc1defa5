"""Where the three NEMO files can be: a directory, a web server, S3; and repositories that may read them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

import icechunk_core as ic
from tests.backends.http.server import web_server
from tests.servers.s3 import S3Server
from tests.xarray.data import nemo_files

__all__ = ["Place", "in_directory", "on_s3", "on_web_server"]


@frozen
class Place:
    """The files at one place.

    Attributes
    ----------
    prefix
        URL of the folder, with a slash at the end.
    urls
        Of the files, in order.
    container, access
        Arguments of `VirtualChunkContainer` and `authorize_virtual_chunk_access` by implementation.
    registry
        VirtualiZarr's.
    options
        Of our storage.
    """

    prefix: str
    urls: list[str]
    container: Any
    access: Any
    registry: Any
    options: Any = None

    def config(self, implementation: Any = ic) -> Any:
        """A configuration with the container."""
        config = implementation.RepositoryConfig.default()
        config.set_virtual_chunk_container(
            implementation.VirtualChunkContainer(self.prefix, self.container(implementation))
        )
        return config

    def create(self, storage: Any) -> ic.Repository:
        """A repository that may read the files."""
        return ic.Repository.create(storage, self.config(), self.authorized())

    def authorized(self, implementation: Any = ic) -> Any:
        """What to authorise when opening."""
        access = {self.prefix: self.access(implementation)}
        return access if implementation is ic else implementation.containers_credentials(access)

    def open_virtually(self, number: int, **options: Any) -> Any:
        """VirtualiZarr's dataset of a file."""
        from virtualizarr import open_virtual_dataset
        from virtualizarr.parsers import HDFParser

        return open_virtual_dataset(
            self.urls[number], registry=self.registry, parser=HDFParser(), decode_times=False, **options
        )


def _registry(prefix: str, store: Any) -> Any:
    from obspec_utils.registry import ObjectStoreRegistry

    return ObjectStoreRegistry({prefix: store})


@contextmanager
def in_directory(folder: Path) -> Iterator[Place]:
    """Copies of the files in a directory whose name has a space in it."""
    from obstore.store import LocalStore

    folder = folder / "ocean data"
    folder.mkdir(parents=True)
    # VirtualiZarr takes what follows the scheme as the path, as it is.
    urls = [f"file://{shutil.copy(path, folder)}" for path in nemo_files()]
    yield Place(
        f"file://{folder}/",
        urls,
        lambda module: module.local_filesystem_store(str(folder)),
        lambda module: module.Credentials.LocalFileSystemAccess(),
        _registry("file://", LocalStore()),
    )


@contextmanager
def on_web_server(folder: Path, *, last_modified: bool = True) -> Iterator[Place]:
    """The files on a web server that knows byte ranges, and when files were modified or not."""
    from obstore.store import HTTPStore

    folder.mkdir(parents=True, exist_ok=True)
    names = [Path(shutil.copy(path, folder)).name for path in nemo_files()]
    with web_server(folder) as web:
        web.last_modified = last_modified
        yield Place(
            web.url + "/",
            [f"{web.url}/{name}" for name in names],
            lambda module: module.http_store(opts={"allow_http": "true"}),
            lambda module: module.Credentials.HttpAccess(),
            _registry(web.url, HTTPStore.from_url(web.url, client_options={"allow_http": True})),
        )


@contextmanager
def on_s3(server: S3Server) -> Iterator[Place]:
    """The files in a bucket."""
    from obstore.store import S3Store

    bucket, client = server.new_bucket(), server.client()
    try:
        for path in nemo_files():
            client.put_object(Bucket=bucket, Key=f"nemo/{path.name}", Body=path.read_bytes())
    finally:
        client.close()
    keys = {"access_key_id": server.access_key, "secret_access_key": server.secret_key}
    store = S3Store(
        bucket,
        endpoint=server.endpoint,
        region=server.region,
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
        **keys,
    )
    yield Place(
        f"s3://{bucket}/nemo/",
        [f"s3://{bucket}/nemo/{path.name}" for path in nemo_files()],
        lambda module: module.s3_store(
            region=server.region,
            endpoint_url=server.endpoint,
            allow_http=True,
            s3_compatible=True,
            force_path_style=True,
        ),
        lambda module: module.s3_credentials(**keys),
        _registry(f"s3://{bucket}", store),
        {**server.options(), **keys},
    )
