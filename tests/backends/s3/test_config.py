"""URLs, constructors and options; which server is assumed, and where requests without the SDK go."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import icechunk_core as ic
from icechunk_core.contract import Storage
from icechunk_core.contract.errors import StorageConfigError
from icechunk_s3._addresses import plain_address
from icechunk_s3._config import S3Config
from icechunk_s3._quirks import profile_of

KEYS = {"access_key_id": "id", "secret_access_key": "secret"}


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith(("_proxy", "ca_bundle")) or name.startswith("AWS_"):
            monkeypatch.delenv(name)


def test_urls() -> None:
    """Bucket and prefix are the address, everything else is an option; percent-encoding is undone."""
    storage = ic.storage_from_url("s3://my-bucket/a%20b/c/?region=eu-west-1&anonymous=true&max_attempts=3")
    config = storage.config
    assert (config.bucket, config.prefix, config.region) == ("my-bucket", "a b/c", "eu-west-1")
    assert (config.anonymous, config.max_attempts) == (True, 3)
    assert ic.storage_from_url("s3://my-bucket").config.prefix == ""


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s3:///prefix", "names no bucket"),
        ("s3://key:hunter2@bucket/prefix", "must not contain credentials"),
        ("s3://bucket/p?endpoint_url=http://localhost:9000", "allow_http"),
        ("s3://bucket/p?endpoint_url=localhost:9000", "URL such as"),
        ("s3://bucket/p?quirks=strange", "quirks"),
        ("s3://bucket/p?regoin=x", "'region'"),
        ("s3://bucket/p?multipart_part_size=5", "multipart_part_size"),
        ("s3://bucket/p?checksum_algorithm=md5", "checksum_algorithm"),
        ("s3://bucket/p?legacy_rooted_keys=true", "empty prefix"),
        ("r2://bucket/p", "account_id"),
        ("tigris://bucket/p", "region"),
        ("hf://namespace", "hf://namespace/bucket"),
    ],
)
def test_wrong_urls(url: str, says: str) -> None:
    """What is wrong is named; no secret shows."""
    with pytest.raises(StorageConfigError, match=says) as raised:
        ic.storage_from_url(url)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("open_it", "address", "quirks", "style"),
    [
        (lambda: ic.s3_storage(bucket="b", prefix="p", **KEYS), None, "aws", False),
        (
            lambda: ic.s3_storage(bucket="b", prefix="p", endpoint_url="http://h:1", allow_http=True),
            "http://h:1",
            "generic",
            True,
        ),
        (
            lambda: ic.r2_storage(prefix="b/p", account_id="a", **KEYS),
            "https://a.r2.cloudflarestorage.com",
            "r2",
            True,
        ),
        (
            lambda: ic.storage_from_url("r2://b/p?account_id=a"),
            "https://a.r2.cloudflarestorage.com",
            "r2",
            True,
        ),
        (
            lambda: ic.tigris_storage(bucket="b", prefix="p", region="iad", **KEYS),
            "https://t3.storage.dev",
            "tigris",
            False,
        ),
        (
            lambda: ic.hf_storage(bucket="b", prefix="p", namespace="n", **KEYS),
            "https://s3.hf.co/n",
            "generic",
            True,
        ),
        (lambda: ic.storage_from_url("hf://n/b/p"), "https://s3.hf.co/n", "generic", True),
    ],
)
def test_services(open_it: Callable[[], Storage], address: str | None, quirks: str, style: bool) -> None:
    """Constructors and URLs of each service give its address and what is special about it."""
    storage = open_it()
    config = storage.config
    assert (config.bucket, config.prefix) == ("b", "p")
    assert (config.address, config.server().name, config.path_style) == (address, quirks, style)
    assert storage.capabilities.commit_safe
    assert pickle.loads(pickle.dumps(storage)) == storage


def test_weak_consistency_is_read_only() -> None:
    """Tigris's nearest region may be behind: nothing is written from there."""
    storage = ic.tigris_storage(bucket="b", prefix="p", use_weak_consistency=True)
    assert storage.capabilities.read_only


def test_google_through_s3_has_no_conditional_writes() -> None:
    """The capability is not declared where the server has none, unless the user says otherwise."""
    url = "s3://b/p?endpoint_url=https://storage.googleapis.com"
    assert not ic.storage_from_url(url).capabilities.commit_safe
    assert ic.storage_from_url(url + "&conditional_put=true").capabilities.commit_safe


@pytest.mark.parametrize(
    ("endpoint", "name"),
    [
        (None, "aws"),
        ("https://s3.eu-west-1.amazonaws.com", "aws"),
        ("https://notamazonaws.com", "generic"),
        ("https://fly.storage.tigris.dev", "tigris"),
        ("https://abc.eu.r2.cloudflarestorage.com", "r2"),
    ],
)
def test_profiles_by_endpoint(endpoint: str | None, name: str) -> None:
    """The server is known by its host name."""
    assert profile_of(endpoint).name == name


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, "https://my-bucket.s3.eu-west-1.amazonaws.com"),
        ({"force_path_style": True}, "https://s3.eu-west-1.amazonaws.com/my-bucket"),
        ({"bucket": "dotted.name"}, None),
        ({"bucket": "express--use1-az4--x-s3"}, None),
        ({"region": "us-gov-west-1"}, None),
        ({"region": "cn-north-1"}, None),
        ({"endpoint_url": "https://host:9000/base/"}, "https://host:9000/base/my-bucket"),
        ({"endpoint_url": "https://host:9000", "force_path_style": False}, "https://my-bucket.host:9000"),
        ({"endpoint_url": "https://1.2.3.4", "force_path_style": False}, None),
        ({"endpoint_url": "https://host", "bucket": "arn:aws:s3:::x"}, None),
    ],
)
def test_addresses(options: dict[str, Any], url: str | None) -> None:
    """Only plain cases are sent without the SDK; for the others there is no address."""
    config = S3Config(**{"bucket": "my-bucket", "region": "eu-west-1", **options})
    assert plain_address(config, config.region or "", {}) == url


def test_what_only_the_sdk_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies, own certificates and endpoints of the environment or of a profile are left to the SDK."""
    config = S3Config(bucket="my-bucket")
    assert plain_address(config, "eu-west-1", {}) is not None
    assert plain_address(config, "eu-west-1", {"endpoint_url": "https://own"}) is None
    for name, value in (
        ("HTTPS_PROXY", "http://proxy:3128"),
        ("AWS_ENDPOINT_URL_S3", "https://own"),
        ("AWS_CA_BUNDLE", "/own.pem"),
    ):
        with monkeypatch.context() as environment:
            environment.setenv(name, value)
            assert plain_address(config, "eu-west-1", {}) is None
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "amazonaws.com")
    assert plain_address(config, "eu-west-1", {}) is not None
