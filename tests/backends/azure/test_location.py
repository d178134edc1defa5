"""Where URLs, options and the environment lead."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import pytest
from attrs import evolve

from icechunk_azure._config import AzureConfig
from icechunk_azure._location import EMULATOR_KEY, Location, locate
from icechunk_azure._sources import described
from icechunk_core.contract.credentials import AzureCredentials, AzureStaticCredentials
from icechunk_core.contract.errors import StorageConfigError
from icechunk_core.storage import azure_storage, storage_from_url

KEY = "a2V5LW9mLXRoZS1hY2NvdW50"
STATIC = AzureStaticCredentials


def _located(environment: dict[str, str] | None = None, **options: Any) -> Location:
    return locate(AzureConfig(**{"container": "box", **options}), environment or {})


@pytest.mark.parametrize(
    ("url", "container", "prefix", "endpoint"),
    [
        ("az://box/a/b?account=acc", "box", "a/b", "https://acc.blob.core.windows.net"),
        ("azure://box?account=acc", "box", "", "https://acc.blob.core.windows.net"),
        ("abfs://box/a?account=acc", "box", "a", "https://acc.blob.core.windows.net"),
        ("abfs://box@acc.dfs.core.windows.net/a/b/", "box", "a/b", "https://acc.blob.core.windows.net"),
        ("abfss://box@acc.blob.core.windows.net/a", "box", "a", "https://acc.blob.core.windows.net"),
        ("abfss://box@acc.dfs.core.chinacloudapi.cn", "box", "", "https://acc.blob.core.chinacloudapi.cn"),
        ("abfs://box@acc/a%20b", "box", "a b", "https://acc.blob.core.windows.net"),
        ("az://$web/a?account=acc", "$web", "a", "https://acc.blob.core.windows.net"),
    ],
)
def test_urls(url: str, container: str, prefix: str, endpoint: str) -> None:
    """Every documented form of a URL names container, prefix and account."""
    config = storage_from_url(url, access_key=KEY).config
    location = locate(config, {})
    assert (location.container, location.prefix) == (container, prefix)
    assert (location.account, location.endpoint) == ("acc", endpoint)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("az:///prefix?account=acc", "no container"),
        ("az://box/prefix", "AZURE_STORAGE_ACCOUNT_NAME"),
        ("az://acc.blob.core.windows.net/box", "abfs://container@account"),
        ("abfs://box:word@acc.dfs.core.windows.net/p", "no credentials into the URL"),
        ("az://box/p?account=acc&endpoint_url=ftp://somewhere", "must be a URL"),
        ("az://box/p?account=acc&endpoint_url=http://somewhere", "allow_http"),
        ("az://box/p?account=acc&endpoint_url=https://u:p@somewhere", "credentials"),
        ("az://box/p?acount=acc", "did you mean 'account'"),
    ],
)
def test_wrong_urls(url: str, says: str) -> None:
    """A URL that leads nowhere is refused at open, with what to write instead."""
    with pytest.raises(StorageConfigError, match=says):
        storage_from_url(url, access_key=KEY)


def test_http_on_this_machine_and_when_allowed() -> None:
    """Unencrypted endpoints are for this machine, or need leave."""
    assert _located(account="acc", access_key=KEY, endpoint_url="http://localhost:1/acc")
    assert _located(account="acc", access_key=KEY, endpoint_url="http://far/acc", allow_http=True)
    with pytest.raises(StorageConfigError, match="https only"):
        _located(account="acc", bearer_token="token", endpoint_url="http://localhost:1/acc")


def test_one_way_of_authenticating() -> None:
    """Two credentials are an error that names both options and shows neither value."""
    with pytest.raises(StorageConfigError, match="access_key and sas_token") as caught:
        _located(account="acc", access_key=KEY, sas_token="sig=hidden")
    assert KEY not in str(caught.value)
    assert "hidden" not in str(caught.value)
    with pytest.raises(StorageConfigError, match="connection string and another credential"):
        _located(connection_string=f"AccountName=acc;AccountKey={KEY}", anonymous=True)


@pytest.mark.parametrize(
    ("options", "endpoint", "credential"),
    [
        (f"AccountName=acc;AccountKey={KEY}", "https://acc.blob.core.windows.net", STATIC.AccessKey(KEY)),
        (
            f"DefaultEndpointsProtocol=https;AccountName=acc;AccountKey={KEY};EndpointSuffix=core.chinacloudapi.cn",
            "https://acc.blob.core.chinacloudapi.cn",
            STATIC.AccessKey(KEY),
        ),
        (
            "BlobEndpoint=https://acc.blob.core.windows.net/;SharedAccessSignature=sv=1&sig=x%3D",
            "https://acc.blob.core.windows.net",
            STATIC.SasToken("sv=1&sig=x%3D"),
        ),
        (
            "UseDevelopmentStorage=true",
            "http://127.0.0.1:10000/devstoreaccount1",
            STATIC.AccessKey(EMULATOR_KEY),
        ),
    ],
)
def test_connection_strings(options: str, endpoint: str, credential: Any) -> None:
    """A connection string names endpoint, account and credential, from an option or the environment."""
    for location in (
        _located(connection_string=options),
        _located({"AZURE_STORAGE_CONNECTION_STRING": options}),
    ):
        assert location.endpoint == endpoint
        assert location.credentials == AzureCredentials.Static(credential)
        assert location.account in ("acc", "devstoreaccount1")


@pytest.mark.parametrize("text", ["nonsense", "AccountKey=x;;=", "a=b"])
def test_malformed_connection_strings(text: str) -> None:
    """A malformed connection string is refused without being shown."""
    with pytest.raises(StorageConfigError, match="connection string") as caught:
        _located(connection_string=text)
    assert text not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "credential"),
    [
        ("AZURE_STORAGE_ACCOUNT_KEY", STATIC.AccessKey("value")),
        ("AZURE_STORAGE_ACCESS_KEY", STATIC.AccessKey("value")),
        ("AZURE_STORAGE_SAS_TOKEN", STATIC.SasToken("value")),
        ("AZURE_STORAGE_TOKEN", STATIC.BearerToken("value")),
    ],
)
def test_environment(name: str, credential: Any) -> None:
    """Without a credential, and with ``from_env``, the documented variables are read."""
    environment = {"AZURE_STORAGE_ACCOUNT_NAME": "acc", name: "value"}
    for options in ({}, {"from_env": True}, {"credentials": AzureCredentials.FromEnv()}):
        assert _located(environment, **options).credentials == AzureCredentials.Static(credential)
    given = _located(environment, anonymous=True)
    assert given.credentials == AzureCredentials.Anonymous()
    assert given.account == "acc"


def test_nothing_to_authenticate_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any credential, and without azure-identity, opening says what can be done."""
    monkeypatch.setattr("icechunk_azure._sources.find_spec", lambda name: None)
    with pytest.raises(StorageConfigError, match="pip install azure-identity"):
        storage_from_url("az://box/p?account=acc")


