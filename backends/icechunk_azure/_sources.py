"""From the credentials of a location to the source of identities."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from icechunk_azure._config import AnyAzureCredential
from icechunk_azure._identity import (
    Bearer,
    Fetched,
    FixedSource,
    RenewedSource,
    Source,
    Unsigned,
    identity_of,
)
from icechunk_azure._location import Location
from icechunk_core.clock import Clock
from icechunk_core.contract.credentials import AzureCredentials, AzureStaticCredentials
from icechunk_core.contract.errors import StorageConfigError, Unauthenticated

__all__ = ["described", "source_of"]

_SCOPE = "https://storage.azure.com/.default"


def source_of(location: Location, clock: Clock) -> Source:
    """Where the identity for a location comes from.

    Raises
    ------
    StorageConfigError
        If there is none: says how to give one.
    """
    given = location.credentials
    if isinstance(given, AzureCredentials.Anonymous):
        return FixedSource(Unsigned())
    if isinstance(given, AzureCredentials.Static):
        return FixedSource(identity_of(given.credentials, location.account))
    if isinstance(given, AzureCredentials.Refreshable):
        return _refreshable(given, location.account, clock)
    return _azure_ad(clock)


def described(given: AnyAzureCredential) -> str:
    """How requests are authenticated, in words, for messages."""
    if isinstance(given, AzureCredentials.Anonymous):
        return "anonymous access"
    if isinstance(given, AzureCredentials.Refreshable):
        return "refreshed credentials"
    if isinstance(given, AzureCredentials.FromEnv):
        return "Azure AD, through azure-identity"
    static = given.credentials
    if isinstance(static, AzureStaticCredentials.AccessKey):
        return "the account's access key"
    if isinstance(static, AzureStaticCredentials.SasToken):
        return _sas_description(static.token)
    return "a bearer token"


def _sas_description(token: str) -> str:
    """Says until when a SAS token is valid, which is no secret, if it tells."""
    fields = dict(part.partition("=")[::2] for part in token.lstrip("?").split("&"))
    end = fields.get("se", "").replace("%3A", ":").replace("%3a", ":")
    return f"a SAS token that is valid until {end}" if end else "a SAS token"


def _refreshable(given: AzureCredentials.Refreshable, account: str, clock: Clock) -> Source:
    def fetch() -> Fetched:
        return _fetched(given.fetch(), account)

    held = None if given.current is None else _fetched(given.current, account)
    return RenewedSource(fetch, clock, held)


def _fetched(value: Any, account: str) -> Fetched:
    end: datetime | None = getattr(value, "expires_after", None)
    return Fetched(identity_of(value, account), end)


def _azure_ad(clock: Clock) -> Source:
    """Tokens from ``azure-identity``: managed and workload identity, environment, ``az login``."""
    if find_spec("azure.identity") is None:
        raise StorageConfigError(
            "no credentials for Azure were given, and the environment has none: give access_key, sas_token "
            "or anonymous=true, set AZURE_STORAGE_ACCOUNT_KEY, or pip install azure-identity for Azure AD"
        )
    credential: Any = None

    def fetch() -> Fetched:
        nonlocal credential
        identity = import_module("azure.identity")
        if credential is None:
            credential = identity.DefaultAzureCredential()
        try:
            token = credential.get_token(_SCOPE)
        except Exception as error:
            raise Unauthenticated(
                f"azure-identity found no token ({type(error).__name__}); log in with 'az login', or set "
                "AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET"
            ) from error
        return Fetched(Bearer(token.token), datetime.fromtimestamp(token.expires_on, UTC))

    return RenewedSource(fetch, clock)
