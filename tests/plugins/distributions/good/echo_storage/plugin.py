"""The plugin of the scheme ``echo``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import SplitResult

from attrs import field, frozen

from echo_storage.storage import CAPABILITIES, EchoStorage
from icechunk_core.contract import BackendSpec, hookimpl


@frozen
class EchoConfig:
    """Options of every plain type, and a secret."""

    bucket: str
    region: str | None = None
    attempts: int = 3
    wait: float = 0.5
    secure: bool = True
    password: str | None = field(default=None, repr=False)


def _options(url: SplitResult) -> Mapping[str, Any]:
    return {"bucket": url.netloc} if url.netloc else {}


@hookimpl
def icechunk_backends() -> Iterable[BackendSpec]:
    yield BackendSpec(
        name="echo",
        schemes=("echo",),
        config=EchoConfig,
        capabilities=CAPABILITIES,
        factory=lambda config: EchoStorage(),
        options_from_url=_options,
    )
