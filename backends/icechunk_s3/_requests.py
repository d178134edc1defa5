"""Send requests: the running loop's client, retries, and what the messages are about."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from icechunk_core.clock import Clock, SystemClock
from icechunk_core.contract import RetryPolicy, within
from icechunk_core.ids import IdSource, SystemIds
from icechunk_s3._client import Client, ObjectClient
from icechunk_s3._config import S3Config
from icechunk_s3._connecting import Connections
from icechunk_s3._errors import Where
from icechunk_s3._retry import Retries

__all__ = ["Requests"]

SLOWEST_TRANSFER = 64 << 10
"""Bytes per second; a request that is slower than this is stuck."""

T = TypeVar("T")
C = TypeVar("C")


class Requests:
    """What all operations of one storage send their requests through."""

    def __init__(self, config: S3Config, clock: Clock | None = None, ids: IdSource | None = None) -> None:
        self.config = config
        self.quirks = config.server()
        clock = clock or SystemClock()
        policy = RetryPolicy(config.max_attempts, config.first_wait, config.longest_wait, config.deadline)
        self.connections = Connections(config, self.quirks, clock)
        self._retries = Retries(policy, clock, ids or SystemIds(), self.connections.renew)
        self._place = config.place

    async def run(
        self,
        request: Callable[[ObjectClient], Awaitable[T]],
        key: str | None = None,
        *,
        size: int = 0,
        conditional: bool = False,
    ) -> T:
        """Send one of the frequent requests until it is answered; see `Retries.run`.

        Parameters
        ----------
        size
            Bytes that it transfers, for its time limit.
        """
        return await self._send(self.connections.client, request, key, size, conditional)

    async def run_full(
        self,
        request: Callable[[Client], Awaitable[T]],
        key: str | None = None,
        *,
        size: int = 0,
        conditional: bool = False,
    ) -> T:
        """The same for any request."""
        return await self._send(self.connections.full_client, request, key, size, conditional)

    async def _send(
        self,
        connect: Callable[[], Awaitable[C]],
        request: Callable[[C], Awaitable[T]],
        key: str | None,
        size: int,
        conditional: bool,
    ) -> T:
        stall = self.config.network_stream_timeout_seconds
        limits = [stall + size / SLOWEST_TRANSFER if stall else None, self.config.attempt_timeout]
        limit = min([each for each in limits if each is not None], default=None)

        async def attempt() -> T:
            client = await connect()
            if limit is None:
                return await request(client)
            async with asyncio.timeout(limit):
                return await request(client)

        where = Where(self._place, key, self.connections.region)
        if self.config.total_timeout is None:
            return await self._retries.run(attempt, where, conditional=conditional)
        return await within(
            self.config.total_timeout,
            lambda: self._retries.run(attempt, where, conditional=conditional),
            key,
        )
