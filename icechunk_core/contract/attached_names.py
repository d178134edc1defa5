"""The names of `Storage` that Icechunk's users expect, for type checkers.

`icechunk_core.storage` attaches them, with the same signatures, when it is imported: what stands
behind them lies above the contract.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from icechunk_core.contract.credentials import AnyAzureCredential, AnyGcsCredential, AnyS3Credential
    from icechunk_core.contract.storage import Storage
    from icechunk_core.format.configuration import S3Options, StorageSettings

__all__ = ["AttachedNames", "StorageObjectInfo"]


@frozen
class StorageObjectInfo:
    """What a storage tells about an object: its key, size and when it was written."""

    key: str
    size_bytes: int
    created_at: datetime


class AttachedNames:
    """Base of `Storage`; empty when the program runs."""

    if TYPE_CHECKING:

        @staticmethod
        def new_azure_blob(
            account: str,
            container: str,
            prefix: str,
            credentials: AnyAzureCredential | None = None,
            *,
            config: dict[str, str] | None = None,
        ) -> Storage: ...

        @staticmethod
        def new_gcs(
            bucket: str,
            prefix: str | None,
            credentials: AnyGcsCredential | None = None,
            *,
            config: dict[str, str] | None = None,
            read_headers: dict[str, str] | None = None,
            write_headers: dict[str, str] | None = None,
            headers: dict[str, str] | None = None,
        ) -> Storage: ...

        @staticmethod
        def new_hf(
            config: S3Options,
            bucket: str,
            prefix: str | None,
            namespace: str,
            credentials: AnyS3Credential | None = None,
            legacy_rooted_keys: bool | None = None,
            *,
            read_headers: dict[str, str] | None = None,
            write_headers: dict[str, str] | None = None,
            headers: dict[str, str] | None = None,
        ) -> Storage: ...

        @staticmethod
        def new_http(
            base_url: str, config: dict[str, str] | None = None, headers: dict[str, str] | None = None
        ) -> Storage: ...

        @staticmethod
        def new_in_memory() -> Storage: ...

        @staticmethod
        def new_local_filesystem(path: str) -> Storage: ...

        @staticmethod
        def new_r2(
            config: S3Options,
            bucket: str | None = None,
            prefix: str | None = None,
            account_id: str | None = None,
            credentials: AnyS3Credential | None = None,
            legacy_rooted_keys: bool | None = None,
            *,
            read_headers: dict[str, str] | None = None,
            write_headers: dict[str, str] | None = None,
            headers: dict[str, str] | None = None,
        ) -> Storage: ...

        @staticmethod
        def new_redirect(base_url: str) -> Storage: ...

        @staticmethod
        def new_s3(
            config: S3Options,
            bucket: str,
            prefix: str | None,
            credentials: AnyS3Credential | None = None,
            legacy_rooted_keys: bool | None = None,
            *,
            read_headers: dict[str, str] | None = None,
            write_headers: dict[str, str] | None = None,
            headers: dict[str, str] | None = None,
        ) -> Storage: ...

        @staticmethod
        def new_s3_object_store(
            config: S3Options,
            bucket: str,
            prefix: str | None,
            credentials: AnyS3Credential | None = None,
            *,
            read_headers: dict[str, str] | None = None,
            write_headers: dict[str, str] | None = None,
            headers: dict[str, str] | None = None,
        ) -> Storage: ...

        @staticmethod
        def new_tigris(
            config: S3Options,
            bucket: str,
            prefix: str | None,
            use_weak_consistency: bool,
            credentials: AnyS3Credential | None = None,
            legacy_rooted_keys: bool | None = None,
            *,
            read_headers: dict[str, str] | None = None,
            write_headers: dict[str, str] | None = None,
            headers: dict[str, str] | None = None,
        ) -> Storage: ...

        def default_settings(self) -> StorageSettings: ...

        def list_objects(
            self, settings: StorageSettings | None = None, prefix: str | None = None
        ) -> list[tuple[str, int]]: ...

        def list_objects_metadata(
            self, settings: StorageSettings | None = None, prefix: str | None = None
        ) -> list[StorageObjectInfo]: ...
