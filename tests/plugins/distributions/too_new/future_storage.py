"""A plugin for a version of the contract that is yet to come."""

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
            "future", ["future"], Config, Capabilities(), lambda _: object(), lambda _: {}, api_version=999
        )
    ]
