"""`StorageConfig`: where a store's repository is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, cast

from icechunk_core.contract import Storage
from icechunk_core.contract.credentials import AnyS3Credential, S3Credentials, S3StaticCredentials
from icechunk_core.errors import StorageConfigError
from icechunk_core.plugins import open_storage
from icechunk_core.storage import in_memory_storage, local_filesystem_storage
from icechunk_core.storage._s3 import s3_options

__all__ = ["StorageConfig", "s3_credentials_of"]


class StorageConfig:
    """Where a repository is: in memory, in a directory, or in an S3 bucket.

    Made by its class methods. Options are checked then; the storage is opened when a store
    is made from the configuration, and shared by all stores made from the same object.

    >>> config = StorageConfig.memory("prefix")
    """

    def __init__(self, kind: str, options: Mapping[str, Any]) -> None:
        self._kind = kind
        self._options = dict(options)
        self._storage: Storage | None = None
        if kind == "memory":
            self._storage = in_memory_storage()

    def open(self) -> Storage:
        """The storage itself.

        Raises
        ------
        PluginError
            If the backend for this kind of storage is not installed.
        """
        if self._storage is None:
            if self._kind == "filesystem":
                self._storage = local_filesystem_storage(self._options["root"])
            else:
                self._storage = open_storage({"scheme": "s3", **self._options})
        return self._storage

    @classmethod
    def memory(cls, prefix: str | None = None) -> StorageConfig:
        """A storage in this process's memory; each configuration object has one of its own.

        ``prefix`` is a name for people; it has no effect.
        """
        return cls("memory", {"prefix": prefix})

    @classmethod
    def filesystem(cls, root: str | os.PathLike[str]) -> StorageConfig:
        """A directory of the local filesystem."""
        path = os.fspath(root)
        if not path:
            raise StorageConfigError("'root' must name a directory")
        return cls("filesystem", {"root": path})

    @classmethod
    def s3_from_env(
        cls,
        bucket: str,
        prefix: str,
        endpoint_url: str | None = None,
        allow_http: bool = False,
        region: str | None = None,
    ) -> StorageConfig:
        """An S3 bucket, with credentials from the environment.

        Read are ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_SESSION_TOKEN``,
        ``AWS_REGION``, ``AWS_ENDPOINT_URL`` and ``AWS_ALLOW_HTTP``; arguments win.
        """
        if endpoint_url is None:
            endpoint_url = os.environ.get("AWS_ENDPOINT_URL") or None
        allow_http = allow_http or os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true")
        if region is None:
            region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or None
        return cls._s3(bucket, prefix, S3Credentials.FromEnv(), endpoint_url, allow_http, region)

    @classmethod
    def s3_from_config(
        cls,
        bucket: str,
        prefix: str,
        credentials: AnyS3Credential | S3Credentials | S3StaticCredentials,
        endpoint_url: str | None = None,
        allow_http: bool = False,
        region: str | None = None,
    ) -> StorageConfig:
        """An S3 bucket, with the given credentials; the environment is ignored."""
        return cls._s3(bucket, prefix, s3_credentials_of(credentials), endpoint_url, allow_http, region)

    @classmethod
    def s3_anonymous(
        cls,
        bucket: str,
        prefix: str,
        endpoint_url: str | None = None,
        allow_http: bool = False,
        region: str | None = None,
    ) -> StorageConfig:
        """A public S3 bucket, with unsigned requests."""
        return cls._s3(bucket, prefix, S3Credentials.Anonymous(), endpoint_url, allow_http, region)

    @classmethod
    def _s3(
        cls,
        bucket: str,
        prefix: str,
        credentials: AnyS3Credential,
        endpoint_url: str | None,
        allow_http: bool,
        region: str | None,
    ) -> StorageConfig:
        return cls(
            "s3",
            s3_options(
                bucket=bucket,
                prefix=prefix,
                credentials=credentials,
                endpoint_url=endpoint_url,
                allow_http=allow_http,
                region=region,
            ),
        )

    def __repr__(self) -> str:
        shown = {name: value for name, value in self._options.items() if value is not None}
        return f"StorageConfig.{self._kind}({', '.join(f'{k}={v!r}' for k, v in shown.items())})"

    def __getstate__(self) -> dict[str, Any]:
        return {"_kind": self._kind, "_options": self._options, "_storage": self._storage}


def s3_credentials_of(given: AnyS3Credential | S3Credentials | S3StaticCredentials) -> AnyS3Credential:
    """Credentials in the form that backends take.

    Raises
    ------
    StorageConfigError
        If it is something else; the message does not show what.
    """
    if isinstance(given, S3StaticCredentials):
        return S3Credentials.Static(given)
    if not isinstance(given, S3Credentials):
        raise StorageConfigError(f"'credentials' must be S3Credentials, not {type(given).__name__}")
    return cast(AnyS3Credential, given)
