"""Storages for virtual chunk containers: the repository's configuration and its opener's word, as options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from icechunk_core.contract import Storage
from icechunk_core.errors import InvalidInputError
from icechunk_core.format.configuration import ObjectStoreConfig, S3Options
from icechunk_core.plugins import open_storage
from icechunk_core.plugins.registry import find_backend
from icechunk_core.plugins.structuring import option_names
from icechunk_core.storage._options import given

if TYPE_CHECKING:
    from icechunk_core.credentials import AnyCredential

__all__ = ["open_container"]

_FAMILY = {
    "s3": "S3",
    "tigris": "S3",
    "gs": "Gcs",
    "gcs": "Gcs",
    "az": "Azure",
    "azure": "Azure",
    "abfs": "Azure",
    "abfss": "Azure",
}


_FOREIGN: Mapping[str, Any] = {"verbatim": True, "legacy_rooted_keys": False}
"""Options, of backends that have them, for objects that other programs named: no key is escaped, and
none is tried in two forms."""


def open_container(
    prefix: str,
    store: ObjectStoreConfig | None,
    credentials: AnyCredential | Mapping[str, Any] | Storage | None,
) -> Storage:
    """Open the storage below a container's URL prefix, with the plugin of its scheme.

    Parameters
    ----------
    prefix
        The container's URL.
    store
        Settings from the repository's configuration.
    credentials
        From whoever opened the repository: a member of `Credentials`, options of the plugin, an
        open `Storage`, or ``None`` for what the plugin does by itself.

    Raises
    ------
    InvalidInputError
        If the credentials are for another service.
    PluginError, StorageConfigError
        See `open_storage`.
    """
    if isinstance(credentials, Storage):
        return credentials
    scheme = prefix.partition(":")[0].lower()
    options = _from_store(store)
    if isinstance(credentials, Mapping):
        options.update(credentials)
    elif credentials is not None:
        options.update(_from_credentials(prefix, scheme, credentials))
    known = option_names(find_backend(scheme).spec.config)
    preset = {name: value for name, value in _FOREIGN.items() if name in known}
    return open_storage(prefix, **{**preset, **options})


def _from_store(store: ObjectStoreConfig | None) -> dict[str, Any]:
    if isinstance(store, ObjectStoreConfig.S3):  # also Tigris and compatible services
        options = _s3_options(store.options)
        if isinstance(store, ObjectStoreConfig.Tigris):
            from icechunk_core.storage._s3 import TIGRIS_ENDPOINT

            options.setdefault("endpoint_url", TIGRIS_ENDPOINT)
        return options
    if isinstance(store, ObjectStoreConfig.Gcs):
        return given(config=store.opts, read_only=True)
    if isinstance(store, ObjectStoreConfig.Azure):
        rest = dict(store.opts or {})
        account = rest.pop("account", None)
        return given(account=account, config=rest or None)
    if isinstance(store, ObjectStoreConfig.Http):
        return given(opts=store.opts, headers=store.headers)
    return {}


def _s3_options(options: S3Options) -> dict[str, Any]:
    from icechunk_core.credentials import S3Credentials

    algorithm = options.checksum_algorithm
    return given(
        region=options.region,
        endpoint_url=options.endpoint_url,
        allow_http=options.allow_http,
        credentials=S3Credentials.Anonymous() if options.anonymous else None,
        force_path_style=options.force_path_style,
        network_stream_timeout_seconds=options.network_stream_timeout_seconds,
        requester_pays=options.requester_pays,
        checksum_algorithm=None if algorithm is None else algorithm.name,
    )


def _from_credentials(prefix: str, scheme: str, given_credentials: AnyCredential) -> dict[str, Any]:
    from icechunk_core.credentials import Credentials, containers_credentials

    credentials: Any = containers_credentials({prefix: given_credentials})[prefix]
    if isinstance(credentials, Credentials.LocalFileSystemAccess | Credentials.HttpAccess):
        return {}
    family = type(credentials).__name__
    wanted = _FAMILY.get(scheme)
    if wanted != family:
        mend = f"Credentials.{wanted}" if wanted else "a mapping of its backend's options, or a Storage"
        raise InvalidInputError(f"the container {prefix!r} got credentials for {family}; pass {mend}")
    return {"credentials": credentials.credentials}
