"""Options by the names that Icechunk's ``azure_storage(config=...)`` takes: those of its client.

Only names whose meaning is known are accepted, since an option that is ignored silently could be
the one that protects the data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from attrs import evolve

from icechunk_azure._config import AzureConfig
from icechunk_core.contract.errors import StorageConfigError

__all__ = ["with_client_options"]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "": 1.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")


def _flag(name: str, text: str) -> bool:
    lowered = text.strip().lower()
    if lowered in ("true", "1", "yes", "on"):
        return True
    if lowered in ("false", "0", "no", "off"):
        return False
    raise StorageConfigError(f"option {name!r} of 'config': expected true or false")


def _seconds(name: str, text: str) -> float:
    match = _DURATION.fullmatch(text.strip().lower().removesuffix("seconds").strip())
    if match is None or match.group(2) not in _UNITS:
        raise StorageConfigError(f"option {name!r} of 'config': expected a time such as '30s'")
    return float(match.group(1)) * _UNITS[match.group(2)]


def _text(name: str, text: str) -> str:
    return text


Parse = Callable[[str, str], Any]

_KNOWN: Mapping[str, tuple[str, Parse]] = {
    "account_name": ("account", _text),
    "account": ("account", _text),
    "container_name": ("container", _text),
    "account_key": ("access_key", _text),
    "access_key": ("access_key", _text),
    "master_key": ("access_key", _text),
    "sas_key": ("sas_token", _text),
    "sas_token": ("sas_token", _text),
    "bearer_token": ("bearer_token", _text),
    "token": ("bearer_token", _text),
    "endpoint": ("endpoint_url", _text),
    "use_emulator": ("emulator", _flag),
    "skip_signature": ("anonymous", _flag),
    "allow_http": ("allow_http", _flag),
    "connect_timeout": ("connect_timeout", _seconds),
    "timeout": ("read_timeout", _seconds),
}
_PREFIXES = ("azure_storage_", "azure_", "object_store_")
# They choose how azure-identity authenticates, which reads them from the environment.
_OF_THE_ENVIRONMENT = (
    *("client_id", "client_secret", "tenant_id", "authority_id", "authority_host", "federated_token_file"),
    *("use_azure_cli", "msi_endpoint", "identity_endpoint", "object_id", "msi_resource_id"),
)
_WITHOUT_EFFECT = ("disable_tagging",)


def with_client_options(config: AzureConfig) -> AzureConfig:
    """The configuration with the entries of ``config`` as options; those that are given besides win.

    Raises
    ------
    StorageConfigError
        If an entry is unknown or has a wrong value; names it, and never shows a value.
    """
    if not config.config:
        return config
    changes: dict[str, Any] = {}
    for name, text in config.config.items():
        short = _short(name)
        if short in _WITHOUT_EFFECT:
            continue
        if short in _OF_THE_ENVIRONMENT:
            raise StorageConfigError(
                f"option {name!r} of 'config' is for Azure AD; set AZURE_{short.upper()} in the environment, "
                "install azure-identity, and give from_env=true"
            )
        if short not in _KNOWN:
            raise StorageConfigError(
                f"there is no option {name!r} of 'config'; the options are {', '.join(sorted(_KNOWN))}"
            )
        option, parse = _KNOWN[short]
        changes[option] = parse(name, text)
    return evolve(
        config,
        config={},
        **{option: value for option, value in changes.items() if not _given(config, option)},
    )


def _short(name: str) -> str:
    text = name.strip().lower()
    for prefix in _PREFIXES:
        if text.startswith(prefix):
            return text.removeprefix(prefix)
    return text


def _given(config: AzureConfig, option: str) -> bool:
    if option in ("connect_timeout", "read_timeout"):
        return bool(getattr(config, option) != getattr(AzureConfig(), option))
    return bool(getattr(config, option))
