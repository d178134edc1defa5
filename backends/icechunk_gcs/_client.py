"""What a storage holds open: tokens, connections and threads, made anew in a forked child."""

from __future__ import annotations

import os

from icechunk_core.clock import Clock
from icechunk_gcs._lean import LeanTransport
from icechunk_gcs._operations import Operations
from icechunk_gcs._replies import Reply
from icechunk_gcs._requests import Request
from icechunk_gcs._session import SignedSession
from icechunk_gcs._settings import Settings
from icechunk_gcs._threads import Threads
from icechunk_gcs._tokens import Tokens

__all__ = ["Client"]

_of_the_parent: list[Client] = []
"""Clients that were inherited by a fork: kept, since closing them would end the parent's connections."""


class Client:
    """One process's connections to one bucket."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.pid = os.getpid()
        self._config = settings.config
        tokens = Tokens(settings, clock)
        self._session = SignedSession(settings, tokens)
        self.operations = Operations(settings, self._session)
        self.threads = Threads(settings.config.concurrency)
        self._lean = LeanTransport(settings, tokens, self.threads) if settings.config.lean else None

    async def send(self, request: Request, patience: float) -> Reply:
        """Carry out a plain request, within that many seconds where the session has no limit of its own."""
        if self._lean is not None:
            return await self._lean.send(request)
        return await self.threads.run(patience, self._session.send_plain, request)

    def abandon(self) -> None:
        """Forget about a client that belongs to the parent process."""
        _of_the_parent.append(self)

    async def close(self) -> None:
        """Close the connections; calls that are under way come to their end."""
        if self._lean is not None:
            await self._lean.close()
        self.threads.shutdown()
        self._session.close()
