"""The public constructors of storages."""

from __future__ import annotations

import importlib
import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from icechunk_core import storage as storages
from icechunk_core.contract import BackendSpec, Capabilities, Storage
from icechunk_core.contract.credentials import AnyS3Credential
from icechunk_core.credentials import (
    AzureCredentials,
    AzureStaticCredentials,
    GcsCredentials,
    GcsStaticCredentials,
    S3Credentials,
    S3StaticCredentials,
)
from icechunk_core.drive import run_direct
from icechunk_core.errors import PluginError, StorageConfigError
from icechunk_core.plugins import opening
from icechunk_core.plugins.registry import Backend
from icechunk_core.storage import (
    ChecksumAlgorithm,
    ObjectStoreConfig,
    as_storage,
    azure_storage,
    azure_store,
    gcs_storage,
    gcs_store,
    hf_storage,
    http_storage,
    http_store,
    in_memory_storage,
    local_filesystem_storage,
    local_filesystem_store,
    r2_storage,
    redirect_storage,
    s3_object_store_storage,
    s3_storage,
    s3_store,
    storage_from_url,
    tigris_storage,
)
from tests.contract.test_binding import Complete

SECRET = "hunter2-very-secret"


def renewed_credentials() -> S3StaticCredentials:
    """What a user's refresh function looks like."""
    return S3StaticCredentials("key", SECRET)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The mappings with which cloud storages were opened, in place of opening them."""
    from icechunk_core.storage import _cloud, _s3

    seen: list[dict[str, Any]] = []
    for module in (_cloud, _s3):
        monkeypatch.setattr(module, "open_storage", seen.append)
    return seen


# --- memory, filesystem, whatever names a storage ----------------------------


def test_in_memory_storages_are_their_own() -> None:
    """Two calls share nothing."""
    first, second = in_memory_storage(), in_memory_storage()
    run_direct(first.put("a", b"1"))
    assert not run_direct(second.exists("a"))


@pytest.mark.parametrize("kind", [str, Path])
def test_local_filesystem_storage_takes_text_or_path(tmp_path: Path, kind: type) -> None:
    """A directory, with the options of its backend; nothing is written by opening it."""
    storage = local_filesystem_storage(kind(tmp_path / "repo"), durable=False)
    assert not (tmp_path / "repo").exists()
    assert storage.config.durable is False
    run_direct(storage.put("a", b"1"))
    assert run_direct(storage.exists("a"))
    assert pickle.loads(pickle.dumps(storage)) == storage


@pytest.mark.parametrize("path", [5, None, "", "a\0b"])
def test_local_filesystem_storage_refuses_what_is_no_path(path: Any) -> None:
    """With an error of the configuration."""
    with pytest.raises(StorageConfigError):
        local_filesystem_storage(path)


@pytest.mark.parametrize(
    "make",
    [
        lambda root: root,
        str,
        lambda root: root.as_uri(),
        lambda root: {"scheme": "file", "root": str(root)},
        lambda root: {"url": root.as_uri()},
        local_filesystem_storage,
    ],
)
def test_as_storage_takes_all_that_names_a_storage(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    """Path, text, URL, mapping and storage open the same directory."""
    assert as_storage(make(tmp_path)) == local_filesystem_storage(tmp_path)


class StorageOfIcechunk:
    """As Icechunk's class: it has none of our hooks."""


@pytest.mark.parametrize("value", [StorageOfIcechunk(), object(), 7, None])
def test_as_storage_tells_what_is_none(value: object) -> None:
    """What names no storage, such as one of the package icechunk, is refused with what to pass instead."""
    with pytest.raises(StorageConfigError, match="functions of the same name in icechunk_core"):
        as_storage(value)


