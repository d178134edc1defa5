"""What Icechunk's users expect of `Storage` itself: constructors, listings, a view in notebooks.

The class belongs to the contract, which knows no backend. Its names from here are attached
when `icechunk_core.storage` is imported, which every way of opening a storage does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from icechunk_core.contract import ObjectInfo, Storage
from icechunk_core.contract.attached_names import StorageObjectInfo
from icechunk_core.drive import run
from icechunk_core.errors import StorageConfigError
from icechunk_core.format.configuration import S3Options, StorageSettings
from icechunk_core.html import page, text
from icechunk_core.plugins import open_storage
from icechunk_core.storage._open import in_memory_storage, local_filesystem_storage
from icechunk_core.storage._options import checked_text, checked_texts, given

if TYPE_CHECKING:
    from icechunk_core.credentials import AnyAzureCredential, AnyGcsCredential, AnyS3Credential

__all__ = ["StorageObjectInfo", "attach"]


# --- constructors ------------------------------------------------------------


def _s3(config: S3Options, options: Mapping[str, Any], **preset: Any) -> dict[str, Any]:
    """Options of an S3 backend from a bundle of settings and the rest."""
    if not isinstance(config, S3Options):
        raise StorageConfigError(f"'config' is S3Options, not {type(config).__name__}")
    if config.anonymous and options.get("credentials") is not None:
        raise StorageConfigError("'config' is anonymous, and 'credentials' are given; choose one")
    from icechunk_core.credentials import s3_credentials
    from icechunk_core.storage._s3 import s3_options

    settings: dict[str, Any] = {
        "region": config.region,
        "endpoint_url": config.endpoint_url,
        "allow_http": config.allow_http,
        "force_path_style": config.force_path_style,
        "network_stream_timeout_seconds": config.network_stream_timeout_seconds,
        "requester_pays": config.requester_pays,
        "checksum_algorithm": config.checksum_algorithm,
    }
    settings |= {name: value for name, value in preset.items() if settings[name] in (None, False)}
    credentials = options.get("credentials")
    if credentials is None:
        credentials = s3_credentials(anonymous=True) if config.anonymous else s3_credentials(from_env=True)
    return s3_options(**settings, **{**options, "credentials": credentials})


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
) -> Storage:
    """See `icechunk_core.storage.s3_storage`."""
    return open_storage({"scheme": "s3", **_s3(options=_without("config", locals()), config=config)})


def new_s3_object_store(
    config: S3Options,
    bucket: str,
    prefix: str | None,
    credentials: AnyS3Credential | None = None,
    *,
    read_headers: dict[str, str] | None = None,
    write_headers: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
) -> Storage:
    """The same as ``new_s3``: there is one S3 backend here."""
    return open_storage({"scheme": "s3", **_s3(options=_without("config", locals()), config=config)})


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
) -> Storage:
    """See `icechunk_core.storage.tigris_storage`."""
    rest = _without("config", "use_weak_consistency", locals())
    from icechunk_core.storage._s3 import TIGRIS_ENDPOINT

    options = _s3(config, rest, endpoint_url=TIGRIS_ENDPOINT)
    if config.region is None and not use_weak_consistency:
        raise StorageConfigError("Tigris reads are consistent within one region only: set the region")
    return open_storage({"scheme": "tigris", **options, **given(use_weak_consistency=use_weak_consistency)})


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
) -> Storage:
    """See `icechunk_core.storage.r2_storage`."""
    rest = _without("config", "account_id", locals())
    if bucket is None:
        first, _, below = (prefix or "").partition("/")
        rest |= {"bucket": first, "prefix": below or None}
    if config.endpoint_url is None and not account_id:
        raise StorageConfigError("R2 storage needs 'account_id' or the endpoint_url of 'config'")
    address = f"https://{account_id}.r2.cloudflarestorage.com"
    options = _s3(config, rest, endpoint_url=address, region="auto", force_path_style=True)
    return open_storage({"scheme": "s3", **options})


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
) -> Storage:
    """See `icechunk_core.storage.hf_storage`."""
    rest = _without("config", "namespace", locals())
    address = f"https://s3.hf.co/{checked_text('namespace', namespace)}"
    options = _s3(config, rest, endpoint_url=address, region="us-east-1", force_path_style=True)
    return open_storage({"scheme": "hf", **options})


def new_gcs(
    bucket: str,
    prefix: str | None,
    credentials: AnyGcsCredential | None = None,
    *,
    config: dict[str, str] | None = None,
    read_headers: dict[str, str] | None = None,
    write_headers: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
) -> Storage:
    """See `icechunk_core.storage.gcs_storage`."""
    options = given(
        bucket=checked_text("bucket", bucket),
        prefix=prefix or None,
        credentials=credentials,
        config=checked_texts("config", config),
        read_headers=checked_texts("read_headers", read_headers),
        write_headers=checked_texts("write_headers", write_headers),
        headers=checked_texts("headers", headers),
    )
    return open_storage({"scheme": "gs", **options})


def new_azure_blob(
    account: str,
    container: str,
    prefix: str,
    credentials: AnyAzureCredential | None = None,
    *,
    config: dict[str, str] | None = None,
) -> Storage:
    """See `icechunk_core.storage.azure_storage`."""
    options = given(
        account=checked_text("account", account),
        container=checked_text("container", container),
        prefix=prefix or None,
        credentials=credentials,
        config=checked_texts("config", config),
    )
    return open_storage({"scheme": "az", **options})


def new_in_memory() -> Storage:
    """See `icechunk_core.storage.in_memory_storage`."""
    return in_memory_storage()


def new_local_filesystem(path: str) -> Storage:
    """See `icechunk_core.storage.local_filesystem_storage`."""
    return local_filesystem_storage(path)


def new_http(
    base_url: str, config: dict[str, str] | None = None, headers: dict[str, str] | None = None
) -> Storage:
    """See `icechunk_core.storage.http_storage`."""
    from icechunk_core.storage._cloud import http_storage

    return http_storage(base_url, config, headers)


def new_redirect(base_url: str) -> Storage:
    """See `icechunk_core.storage.redirect_storage`."""
    from icechunk_core.storage._cloud import redirect_storage

    return redirect_storage(base_url)


def _without(*arguments: Any) -> dict[str, Any]:
    """The last argument, a mapping, without the names before it."""
    *names, values = arguments
    return {name: value for name, value in values.items() if name not in names}


# --- methods -----------------------------------------------------------------


def default_settings(self: Storage) -> StorageSettings:
    """Settings that a repository on this storage starts from: none is set, backends have their own."""
    return StorageSettings()


def list_objects(
    self: Storage, settings: StorageSettings | None = None, prefix: str | None = None
) -> list[tuple[str, int]]:
    """Key and size of each object, in key order; only of those whose key starts with ``prefix``.

    ``settings`` are accepted as Icechunk has them; a listing needs none of them.
    """
    return [(info.key, info.size) for info in _listed(self, prefix)]


def list_objects_metadata(
    self: Storage, settings: StorageSettings | None = None, prefix: str | None = None
) -> list[StorageObjectInfo]:
    """The same with the time at which each object was written."""
    return [StorageObjectInfo(info.key, info.size, info.last_modified) for info in _listed(self, prefix)]


def _listed(storage: Storage, prefix: str | None) -> list[ObjectInfo]:
    async def collect() -> list[ObjectInfo]:
        return [info async for info in storage.list(prefix or "")]

    return run(collect(), may_suspend=storage.may_suspend)


def _repr_html_(self: Storage) -> str:
    return page("Storage", f"<pre>{text(repr(self))}</pre>")


_CONSTRUCTORS = (
    new_azure_blob,
    new_gcs,
    new_hf,
    new_http,
    new_in_memory,
    new_local_filesystem,
    new_r2,
    new_redirect,
    new_s3,
    new_s3_object_store,
    new_tigris,
)
_METHODS = (default_settings, list_objects, list_objects_metadata, _repr_html_)


def attach() -> None:
    """Give `Storage` these names."""
    for constructor in _CONSTRUCTORS:
        setattr(Storage, constructor.__name__, staticmethod(constructor))
    for method in _METHODS:
        setattr(Storage, method.__name__, method)
