"""`StorageConfig`, `StoreConfig`, `VirtualRefConfig` and `S3Credentials`."""

from __future__ import annotations

import pickle
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from icechunk_core import (
    IcechunkStore,
    Repository,
    S3Credentials,
    S3StaticCredentials,
    StorageConfig,
    StoreConfig,
    VirtualRefConfig,
)
from icechunk_core.errors import PluginError
from tests.classic.helpers import make_array, values, write_chunk

SECRETS = ("hidden-key", "hidden-token")
KEY = S3Credentials("id", "hidden-key", "hidden-token")
ENVIRONMENT = ("AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP", "AWS_REGION", "AWS_DEFAULT_REGION")

Maker = Callable[..., StorageConfig]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing about S3 in the environment."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)


# --- StorageConfig -------------------------------------------------------------


def test_each_memory_is_its_own() -> None:
    """Stores of one configuration share its memory; another one with the same prefix is empty."""
    one, other = StorageConfig.memory("prefix"), StorageConfig.memory("prefix")
    store = IcechunkStore.create(one)
    make_array(store)
    store.commit("array")
    assert values(IcechunkStore.open_existing(one)) == [0, 0, 0, 0]
    with pytest.raises(ValueError, match="no repository"):
        IcechunkStore.open_existing(other)


def test_filesystem(tmp_path: Path) -> None:
    """The root may be a text or a path; equal roots are the same repository; an empty root is refused."""
    IcechunkStore.create(StorageConfig.filesystem(str(tmp_path / "r")))
    assert IcechunkStore.open_existing(StorageConfig.filesystem(tmp_path / "r")).branch == "main"
    assert (tmp_path / "r" / "repo").is_file()
    with pytest.raises(ValueError, match="'root'"):
        StorageConfig.filesystem("")


def makers() -> list[Any]:
    return [
        pytest.param(StorageConfig.s3_from_env, id="env"),
        pytest.param(StorageConfig.s3_anonymous, id="anonymous"),
        pytest.param(
            lambda bucket, prefix, *args, **kwargs: StorageConfig.s3_from_config(
                bucket, prefix, KEY, *args, **kwargs
            ),
            id="config",
        ),
    ]


@pytest.mark.parametrize("make", makers())
def test_s3(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each S3 configuration shows its bucket; where the SDK is missing, opening it says what to install."""
    monkeypatch.setitem(sys.modules, "aiobotocore", None)
    config = make("bucket", "prefix", "http://localhost:9000", True, "eu-west-1")
    assert "bucket" in repr(config)
    with pytest.raises(PluginError, match=r"pip install 'icechunk-core\[s3\]'") as raised:
        IcechunkStore.open_or_create(storage=config)
    assert not any(secret in repr(config) + str(raised.value) for secret in SECRETS)


@pytest.mark.parametrize("make", makers())
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", "prefix"), "'bucket'"),
        ((None, "prefix"), "'bucket'"),
        (("bucket", 1), "'prefix'"),
        (("bucket", "prefix", "localhost:9000"), "'endpoint_url'"),
        (("bucket", "prefix", "http://localhost:9000"), "allow_http"),
        (("bucket", "prefix", "https://user:hidden-key@host"), "must not contain credentials"),
        (("bucket", "prefix", None, False, ""), "'region'"),
    ],
)
def test_wrong_s3_options(make: Maker, arguments: tuple[Any, ...], message: str) -> None:
    """A wrong option is refused at once by its name, without showing secrets."""
    with pytest.raises(ValueError, match=message) as raised:
        make(*arguments)
    assert not any(secret in str(raised.value) for secret in SECRETS)


def test_s3_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """``from_env`` reads endpoint, region and permission for http; arguments win; others ignore it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:9000")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_REGION", "from-env")
    assert "http://localhost:9000" in repr(StorageConfig.s3_from_env("b", "p"))
    assert "from-env" in repr(StorageConfig.s3_from_env("b", "p"))
    assert "from-env" not in repr(StorageConfig.s3_from_env("b", "p", region="mine"))
    assert "localhost" not in repr(StorageConfig.s3_from_config("b", "p", KEY)) + repr(
        StorageConfig.s3_anonymous("b", "p")
    )


@pytest.mark.parametrize("build", [StorageConfig.s3_from_config, VirtualRefConfig.s3_from_config])
def test_wrong_credentials(build: Callable[..., Any]) -> None:
    """What are no S3 credentials is refused by type, not shown."""
    location = () if build == VirtualRefConfig.s3_from_config else ("bucket", "prefix")
    with pytest.raises(ValueError, match="'credentials' must be S3Credentials, not str") as raised:
        build(*location, "hidden-key")
    assert "hidden-key" not in str(raised.value)


# --- S3Credentials -------------------------------------------------------------


def test_credentials() -> None:
    """Called with a key, `S3Credentials` is the static one; its members are there; secrets do not show."""
    same = S3Credentials(access_key_id="id", secret_access_key="hidden-key", session_token="hidden-token")
    assert same == KEY
    assert S3Credentials.Static(S3StaticCredentials("id", "hidden-key", "hidden-token")) == KEY
    assert isinstance(KEY, S3Credentials)
    assert isinstance(S3Credentials.FromEnv(), S3Credentials)
    assert S3Credentials("id", "k").credentials.session_token is None
    assert not any(secret in repr(KEY) + str(KEY) for secret in SECRETS)
    assert pickle.loads(pickle.dumps(KEY)) == KEY