def test_as_storage_tells_paths_from_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A colon alone makes no URL, unless a known scheme stands before it."""
    monkeypatch.chdir(tmp_path)
    assert as_storage("data:2020/x") == local_filesystem_storage(tmp_path / "data:2020" / "x")
    assert as_storage("memory:as-storage") == storage_from_url("memory:as-storage")
    for url in ("s3:bucket", "unknown://bucket"):
        with pytest.raises((PluginError, StorageConfigError)):
            as_storage(url)


def test_storage_from_url_wants_a_url(tmp_path: Path) -> None:
    """A path without scheme says what a URL looks like; other types are refused."""
    with pytest.raises(StorageConfigError, match="file:///path/to/directory"):
        storage_from_url(str(tmp_path))
    with pytest.raises(StorageConfigError, match=r"text, not a (Posix|Windows)Path"):
        storage_from_url(tmp_path)  # type: ignore[arg-type]


# --- cloud storages ----------------------------------------------------------

WITHOUT_PLUGIN: list[tuple[Callable[[], Storage], str]] = [
    (lambda: s3_storage(bucket="b", prefix="p"), "s3"),
    (lambda: s3_object_store_storage(bucket="b", prefix="p"), "s3"),
    (lambda: tigris_storage(bucket="b", prefix="p", region="r"), "s3"),
    (lambda: r2_storage(bucket="b", prefix="p", account_id="a"), "s3"),
    (lambda: hf_storage(bucket="b", prefix="p", namespace="n"), "s3"),
    (lambda: gcs_storage(bucket="b", prefix="p"), "gcs"),
    (lambda: azure_storage(account="a", container="c", prefix="p"), "azure"),
    (lambda: http_storage("https://example.org/repo"), "http"),
    (lambda: redirect_storage("https://example.org/repo"), "http"),
]


@pytest.mark.parametrize(("construct", "extra"), WITHOUT_PLUGIN)
def test_without_the_plugin_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, construct: Callable[[], Storage], extra: str
) -> None:
    """Every constructor of a cloud storage names the extra when its plugin is not installed."""
    from icechunk_core.plugins import registry

    monkeypatch.setattr(registry, "candidates", list)
    monkeypatch.setattr(registry, "candidates_for", lambda _: [])
    with pytest.raises(PluginError, match=rf"pip install 'icechunk-core\[{extra}\]'"):
        construct()


def test_s3_options_reach_the_plugin(opened: list[dict[str, Any]]) -> None:
    """All arguments arrive under their names; what is at its default is left to the plugin."""
    s3_storage(
        bucket="b",
        prefix="p",
        region="eu-west-1",
        endpoint_url="http://localhost:9000",
        allow_http=True,
        access_key_id="key",
        secret_access_key=SECRET,
        session_token="token",
        force_path_style=True,
        network_stream_timeout_seconds=0,
        requester_pays=True,
        checksum_algorithm=ChecksumAlgorithm.Crc32c,
        read_headers={"a": "1"},
        write_headers={"b": "2"},
        headers={"c": "3"},
    )
    assert opened == [
        {
            "scheme": "s3",
            "bucket": "b",
            "prefix": "p",
            "credentials": S3Credentials.Static(S3StaticCredentials("key", SECRET, "token")),
            "region": "eu-west-1",
            "endpoint_url": "http://localhost:9000",
            "allow_http": True,
            "force_path_style": True,
            "network_stream_timeout_seconds": 0,
            "requester_pays": True,
            "checksum_algorithm": "Crc32c",
            "read_headers": {"a": "1"},
            "write_headers": {"b": "2"},
            "headers": {"c": "3"},
        }
    ]
    s3_storage(bucket="b", prefix="")
    assert opened[1] == {
        "scheme": "s3",
        "bucket": "b",
        "credentials": S3Credentials.FromEnv(),
        "network_stream_timeout_seconds": 60,
    }


def test_services_like_s3_have_their_addresses(opened: list[dict[str, Any]]) -> None:
    """R2, Tigris and Hugging Face differ from S3 by address, region and addressing style."""
    r2_storage(bucket="b", prefix="p", account_id="acc")
    r2_storage(prefix="bucket/deep/er", endpoint_url="https://r2.example")
    tigris_storage(bucket="b", prefix=None, use_weak_consistency=True)
    hf_storage(bucket="b", prefix=None, namespace="me", from_env=True)
    r2, other_r2, tigris, hf = opened
    assert (r2["endpoint_url"], r2["region"], r2["force_path_style"]) == (
        "https://acc.r2.cloudflarestorage.com",
        "auto",
        True,
    )
    assert (other_r2["bucket"], other_r2["prefix"]) == ("bucket", "deep/er")
    assert (tigris["scheme"], tigris["use_weak_consistency"]) == ("tigris", True)
    assert tigris["endpoint_url"].startswith("https://")
    assert (hf["scheme"], hf["endpoint_url"]) == ("hf", "https://s3.hf.co/me")


def test_google_and_azure_options_reach_the_plugin(opened: list[dict[str, Any]]) -> None:
    """Credentials become values; an empty prefix is the root."""
    gcs_storage(bucket="b", prefix="p", bearer_token=SECRET, config={"a": "b"})
    azure_storage(account="a", container="c", prefix="", sas_token=SECRET)
    assert opened == [
        {
            "scheme": "gs",
            "bucket": "b",
            "prefix": "p",
            "credentials": GcsCredentials.Static(GcsStaticCredentials.BearerToken(SECRET)),
            "config": {"a": "b"},
        },
        {
            "scheme": "az",
            "account": "a",
            "container": "c",
            "credentials": AzureCredentials.Static(AzureStaticCredentials.SasToken(SECRET)),
        },
    ]


def test_web_options_reach_the_plugin(opened: list[dict[str, Any]]) -> None:
    """The scheme is that of the address."""
    http_storage("http://example.org/x", {"timeout": "30"}, {"authorization": SECRET})
    redirect_storage("https://example.org/y")
    assert opened == [
        {
            "scheme": "http",
            "base_url": "http://example.org/x",
            "opts": {"timeout": "30"},
            "headers": {"authorization": SECRET},
        },
        {"scheme": "redirect", "base_url": "https://example.org/y"},
    ]


@pytest.mark.parametrize(
    ("construct", "message"),
    [
        (lambda: s3_storage(bucket="", prefix=None), "'bucket' must not be empty"),
        (lambda: s3_storage(bucket=5, prefix=None), "'bucket' must be text"),  # type: ignore[arg-type]
        (lambda: s3_storage(bucket="b", prefix=5), "'prefix' must be text"),  # type: ignore[arg-type]
        (lambda: s3_storage(bucket="b", prefix=None, endpoint_url="host:9000"), "must be a URL"),
        (lambda: s3_storage(bucket="b", prefix=None, endpoint_url="http://[x"), "must be a URL"),
        (lambda: s3_storage(bucket="b", prefix=None, endpoint_url="http://host"), "pass allow_http=True"),
        (
            lambda: s3_storage(bucket="b", prefix=None, endpoint_url=f"https://k:{SECRET}@host"),
            "must not contain credentials",
        ),
        (lambda: s3_storage(bucket="b", prefix=None, network_stream_timeout_seconds=-1), "whole number"),
        (
            lambda: s3_storage(bucket="b", prefix=None, checksum_algorithm="md5"),  # type: ignore[arg-type]
            "must be one of Crc32, Crc32c, Crc64Nvme, Sha1, Sha256",
        ),
        (lambda: s3_storage(bucket="b", prefix="p", legacy_rooted_keys=True), "empty prefix only"),
        (
            lambda: s3_storage(bucket="b", prefix=None, headers={"authorization": 5}),  # type: ignore[dict-item]
            "'headers': the key and value of 'authorization'",
        ),
        (lambda: s3_storage(bucket="b", prefix=None, headers=SECRET), "a mapping of texts"),  # type: ignore[arg-type]
        (lambda: s3_storage(bucket="b", prefix=None, access_key_id="a"), "together"),
        (lambda: s3_storage(bucket="b", prefix=None, anonymous=True, from_env=True), "conflicting"),
        (
            lambda: s3_storage(
                bucket="b", prefix=None, access_key_id="a", secret_access_key=SECRET, anonymous=True
            ),
            "conflicting",
        ),
        (lambda: s3_storage(bucket="b", prefix=None, get_credentials=lambda: None), "can be pickled"),  # type: ignore[arg-type,return-value]
        (lambda: tigris_storage(bucket="b", prefix=None), "pass 'region'"),
        (lambda: r2_storage(bucket="b"), "needs 'account_id' or 'endpoint_url'"),
        (lambda: r2_storage(account_id="a"), "needs 'bucket'"),
        (lambda: hf_storage(bucket="me/b", prefix=None, namespace="me"), "without the namespace"),
        (lambda: gcs_storage(bucket="b", prefix=None, bearer_token=SECRET, anonymous=True), "conflicting"),
        (
            lambda: gcs_storage(bucket="b", prefix=None, bearer_token=SECRET, service_account_key="k"),
            "conflicting",
        ),
        (
            lambda: azure_storage(account="a", container="c", prefix="", access_key=SECRET, sas_token="s"),
            "conflicting",
        ),
        (lambda: azure_storage(account="", container="c", prefix=""), "'account' must not be empty"),
        (lambda: http_storage("ftp://example.org"), "must be a URL"),
        (lambda: http_storage("example.org"), "must be a URL"),
        (lambda: redirect_storage("nowhere"), "must be a URL"),
    ],
)
def test_wrong_arguments_are_refused_before_any_plugin_is_sought(
    construct: Callable[[], Storage], message: str
) -> None:
    """The argument is named, the error is a ValueError, and no secret is in it."""
    with pytest.raises(ValueError) as caught:
        construct()
    assert message in str(caught.value)
    assert SECRET not in str(caught.value)


def test_renewing_credentials_can_be_scattered(opened: list[dict[str, Any]]) -> None:
    """A module-level function is pickled; with scattering, its first result goes along."""
    s3_storage(bucket="b", prefix=None, get_credentials=renewed_credentials)
    s3_storage(bucket="b", prefix=None, get_credentials=renewed_credentials, scatter_initial_credentials=True)
    plain, scattered = (mapping["credentials"] for mapping in opened)
    assert isinstance(plain, S3Credentials.Refreshable)
    assert plain.current is None
    assert scattered.current == renewed_credentials()
    assert scattered.fetch() == renewed_credentials()
    assert SECRET not in repr(scattered)
    assert pickle.loads(pickle.dumps(scattered)) == scattered


@frozen
class S3LikeConfig:
    """The configuration of a plugin for S3."""

    bucket: str
    credentials: AnyS3Credential
    prefix: str | None = None
    network_stream_timeout_seconds: int | None = None


def test_a_plugin_receives_checked_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin of the scheme gets the credentials as a value in its configuration, and shows none of them."""
    spec = BackendSpec("s3", ["s3"], S3LikeConfig, Capabilities(), lambda _: Complete(), lambda _: {})
    monkeypatch.setattr(opening, "find_backend", lambda _: Backend(spec, "a test"))
    storage = s3_storage(bucket="b", prefix="p", access_key_id="key", secret_access_key=SECRET)
    assert storage.config.credentials.credentials.secret_access_key == SECRET
    assert "bucket='b'" in repr(storage)
    assert SECRET not in repr(storage)


