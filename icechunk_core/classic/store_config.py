"""`StoreConfig` and `VirtualRefConfig`: how a store writes chunks and reads virtual ones."""

from __future__ import annotations

import os
import warnings
from typing import Any

from attrs import frozen

from icechunk_core.classic.storage_config import s3_credentials_of
from icechunk_core.contract.credentials import AnyS3Credential, S3Credentials, S3StaticCredentials
from icechunk_core.errors import StorageConfigError
from icechunk_core.format.configuration import RepositoryConfig
from icechunk_core.storage._options import checked_endpoint, checked_text

__all__ = ["StoreConfig", "VirtualRefConfig"]


@frozen
class VirtualRefConfig:
    """How the objects that virtual refs point to are reached.

    Made by its class methods. Any ``s3://`` location may be referenced with it.
    """

    @frozen
    class S3:
        """An S3 service.

        Attributes
        ----------
        credentials
            How requests are signed.
        endpoint_url, allow_http, region
            Where the service is, if it is not AWS in the bucket's own region.
        """

        credentials: AnyS3Credential
        endpoint_url: str | None = None
        allow_http: bool | None = None
        region: str | None = None

        def __attrs_post_init__(self) -> None:
            checked_endpoint("endpoint_url", self.endpoint_url, allow_http=bool(self.allow_http))
            if self.region is not None:
                checked_text("region", self.region)

        def options(self) -> dict[str, Any]:
            """Options of the S3 backend."""
            given = {
                "credentials": self.credentials,
                "endpoint_url": self.endpoint_url,
                "allow_http": self.allow_http,
                "region": self.region,
            }
            return {name: value for name, value in given.items() if value is not None}

    s3: S3

    @classmethod
    def s3_from_env(cls) -> VirtualRefConfig:
        """S3 with credentials, region and endpoint from the environment (see `StorageConfig.s3_from_env`)."""
        return cls(
            cls.S3(
                S3Credentials.FromEnv(),
                os.environ.get("AWS_ENDPOINT_URL") or None,
                os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true") or None,
                os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or None,
            )
        )

    @classmethod
    def s3_from_config(
        cls,
        credentials: AnyS3Credential | S3Credentials | S3StaticCredentials,
        *,
        endpoint_url: str | None = None,
        allow_http: bool | None = None,
        region: str | None = None,
    ) -> VirtualRefConfig:
        """S3 with the given credentials; the environment is ignored."""
        return cls(cls.S3(s3_credentials_of(credentials), endpoint_url, allow_http, region))

    @classmethod
    def s3_anonymous(
        cls,
        *,
        endpoint_url: str | None = None,
        allow_http: bool | None = None,
        region: str | None = None,
    ) -> VirtualRefConfig:
        """S3 with unsigned requests, for public data."""
        return cls(cls.S3(S3Credentials.Anonymous(), endpoint_url, allow_http, region))


class StoreConfig:
    """How a store works.

    Parameters
    ----------
    get_partial_values_concurrency
        Values read at once by one call of ``get_partial_values`` (default 10).
    inline_chunk_threshold_bytes
        Chunks up to this size are stored in the manifest (default 512).
    unsafe_overwrite_refs
        Accepted for compatibility; it has no effect on the formats that are written today.
    virtual_ref_config
        How virtual refs are read. Without it they are written, not read.

    Raises
    ------
    InvalidInputError, StorageConfigError
        If a value is out of range or of another type; both are a `ValueError`.
    """

    def __init__(
        self,
        get_partial_values_concurrency: int | None = None,
        inline_chunk_threshold_bytes: int | None = None,
        unsafe_overwrite_refs: bool | None = None,
        virtual_ref_config: VirtualRefConfig | None = None,
    ) -> None:
        self.get_partial_values_concurrency = get_partial_values_concurrency
        self.inline_chunk_threshold_bytes = inline_chunk_threshold_bytes
        self.unsafe_overwrite_refs = unsafe_overwrite_refs
        self.virtual_ref_config = virtual_ref_config
        if virtual_ref_config is not None and not isinstance(virtual_ref_config, VirtualRefConfig):
            raise StorageConfigError(
                f"'virtual_ref_config' must be a VirtualRefConfig, not {type(virtual_ref_config).__name__}"
            )
        self.repository_config()  # checks the numbers
        if unsafe_overwrite_refs is not None:
            warnings.warn(
                "unsafe_overwrite_refs has no effect: refs are replaced by compare-and-swap only",
                UserWarning,
                stacklevel=2,
            )

    def repository_config(self) -> RepositoryConfig | None:
        """The settings that concern the repository; ``None`` if none is given."""
        if self.get_partial_values_concurrency is None and self.inline_chunk_threshold_bytes is None:
            return None
        return RepositoryConfig(
            inline_chunk_threshold_bytes=self.inline_chunk_threshold_bytes,
            get_partial_values_concurrency=self.get_partial_values_concurrency,
        )

    def __repr__(self) -> str:
        given = {name: value for name, value in vars(self).items() if value is not None}
        return f"StoreConfig({', '.join(f'{name}={value!r}' for name, value in given.items())})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoreConfig) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]