def test_options_by_the_clients_names() -> None:
    """``config`` takes the names of Icechunk's client options; explicit options win over them."""
    location = _located(
        config={
            "azure_storage_account_name": "acc",
            "AZURE_STORAGE_ENDPOINT": "http://far:1/acc",
            "allow_http": "true",
            "azure_storage_account_key": KEY,
            "disable_tagging": "true",
        }
    )
    assert (location.account, location.endpoint) == ("acc", "http://far:1/acc")
    assert location.credentials == AzureCredentials.Static(STATIC.AccessKey(KEY))
    assert _located(account="mine", access_key=KEY, config={"account_name": "other"}).account == "mine"
    assert _located(config={"use_emulator": "true"}).account == "devstoreaccount1"


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"azure_storage_acount": "x"}, "no option 'azure_storage_acount'"),
        ({"allow_http": "perhaps"}, "true or false"),
        ({"connect_timeout": "soon"}, "'30s'"),
        ({"azure_client_secret": "hidden"}, "AZURE_CLIENT_SECRET"),
    ],
)
def test_wrong_client_options(config: dict[str, str], says: str) -> None:
    """An option of ``config`` that is not known is refused: it could be the one that protects the data."""
    with pytest.raises(StorageConfigError, match=says) as caught:
        _located(account="acc", access_key=KEY, config=config)
    assert "hidden" not in str(caught.value)


def test_constructor_and_url_are_one() -> None:
    """`azure_storage` with Icechunk's arguments opens what the URL opens."""
    made = azure_storage(account="acc", container="box", prefix="a/b", access_key=KEY)
    assert locate(made.config, {}) == locate(
        storage_from_url("az://box/a/b?account=acc", access_key=KEY).config, {}
    )


def test_configurations_pickle_and_hide_secrets() -> None:
    """A configuration pickles, compares by value, and its ``repr`` shows no secret."""
    config = AzureConfig(container="box", account="acc", access_key=KEY, config={"account_key": "other"})
    assert pickle.loads(pickle.dumps(config)) == config
    assert evolve(config, account="b") != config
    assert KEY not in repr(config)
    assert "other" not in repr(config)
    storage = storage_from_url("az://box/p?account=acc", access_key=KEY)
    assert pickle.loads(pickle.dumps(storage)) == storage
    assert KEY not in repr(storage)


def test_ways_are_described_without_secrets() -> None:
    """Messages say how a request was authenticated, and until when a SAS token is valid."""
    way = described(AzureCredentials.Static(STATIC.SasToken("?se=2026-01-31T10%3A00Z&sig=hidden")))
    assert way == "a SAS token that is valid until 2026-01-31T10:00Z"
    assert "access key" in described(AzureCredentials.Static(STATIC.AccessKey(KEY)))


def test_an_access_key_that_is_none() -> None:
    """A key that is not base64 is refused when the storage is opened, not by a failing request."""
    with pytest.raises(StorageConfigError, match="not base64") as caught:
        storage_from_url("az://box/p?account=acc", access_key="not a key!")
    assert "not a key!" not in str(caught.value)


def test_the_plugin_module_imports_no_sdk() -> None:
    """Discovery of the plugin loads neither the SDK nor an HTTP client."""
    program = (
        "import sys, icechunk_azure.plugin; "
        "print(sorted({'azure.core', 'azure.storage.blob', 'aiohttp'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
