"""What can be said about a bucket, and what is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from icechunk_core.contract.credentials import GcsCredentials, GcsStaticCredentials
from icechunk_core.errors import StorageConfigError
from icechunk_core.storage import gcs_storage, storage_from_url
from icechunk_gcs._config import GcsConfig
from icechunk_gcs._settings import GOOGLE, settings_of

SECRET = "ya29.a-token-to-keep"


def test_urls_name_bucket_prefix_and_options() -> None:
    """Both schemes open the same place; what is encoded in the path is decoded; queries are options."""
    storage = storage_from_url("gs://bucket/a%20b/c/?anonymous=true&concurrency=4&user_project=payer")
    config = storage.config
    assert (config.bucket, config.prefix) == ("bucket", "a b/c")
    assert (config.anonymous, config.concurrency, config.user_project) == (True, 4, "payer")
    assert (
        storage_from_url("gcs://bucket/a%20b/c?anonymous=true&concurrency=4&user_project=payer").config
        == config
    )


@pytest.mark.parametrize(
    "url",
    [
        "gs://",
        "gs://Bucket/x",
        "gs://b",
        "gs://user@bucket/x",
        "gs://127.0.0.1:4443/bucket",
        "gs://bucket/a//b",
        "gs://bucket/../b",
        "gs://bucket?concurrency=0",
        "gs://bucket?reads=other",
        "gs://bucket?endpoint_url=ftp://x",
        "gs://bucket?endpoint_url=http://user:pass@127.0.0.1",
        "gs://bucket?anonymous=true&bearer_token=x",
        "gs://bucket?nonsense=1",
    ],
)
def test_what_makes_no_sense_is_refused(url: str) -> None:
    """With an error of the configuration, before anything is sent."""
    with pytest.raises(StorageConfigError):
        storage_from_url(url)


def test_plain_http_is_for_this_machine_unless_allowed() -> None:
    """Elsewhere it has to be asked for, and credentials that were found are not sent over it."""
    with pytest.raises(StorageConfigError, match="allow_http"):
        storage_from_url("gs://bucket", endpoint_url="http://storage.example")
    storage_from_url("gs://bucket", endpoint_url="http://storage.example", allow_http=True)
    for endpoint in ("http://localhost:4443", "http://127.0.0.1:4443/", "http://[::1]:4443"):
        settings = settings_of(GcsConfig("bucket", endpoint_url=endpoint))
        assert settings.endpoint == endpoint.rstrip("/")
        assert settings.credential == GcsCredentials.Anonymous()
    given = settings_of(GcsConfig("bucket", endpoint_url="http://localhost", bearer_token=SECRET))
    assert given.credential == GcsCredentials.Static(GcsStaticCredentials.BearerToken(SECRET))


@pytest.mark.parametrize("value", ["http://gcs.test:4443", "http://gcs.test:4443/", "gcs.test:4443"])
def test_the_emulator_of_the_environment_is_used(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """STORAGE_EMULATOR_HOST with or without scheme; an address that is given wins."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", value)
    settings = settings_of(storage_from_url("gs://bucket").config)
    assert settings.endpoint == "http://gcs.test:4443"
    assert settings.credential == GcsCredentials.Anonymous()
    other = settings_of(storage_from_url("gs://bucket", endpoint_url="https://other.test").config)
    assert other.endpoint == "https://other.test"
    assert other.credential == GcsCredentials.FromEnv()


def test_google_is_read_by_xml_and_others_by_json() -> None:
    """Google's own addresses, private ones included; what is said wins."""
    assert settings_of(GcsConfig("bucket")).endpoint == GOOGLE
    assert settings_of(GcsConfig("bucket")).xml
    assert settings_of(GcsConfig("bucket", endpoint_url="https://private.googleapis.com")).xml
    assert not settings_of(GcsConfig("bucket", endpoint_url="https://googleapis.com.example")).xml
    assert settings_of(GcsConfig("bucket", endpoint_url="https://other.test", reads="xml")).xml


def test_icechunks_own_option_names_are_understood() -> None:
    """With and without the prefix ``google_``; durations with units; others are named in the error."""
    config = {"google_base_url": "https://own.test", "skip_signature": "true", "timeout": "20 seconds"}
    storage = gcs_storage(bucket="bucket", prefix="p", config={**config, "connect_timeout": "500ms"})
    settings = settings_of(storage.config)
    assert settings.endpoint == "https://own.test"
    assert settings.credential == GcsCredentials.Anonymous()
    assert (settings.config.read_timeout, settings.config.connect_timeout) == (20.0, 0.5)
    for wrong in ({"google_nonsense": "1"}, {"timeout": "soon"}):
        with pytest.raises(StorageConfigError, match="config"):
            gcs_storage(bucket="bucket", prefix="p", config=wrong)


def test_an_emulators_service_account_is_understood(tmp_path: Path) -> None:
    """One that names an address and switches authentication off, as a file and as text."""
    text = json.dumps({"gcs_base_url": "http://127.0.0.1:4443/", "disable_oauth": True})
    (tmp_path / "account.json").write_text(text)
    for options in ({"service_account_key": text}, {"service_account_file": str(tmp_path / "account.json")}):
        settings = settings_of(gcs_storage(bucket="bucket", prefix=None, **options).config)
        assert settings.endpoint == "http://127.0.0.1:4443"
        assert settings.credential == GcsCredentials.Anonymous()


@pytest.mark.parametrize(
    "options",
    [
        {"service_account_file": "/nowhere/account.json"},
        {"service_account_key": SECRET},
        {"service_account_key": json.dumps([SECRET])},
        {"headers": {"x-a": f"{SECRET}\nx"}},
        {"bearer_token": f"{SECRET}\n"},
    ],
)
def test_unusable_credentials_are_refused_without_showing_them(options: dict[str, Any]) -> None:
    """At open, in words that do not contain them."""
    with pytest.raises(StorageConfigError) as raised:
        storage_from_url("gs://bucket", **options)
    assert SECRET not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_canned_acl_among_the_headers_becomes_the_protocols() -> None:
    """JSON uploads take it by another name; the header itself would be ignored."""
    storage = storage_from_url(
        "gs://bucket", write_headers={"X-Goog-Acl": "bucket-owner-full-control", "X-B": "1"}
    )
    settings = settings_of(storage.config)
    assert settings.acl == "bucketOwnerFullControl"
    assert settings.write_headers == {"x-b": "1"}


def test_its_repr_is_what_is_unusual() -> None:
    """It stands in messages, which stay readable."""
    config = storage_from_url("gs://bucket/p", concurrency=4, anonymous=True).config
    assert repr(config) == "GcsConfig(bucket='bucket', prefix='p', anonymous=True, concurrency=4)"


def test_it_pickles_and_shows_no_secret() -> None:
    """Static credentials travel; no text form shows them."""
    storage = storage_from_url("gs://bucket/p", bearer_token=SECRET, headers={"x-secret": "hidden-too"})
    copy = pickle.loads(pickle.dumps(storage))
    assert copy == storage
    assert copy.config.bearer_token == SECRET
    for text in (repr(storage), repr(storage.config), str(settings_of(storage.config))):
        assert SECRET not in text
        assert "hidden-too" not in text
