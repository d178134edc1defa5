"""The clients of one storage: how they are made, and with which credentials."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiobotocore.session import AioSession

from icechunk_core.clock import Clock
from icechunk_core.contract.credentials import S3StaticCredentials
from icechunk_s3._addresses import plain_address
from icechunk_s3._client import Client, ObjectClient
from icechunk_s3._config import S3Config
from icechunk_s3._credentials import CredentialSource
from icechunk_s3._digests import BodyDigests
from icechunk_s3._lean import Keys, LeanClient
from icechunk_s3._loops import LoopClients
from icechunk_s3._quirks import Quirks
from icechunk_s3._sdk import SdkClient, make_session, region_of

__all__ = ["Connections"]


class Connections:
    """Clients by event loop, and the credentials that they share.

    Attributes
    ----------
    region
        What requests are signed for; known after the first one.
    """

    def __init__(self, config: S3Config, quirks: Quirks, clock: Clock) -> None:
        self._config = config
        self._quirks = quirks
        self.credentials = CredentialSource(config.signing(), clock)
        self.region = config.region
        self._clock = clock
        self._digests = BodyDigests(quirks, encrypted=not (config.address or "").startswith("http://"))
        self._clients: LoopClients[ObjectClient] = LoopClients(self._open, config.place)

    async def client(self) -> ObjectClient:
        """The running loop's client for the frequent requests."""
        return await self._clients.get()

    async def full_client(self) -> Client:
        """The running loop's client for all requests."""
        return await (await self._clients.get()).full()

    async def renew(self) -> bool:
        """Have the next request signed with new credentials, if there are any."""
        return self.credentials.drop()

    async def close(self) -> None:
        """Close all clients."""
        await self._clients.close()

    async def _open(self) -> ObjectClient:
        # Clients must not refer to this object: see LoopClients.
        config, quirks, credentials, digests = self._config, self._quirks, self.credentials, self._digests
        session = make_session(config, credentials)
        self.region = region_of(config, session)
        base = plain_address(config, self.region, session.get_scoped_config()) if config.lean else None
        if base is None:
            return await SdkClient.open(config, quirks, credentials, session)

        async def open_sdk() -> Client:
            return await SdkClient.open(config, quirks, credentials, session)

        keys = Keys(_key_from(credentials, session), credentials.anonymous)
        return await LeanClient.open(config, quirks, keys, self.region, base, self._clock, digests, open_sdk)


def _key_from(
    credentials: CredentialSource, session: AioSession
) -> Callable[[], Awaitable[S3StaticCredentials | None]]:
    """Where the key for a signature comes from: the configuration, or what the SDK finds."""
    if not credentials.from_environment:
        return credentials.current

    async def found() -> S3StaticCredentials | None:
        credentials = await session.get_credentials()
        if credentials is None:
            return None
        key = await credentials.get_frozen_credentials()
        return S3StaticCredentials(key.access_key, key.secret_key, key.token)

    return found
