"""A plugin for a version of the contract that is gone."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from icechunk_core.contract import BackendSpec, Capabilities, hookimpl


@frozen
class Config:
    """No options."""


@hookimpl
def icechunk_backends() -> Any:
    return [
        BackendSpec(
            "outdated", ["outdated"], Config, Capabilities(), lambda _: object(), lambda _: {}, api_version=0
        )
    ]
