"""The plugin: ``s3://bucket/prefix``, and ``r2://``, ``tigris://`` and ``hf://`` for those services."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import SplitResult, unquote

from icechunk_core.contract import AtomicityScope, BackendSpec, Capabilities, hookimpl
from icechunk_core.contract.errors import StorageConfigError
from icechunk_s3._config import HfConfig, R2Config, S3Config, TigrisConfig

__all__ = ["icechunk_backends"]

CAPABILITIES = Capabilities(
    create=True,
    update=True,
    atomicity=AtomicityScope.GLOBAL,
    metadata=True,
    copy=True,
    durable=True,
    fork_safe=True,
    unique_versions=False,
    max_object_size=5 << 40,
)
INSTALL_HINT = "pip install 'icechunk-core[s3]'"


def _options_from_url(url: SplitResult) -> Mapping[str, Any]:
    if "@" in url.netloc:
        raise StorageConfigError("the URL must not contain credentials; pass them as options")
    if not url.netloc:
        raise StorageConfigError("the URL names no bucket; write s3://bucket/prefix")
    prefix = unquote(url.path).strip("/")
    return {"bucket": url.netloc, **({"prefix": prefix} if prefix else {})}


def _hf_options_from_url(url: SplitResult) -> Mapping[str, Any]:
    """``hf://namespace/bucket/prefix``."""
    namespace = url.netloc
    bucket, _, prefix = unquote(url.path).strip("/").partition("/")
    if not namespace or not bucket:
        raise StorageConfigError("the URL names no bucket; write hf://namespace/bucket/prefix")
    return {"namespace": namespace, "bucket": bucket, **({"prefix": prefix} if prefix else {})}


def _make_storage(config: S3Config) -> object:
    """The backend object; the SDK is imported here, and its absence reported."""
    import aiobotocore  # noqa: F401 - tells early what is missing

    from icechunk_s3._storage import S3Storage

    return S3Storage(config)


@hookimpl
def icechunk_backends() -> Iterable[BackendSpec]:
    kinds = (
        ("s3", S3Config, _options_from_url),
        ("r2", R2Config, _options_from_url),
        ("tigris", TigrisConfig, _options_from_url),
        ("hf", HfConfig, _hf_options_from_url),
    )
    return [
        BackendSpec(
            name=name,
            schemes=(name,),
            config=config,
            capabilities=CAPABILITIES,
            factory=_make_storage,
            options_from_url=options_from_url,
            install_hint=INSTALL_HINT,
        )
        for name, config, options_from_url in kinds
    ]