# --- stores for virtual chunk containers -------------------------------------


def test_stores_are_configurations() -> None:
    """Each constructor gives the configuration of its kind of storage."""
    assert isinstance(s3_store(region="r"), ObjectStoreConfig.S3)
    compatible = s3_store(endpoint_url="http://localhost:9000", allow_http=True, s3_compatible=True)
    assert isinstance(compatible, ObjectStoreConfig.S3Compatible)
    assert compatible.options.endpoint_url == "http://localhost:9000"
    assert compatible.options.network_stream_timeout_seconds == 60
    assert local_filesystem_store("/data") == ObjectStoreConfig.LocalFileSystem("/data")
    assert gcs_store({"a": "b"}) == ObjectStoreConfig.Gcs({"a": "b"})
    assert azure_store(account="acc", config={"a": "b"}) == ObjectStoreConfig.Azure(
        {"account": "acc", "a": "b"}
    )
    assert http_store(headers={"a": "b"}) == ObjectStoreConfig.Http(None, {"a": "b"})


def test_stores_check_their_arguments() -> None:
    """As the storages do."""
    with pytest.raises(StorageConfigError, match="must be a URL"):
        s3_store(endpoint_url="nowhere")
    with pytest.raises(StorageConfigError, match="mapping of texts"):
        gcs_store("a=b")  # type: ignore[arg-type]


