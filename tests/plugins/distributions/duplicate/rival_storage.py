"""A plugin with the same scheme as another one."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from icechunk_core.contract import BackendSpec, Capabilities, hookimpl


@frozen
class Config:
    """No options."""


@hookimpl
def icechunk_backends() -> Any:
    return [BackendSpec("rival", ["echo"], Config, Capabilities(), lambda _: object(), lambda _: {})]
