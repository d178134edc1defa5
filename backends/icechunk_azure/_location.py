"""Where a configuration leads, and with which credential: decided once, at open, without I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias
from urllib.parse import urlsplit

from attrs import evolve, field, frozen

from icechunk_azure._config import AnyAzureCredential, AzureConfig
from icechunk_azure._options import with_client_options
from icechunk_core.contract.credentials import AzureCredentials, AzureStaticCredentials
from icechunk_core.contract.errors import StorageConfigError

__all__ = ["Location", "locate"]

EMULATOR_ACCOUNT = "devstoreaccount1"
# Azurite's documentation publishes it; it opens nothing else.
EMULATOR_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
EMULATOR_ENDPOINT = "http://127.0.0.1:10000/devstoreaccount1"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

Environment: TypeAlias = Mapping[str, str]


@frozen
class Location:
    """A container's address and the way to authenticate there.

    Attributes
    ----------
    endpoint
        Of the blob service, without a slash at the end.
    credentials
        A value of the contract; ``FromEnv`` means that the environment has no credential, and
        ``azure-identity`` is to be asked.
    """

    account: str
    endpoint: str
    container: str
    prefix: str
    credentials: AnyAzureCredential = field()

    @property
    def host(self) -> str:
        """Host of the endpoint, with its port if it has one."""
        return urlsplit(self.endpoint).netloc

    def __str__(self) -> str:
        return f"container {self.container!r} of account {self.account!r} at {self.host}"


def locate(config: AzureConfig, environment: Environment) -> Location:
    """The location that a configuration, completed from the environment, names.

    Raises
    ------
    StorageConfigError
        If something is missing or contradicts something else; never shows a secret.
    """
    config = with_client_options(config)
    if not config.container:
        raise StorageConfigError("the URL names no container; write az://container/prefix")
    if config.emulator or environment.get("AZURE_STORAGE_USE_EMULATOR", "").lower() in ("1", "true"):
        config = _with_emulator(config, environment)
    credentials = _chosen(config)
    asks = credentials is None or isinstance(credentials, AzureCredentials.FromEnv)
    text = config.connection_string
    if text is None and asks and not config.endpoint_url:
        text = environment.get("AZURE_STORAGE_CONNECTION_STRING")
    if text:
        config, credentials = _with_connection_string(config, text, credentials)
        asks = isinstance(credentials, AzureCredentials.FromEnv)
    if asks:
        credentials = _from_environment(environment)
    return _located(config, environment, credentials or AzureCredentials.FromEnv())


def _located(config: AzureConfig, environment: Environment, credentials: AnyAzureCredential) -> Location:
    given = (
        config.endpoint_url
        or environment.get("AZURE_STORAGE_ENDPOINT")
        or environment.get("AZURE_ENDPOINT")
        or ""
    )
    account = (
        config.account
        or _account_of(given)
        or environment.get("AZURE_STORAGE_ACCOUNT_NAME")
        or environment.get("AZURE_STORAGE_ACCOUNT")
    )
    if not account:
        raise StorageConfigError(
            "no storage account is named; give the option 'account', set AZURE_STORAGE_ACCOUNT_NAME, "
            "or write abfs://container@account.dfs.core.windows.net/prefix"
        )
    endpoint = (given or f"https://{account}.blob.core.windows.net").rstrip("/")
    _check_endpoint(endpoint, config, credentials)
    return Location(account, endpoint, config.container, config.prefix, credentials)


def _check_endpoint(endpoint: str, config: AzureConfig, credentials: AnyAzureCredential) -> None:
    try:
        parts = urlsplit(endpoint)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        raise StorageConfigError("the endpoint must be a URL such as https://account.blob.core.windows.net")
    if parts.username or parts.password:
        raise StorageConfigError("the endpoint must not contain credentials; give them as options")
    if parts.scheme == "https":
        return
    if not config.allow_http and host not in _LOOPBACK:
        raise StorageConfigError(
            f"the endpoint {endpoint!r} is not encrypted; use https, or give allow_http=true"
        )
    static = credentials.credentials if isinstance(credentials, AzureCredentials.Static) else None
    if isinstance(static, AzureStaticCredentials.BearerToken):
        raise StorageConfigError("bearer tokens are sent over https only; change the endpoint")


def _account_of(endpoint: str) -> str | None:
    """The account in an endpoint: its first label, or the path of one without a domain."""
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    if ".blob." in host:
        return host.partition(".")[0]
    return parts.path.strip("/").partition("/")[0] or None


# --- credentials -------------------------------------------------------------


def _chosen(config: AzureConfig) -> AnyAzureCredential | None:
    """The one way of authenticating that the options give, if they do."""
    static = AzureStaticCredentials
    ways: dict[str, AnyAzureCredential] = {}
    if config.credentials is not None:
        ways["credentials"] = config.credentials
    if config.access_key:
        ways["access_key"] = AzureCredentials.Static(static.AccessKey(config.access_key))
    if config.sas_token:
        ways["sas_token"] = AzureCredentials.Static(static.SasToken(config.sas_token))
    if config.bearer_token:
        ways["bearer_token"] = AzureCredentials.Static(static.BearerToken(config.bearer_token))
    if config.anonymous:
        ways["anonymous"] = AzureCredentials.Anonymous()
    if config.from_env:
        ways["from_env"] = AzureCredentials.FromEnv()
    if len(ways) > 1:
        raise StorageConfigError(f"{' and '.join(ways)} are given; give one way of authenticating")
    return next(iter(ways.values()), None)


def _from_environment(environment: Environment) -> AnyAzureCredential:
    static = AzureStaticCredentials
    for name in ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_KEY"):
        if environment.get(name):
            return AzureCredentials.Static(static.AccessKey(environment[name]))
    for name in ("AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY"):
        if environment.get(name):
            return AzureCredentials.Static(static.SasToken(environment[name]))
    if environment.get("AZURE_STORAGE_TOKEN"):
        return AzureCredentials.Static(static.BearerToken(environment["AZURE_STORAGE_TOKEN"]))
    return AzureCredentials.FromEnv()


def _with_emulator(config: AzureConfig, environment: Environment) -> AzureConfig:
    if _chosen(config) is None:
        config = evolve(config, access_key=EMULATOR_KEY)
    endpoint = config.endpoint_url or environment.get("AZURITE_BLOB_STORAGE_URL") or EMULATOR_ENDPOINT
    return evolve(config, account=config.account or EMULATOR_ACCOUNT, endpoint_url=endpoint)


def _with_connection_string(
    config: AzureConfig, text: str, credentials: AnyAzureCredential | None
) -> tuple[AzureConfig, AnyAzureCredential]:
    """What a connection string adds; the options that are given besides win, except for a credential."""
    pairs = [part.partition("=") for part in text.strip().strip(";").split(";")]
    if not all(separator for _, separator, _ in pairs):
        raise StorageConfigError("the connection string is malformed; copy it from the account's portal page")
    found = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if found.get("usedevelopmentstorage", "").lower() == "true":
        config = _with_emulator(config, {})
        return evolve(config, access_key=None), credentials or AzureCredentials.Static(
            AzureStaticCredentials.AccessKey(EMULATOR_KEY)
        )
    account = config.account or found.get("accountname")
    endpoint = config.endpoint_url or found.get("blobendpoint")
    if endpoint is None and account:
        protocol = found.get("defaultendpointsprotocol", "https")
        endpoint = f"{protocol}://{account}.blob.{found.get('endpointsuffix', 'core.windows.net')}"
    if endpoint is None:
        raise StorageConfigError("the connection string has neither AccountName nor BlobEndpoint")
    if "accountkey" in found:
        own: AnyAzureCredential = AzureCredentials.Static(
            AzureStaticCredentials.AccessKey(found["accountkey"])
        )
    elif "sharedaccesssignature" in found:
        own = AzureCredentials.Static(AzureStaticCredentials.SasToken(found["sharedaccesssignature"]))
    else:
        own = AzureCredentials.Anonymous()
    if credentials is not None and not isinstance(credentials, AzureCredentials.FromEnv):
        raise StorageConfigError(
            "a connection string and another credential are given; give one way of authenticating"
        )
    return evolve(config, account=account, endpoint_url=endpoint), own
