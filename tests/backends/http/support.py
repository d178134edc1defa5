"""What the tests of HTTP storage share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from icechunk_core.contract import Storage, open_backend
from icechunk_core.ids import SystemIds
from icechunk_http._config import HttpConfig
from icechunk_http._storage import HttpStorage

__all__ = ["Waits", "opened"]


class NoJitter(SystemIds):
    """Every wait has its full length."""

    def uniform(self) -> float:
        return 1.0


class Waits(list[float]):
    """How long was waited, without waiting."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


@asynccontextmanager
async def opened(url: str, *, waits: Waits | None = None, **options: Any) -> AsyncIterator[Storage]:
    """An HTTP storage that never waits before it tries again, closed at the end."""
    backend = HttpStorage(
        HttpConfig(base_url=url, **options), ids=NoJitter(), sleep=Waits() if waits is None else waits
    )
    storage = open_backend(backend)
    try:
        yield storage
    finally:
        await storage.close()
