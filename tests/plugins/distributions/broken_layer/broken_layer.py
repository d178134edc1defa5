"""A plugin whose entry point has another name than its wrapper."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from icechunk_core.contract import WrapperSpec, hookimpl


@frozen
class Config:
    pass


@hookimpl
def icechunk_wrappers() -> Any:
    return [WrapperSpec("this-one", Config, lambda storage, config: storage)]
