"""The plugin: ``az://container/prefix`` and ``abfs://container@account.dfs.core.windows.net/prefix``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import SplitResult, unquote

from icechunk_azure._config import AzureConfig
from icechunk_core.contract import AtomicityScope, BackendSpec, Capabilities, hookimpl
from icechunk_core.contract.errors import StorageConfigError

__all__ = ["CAPABILITIES", "icechunk_backends"]

CAPABILITIES = Capabilities(
    create=True,
    update=True,
    atomicity=AtomicityScope.GLOBAL,
    metadata=True,
    copy=True,
    durable=True,
    fork_safe=True,
    # 50,000 blocks of at most 4,000 MiB.
    max_object_size=50_000 * (4_000 << 20),
)
"""What the service has; an opened storage tells what its options leave."""


def _options_from_url(url: SplitResult) -> Mapping[str, Any]:
    if url.password is not None:
        raise StorageConfigError(
            "write no credentials into the URL's address; give access_key, sas_token or the environment"
        )
    options: dict[str, Any] = {}
    host = url.hostname or ""
    prefix = unquote(url.path).strip("/")
    if url.username is not None:
        # abfs://container@account.dfs.core.windows.net/prefix
        account, dot, domain = host.partition(".")
        options["account"] = account
        if dot:
            port = f":{url.port}" if url.port else ""
            domain = "blob." + domain.removeprefix("dfs.").removeprefix("blob.")
            options["endpoint_url"] = f"https://{account}.{domain}{port}"
        options["container"] = unquote(url.username)
    elif host.endswith((".blob.core.windows.net", ".dfs.core.windows.net")):
        raise StorageConfigError(
            "the URL's host is an account; write az://container/prefix?account=NAME, or "
            "abfs://container@account.dfs.core.windows.net/prefix"
        )
    else:
        # Not `hostname`: container names such as $web keep their characters.
        options["container"] = unquote(url.netloc)
    if prefix:
        options["prefix"] = prefix
    return {name: value for name, value in options.items() if value}


def _make_storage(config: AzureConfig) -> object:
    # The SDK is imported here, when a storage is opened.
    from icechunk_azure._storage import make_storage

    return make_storage(config)


@hookimpl
def icechunk_backends() -> Iterable[BackendSpec]:
    return [
        BackendSpec(
            name="azure",
            schemes=("az", "azure", "abfs", "abfss"),
            config=AzureConfig,
            capabilities=CAPABILITIES,
            factory=_make_storage,
            options_from_url=_options_from_url,
            install_hint="pip install 'icechunk-core[azure]'",
        )
    ]
