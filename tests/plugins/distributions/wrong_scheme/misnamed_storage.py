"""A plugin whose entry point is not named like its scheme."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from icechunk_core.contract import BackendSpec, Capabilities, hookimpl


@frozen
class Config:
    """No options."""


@hookimpl
def icechunk_backends() -> Any:
    return [BackendSpec("named", ["named"], Config, Capabilities(), lambda _: object(), lambda _: {})]
