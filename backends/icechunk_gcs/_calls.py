"""Attempts at operations: sent by the client of this process, their failures translated."""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

from icechunk_core.clock import Clock, SystemClock
from icechunk_core.contract import RetryPolicy, within
from icechunk_core.contract.errors import Closed
from icechunk_core.ids import IdSource
from icechunk_gcs._client import Client
from icechunk_gcs._errors import SDK_ERRORS, AttemptFailed, failed_request, failed_status
from icechunk_gcs._replies import Reply
from icechunk_gcs._requests import Request
from icechunk_gcs._retry import Retrying
from icechunk_gcs._settings import Settings

__all__ = ["Attempt", "Calls"]

T = TypeVar("T")
Attempt: TypeAlias = Callable[[], Awaitable[T]]

_UNKNOWN_SIZE = 1 << 30
_SLOWEST = 1_000_000
"""Bytes a second that a transfer is given time for, beyond the deadline."""


class Calls:
    """What the operations of a storage are made of."""

    def __init__(self, settings: Settings, clock: Clock | None, ids: IdSource) -> None:
        self._settings = settings
        self._clock: Clock = clock if clock is not None else SystemClock()
        config = settings.config
        policy = RetryPolicy(config.max_attempts, config.first_wait, config.longest_wait, config.deadline)
        self._retrying = Retrying(self._clock, ids, policy)
        self._client: Client | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._lock_of = os.getpid()

    async def repeated(self, attempt: Attempt[T], *, conditional: bool = False) -> T:
        """The result of an operation, tried again as the policy says; see `Retrying`."""
        total = self._settings.config.total_timeout
        if total is None:
            return await self._retrying(attempt, conditional=conditional)
        return await within(total, lambda: self._retrying(attempt, conditional=conditional))

    async def plain(self, request: Request, key: str | None, size: int | None) -> Reply:
        """One attempt at a plain request that moves so many bytes.

        Raises
        ------
        AttemptFailed
            If there is no answer, or one that tells of a failure.
        """
        client = self.client()
        try:
            reply = await client.send(request, self._patience(size))
        except SDK_ERRORS as error:
            raise self._failed(error, key) from error
        if reply.status >= 300:
            raise failed_status(
                reply.status,
                reply.told,
                reply.headers,
                key=key,
                bucket=self._settings.config.bucket,
                secrets=self._settings.secrets,
            )
        return reply

    async def client_call(
        self, key: str | None, size: int | None, call: Callable[..., T], *arguments: Any
    ) -> T:
        """One attempt at an operation of Google's client, a method of `Operations`.

        Raises
        ------
        AttemptFailed
            If it fails.
        """
        client = self.client()
        try:
            return await client.threads.run(self._patience(size), call, client.operations, *arguments)
        except SDK_ERRORS as error:
            raise self._failed(error, key) from error

    def _failed(self, error: BaseException, key: str | None) -> AttemptFailed:
        return failed_request(
            error,
            key=key,
            bucket=self._settings.config.bucket,
            endpoint=self._settings.endpoint,
            secrets=self._settings.secrets,
        )

    def _patience(self, size: int | None) -> float:
        """Seconds that one attempt may take."""
        config = self._settings.config
        patience = config.deadline + (_UNKNOWN_SIZE if size is None else size) / _SLOWEST
        return patience if config.attempt_timeout is None else min(patience, config.attempt_timeout)

    # --- the client

    def client(self) -> Client:
        """The client of this process, made on first use."""
        client = self._client
        if client is not None and client.pid == os.getpid():
            return client
        with self._lock_here():
            client = self._client
            if client is not None and client.pid != os.getpid():
                client.abandon()
                client = None
            if client is None:
                if self._closed:
                    raise self.closed()
                client = self._client = Client(self._settings, self._clock)
            return client

    def _lock_here(self) -> threading.Lock:
        """A lock that no thread of the parent process can hold."""
        if self._lock_of != os.getpid():
            self._lock, self._lock_of = threading.Lock(), os.getpid()
        return self._lock

    def check_open(self) -> None:
        """Raise if the storage was closed."""
        if self._closed:
            raise self.closed()

    def closed(self) -> Closed:
        """What later calls raise."""
        return Closed(f"the storage on bucket {self._settings.config.bucket!r} was closed; open it again")

    async def close(self) -> None:
        """Close the client; idempotent."""
        self._closed = True
        with self._lock_here():
            client, self._client = self._client, None
        if client is not None and client.pid == os.getpid():
            await client.close()
