"""The plugin: ``gs://bucket/prefix``, also written ``gcs://bucket/prefix``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import SplitResult, unquote

from icechunk_core.contract import AtomicityScope, BackendSpec, Capabilities, hookimpl
from icechunk_core.contract.errors import StorageConfigError
from icechunk_gcs._config import GcsConfig

__all__ = ["CAPABILITIES", "icechunk_backends"]

CAPABILITIES = Capabilities(
    create=True,
    update=True,
    atomicity=AtomicityScope.GLOBAL,
    metadata=True,
    copy=True,
    durable=True,
    fork_safe=True,
    max_object_size=5 << 40,
)


def _options_from_url(url: SplitResult) -> Mapping[str, Any]:
    if "@" in url.netloc or ":" in url.netloc:
        raise StorageConfigError(
            "write gs://bucket/prefix; the address of an emulator is the option 'endpoint_url', "
            "and credentials are options too"
        )
    return {"bucket": unquote(url.netloc), "prefix": unquote(url.path)}


def _make_storage(config: GcsConfig) -> object:
    # The client's packages are loaded when a storage is opened, not when plugins are listed.
    from icechunk_gcs._storage import GcsStorage

    return GcsStorage(config)


@hookimpl
def icechunk_backends() -> Iterable[BackendSpec]:
    return [
        BackendSpec(
            name="gcs",
            schemes=("gs", "gcs"),
            config=GcsConfig,
            capabilities=CAPABILITIES,
            factory=_make_storage,
            options_from_url=_options_from_url,
            install_hint="pip install 'icechunk-core[gcs]'",
        )
    ]
