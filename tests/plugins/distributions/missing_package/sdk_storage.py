"""A plugin whose package for the service is imported when a storage is opened, and missing."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from icechunk_core.contract import BackendSpec, Capabilities, hookimpl


@frozen
class Config:
    """No options."""


def _open(config: Config) -> object:
    import sdk_that_nobody_has  # type: ignore[import-not-found]

    return sdk_that_nobody_has.connect(config)


@hookimpl
def icechunk_backends() -> Any:
    return [
        BackendSpec(
            "sdk",
            ["sdk"],
            Config,
            Capabilities(),
            _open,
            lambda _: {},
            install_hint="pip install 'sdk-storage[service]'",
        )
    ]
