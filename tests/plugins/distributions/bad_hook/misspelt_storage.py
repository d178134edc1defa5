"""A plugin whose declaration hook is misspelt."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from icechunk_core.contract import BackendSpec, Capabilities, hookimpl


@frozen
class Config:
    """No options."""


@hookimpl
def icechunk_backend() -> Any:
    return [BackendSpec("misspelt", ["misspelt"], Config, Capabilities(), lambda _: object(), lambda _: {})]