# --- the same names and signatures as icechunk -------------------------------

WRAPPERS = {"Call", "Fault", "FaultLog", "RetryPolicy", "StorageMetrics", "for_single_writer"}
OURS_ONLY = {"StorageObjectInfo", "StorageLike", "as_storage", "storage_from_url", *WRAPPERS}


def test_every_public_name_of_icechunk_is_there() -> None:
    """Whoever knows ``icechunk.storage`` finds its names here."""
    pytest.importorskip("icechunk", minversion="2.3")
    peer = importlib.import_module("icechunk.storage")
    # ChunkType belongs to the store here.
    assert set(peer.__all__) - set(storages.__all__) <= {"ChunkType"}
    extra = set(storages.__all__) - set(peer.__all__)
    assert {name for name in extra if not name.startswith("with_")} == OURS_ONLY


@pytest.mark.parametrize("module", ["storage", "credentials"])
def test_signatures_are_those_of_icechunk(module: str) -> None:
    """Parameters, their kinds and defaults agree; only extra options may follow."""
    pytest.importorskip("icechunk", minversion="2.3")
    peer = importlib.import_module(f"icechunk.{module}")
    ours = importlib.import_module(f"icechunk_core.{module}")
    compared = 0
    for name in peer.__all__:
        theirs = getattr(peer, name)
        if not inspect.isfunction(theirs):
            continue
        wanted = [(p.name, p.kind, p.default) for p in inspect.signature(theirs).parameters.values()]
        got = [
            (p.name, p.kind, p.default)
            for p in inspect.signature(getattr(ours, name)).parameters.values()
            if p.kind is not p.VAR_KEYWORD
        ]
        assert got == wanted, name
        compared += 1
    assert compared > 5