def test_both_forms_of_credentials() -> None:
    """A configuration takes the plain static key as well."""
    key = S3StaticCredentials("id", "hidden-key", "hidden-token")
    assert VirtualRefConfig.s3_from_config(key) == VirtualRefConfig.s3_from_config(KEY)
    assert repr(StorageConfig.s3_from_config("b", "p", key)) == repr(
        StorageConfig.s3_from_config("b", "p", KEY)
    )


# --- VirtualRefConfig ----------------------------------------------------------


def test_virtual_ref_config(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each constructor gives an `S3` with its options; ``s3_from_env`` reads the environment."""
    config = VirtualRefConfig.s3_from_config(
        KEY, endpoint_url="http://localhost:9000", allow_http=True, region="here"
    )
    assert isinstance(config.s3, VirtualRefConfig.S3)
    assert (config.s3.credentials, config.s3.endpoint_url) == (KEY, "http://localhost:9000")
    assert (config.s3.allow_http, config.s3.region) == (True, "here")
    assert VirtualRefConfig.s3_anonymous(region="here").s3 == VirtualRefConfig.S3(
        S3Credentials.Anonymous(), region="here"
    )
    assert VirtualRefConfig.s3_from_env().s3 == VirtualRefConfig.S3(S3Credentials.FromEnv())
    monkeypatch.setenv("AWS_DEFAULT_REGION", "from-env")
    assert VirtualRefConfig.s3_from_env().s3.region == "from-env"
    assert not any(secret in repr(config) for secret in SECRETS)
    assert pickle.loads(pickle.dumps(config)) == config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"endpoint_url": "localhost"}, "'endpoint_url'"),
        ({"endpoint_url": "http://localhost"}, "allow_http"),
        ({"endpoint_url": "https://u:hidden-key@host"}, "must not contain credentials"),
        ({"region": ""}, "'region'"),
    ],
)
def test_wrong_virtual_ref_config(options: dict[str, Any], message: str) -> None:
    """Wrong options are refused at once by name, without showing secrets."""
    for build in (
        VirtualRefConfig.s3_anonymous,
        lambda **given: VirtualRefConfig.s3_from_config(KEY, **given),
    ):
        with pytest.raises(ValueError, match=message) as raised:
            build(**options)
        assert not any(secret in str(raised.value) for secret in SECRETS)


# --- StoreConfig ---------------------------------------------------------------


def test_store_config() -> None:
    """All parameters are optional, kept as attributes, by keyword or position, and show without secrets."""
    virtual = VirtualRefConfig.s3_from_config(KEY)
    with pytest.warns(UserWarning, match="unsafe_overwrite_refs"):
        config = StoreConfig(4, 100, False, virtual)
    assert config.get_partial_values_concurrency == 4
    assert config.inline_chunk_threshold_bytes == 100
    assert config.unsafe_overwrite_refs is False
    assert config.virtual_ref_config == virtual
    assert repr(StoreConfig()) == "StoreConfig()"
    assert "inline_chunk_threshold_bytes=100" in repr(config)
    assert not any(secret in repr(config) for secret in SECRETS)
    assert StoreConfig(inline_chunk_threshold_bytes=1) == StoreConfig(None, 1) != StoreConfig()


def test_unsafe_overwrite_refs_warns() -> None:
    """Only who sets it is told that it has no effect."""
    with pytest.warns(UserWarning, match="no effect"):
        StoreConfig(unsafe_overwrite_refs=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        StoreConfig()


@pytest.mark.parametrize(
    "options",
    [
        {"get_partial_values_concurrency": -1},
        {"get_partial_values_concurrency": "4"},
        {"inline_chunk_threshold_bytes": -1},
        {"virtual_ref_config": {}},
    ],
)
def test_wrong_store_config(options: dict[str, Any]) -> None:
    """Values out of range or of another type are refused, naming the parameter."""
    with pytest.raises(ValueError, match=next(iter(options))):
        StoreConfig(**options)


@pytest.mark.parametrize(("threshold", "objects"), [(None, 0), (4, 0), (3, 1), (0, 1)])
def test_inline_threshold(tmp_path: Path, threshold: int | None, objects: int) -> None:
    """Chunks up to the threshold go into the manifest, larger ones into objects; it is stored."""
    storage = StorageConfig.filesystem(tmp_path / "r")
    store = IcechunkStore.create(storage, config=StoreConfig(inline_chunk_threshold_bytes=threshold))
    make_array(store)
    write_chunk(store, data=b"1234")
    store.commit("chunk")
    chunks = tmp_path / "r" / "chunks"
    assert (len(list(chunks.iterdir())) if chunks.exists() else 0) == objects
    assert Repository.open(storage.open()).config.effective_inline_threshold() == (
        512 if threshold is None else threshold
    )


def test_read_concurrency(storage: StorageConfig) -> None:
    """So many values are read at once as configured; 10 if nothing is, and what was stored at creation."""
    assert IcechunkStore.create(StorageConfig.memory("x"))._session.read_concurrency == 10
    config = StoreConfig(get_partial_values_concurrency=3)
    assert IcechunkStore.create(storage, config=config)._session.read_concurrency == 3
    assert IcechunkStore.open_existing(storage)._session.read_concurrency == 3
    other = StoreConfig(get_partial_values_concurrency=5)
    assert IcechunkStore.open_existing(storage, config=other)._session.read_concurrency == 5
