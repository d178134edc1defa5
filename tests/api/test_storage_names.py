"""The names that Icechunk's users expect of `Storage`, values in notebooks, and `LatencyStorage`."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import icechunk_core
from icechunk_core.contract import attached_names
from icechunk_core.errors import PluginError, StorageConfigError
from icechunk_core.testing import LatencyStorage

Storage = icechunk_core.Storage


def test_memory_and_directories(tmp_path: Path) -> None:
    """The two storages that need no service are made from the class."""
    assert icechunk_core.Repository.create(Storage.new_in_memory()).list_branches() == {"main"}
    icechunk_core.Repository.create(Storage.new_local_filesystem(str(tmp_path)))
    assert (tmp_path / "repo").exists()


def test_listing() -> None:
    """Objects are listed with sizes and times, all or those below a prefix."""
    storage = Storage.new_in_memory()
    icechunk_core.Repository.create(storage)
    listed = storage.list_objects()
    assert "repo" in dict(listed)
    assert listed == sorted(listed)
    below = storage.list_objects_metadata(prefix="snapshots/")
    assert [(info.key, info.size_bytes) for info in below] == [
        item for item in listed if item[0].startswith("snapshots/")
    ]
    assert all(info.created_at.tzinfo is not None for info in below)


@pytest.mark.parametrize(
    ("constructor", "arguments", "scheme"),
    [
        ("new_s3", ("bucket", "prefix"), "s3"),
        ("new_s3_object_store", ("bucket", None), "s3"),
        ("new_tigris", ("bucket", "prefix", False), "tigris"),
        ("new_r2", (None, "bucket/prefix", "account"), "s3"),
        ("new_hf", ("bucket", "prefix", "namespace"), "hf"),
    ],
)
def test_services_like_s3(
    constructor: str, arguments: tuple[object, ...], scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The options and credentials of the arguments reach the backend of the service's scheme."""
    opened: list[dict[str, object]] = []
    monkeypatch.setattr("icechunk_core.storage._methods.open_storage", opened.append)
    options = icechunk_core.S3Options(region="eu-west-1")
    credentials = icechunk_core.s3_credentials(access_key_id="id", secret_access_key="key")
    getattr(Storage, constructor)(options, *arguments, credentials, headers={"x-a": "b"})
    (given,) = opened
    assert given["scheme"] == scheme
    assert given["bucket"] == "bucket"
    assert given["region"] == "eu-west-1"
    assert given["credentials"] == credentials
    assert given["headers"] == {"x-a": "b"}


def test_options_are_checked() -> None:
    """Wrong arguments are refused with the argument's name, before a plugin is looked for."""
    options = icechunk_core.S3Options()
    with pytest.raises(StorageConfigError, match="region"):
        Storage.new_tigris(options, "bucket", None, False)
    with pytest.raises(StorageConfigError, match="account_id"):
        Storage.new_r2(options, "bucket")
    with pytest.raises(StorageConfigError, match="S3Options"):
        Storage.new_s3({"region": "x"}, "bucket", None)
    with pytest.raises(StorageConfigError, match="anonymous"):
        Storage.new_s3(
            icechunk_core.S3Options(anonymous=True),
            "bucket",
            None,
            icechunk_core.s3_credentials(access_key_id="id", secret_access_key="key"),
        )
    with pytest.raises((StorageConfigError, PluginError)):
        Storage.new_gcs("bucket", None, config={"key": 1})
    with pytest.raises((StorageConfigError, PluginError)):
        Storage.new_azure_blob("", "container", "prefix")


def test_notebooks_show_values_escaped() -> None:
    """HTML of configuration nests and escapes what users typed, and never shows a secret."""
    store = icechunk_core.s3_store(region="<script>")
    container = icechunk_core.VirtualChunkContainer("s3://bucket/", store, name="<b>")
    shown = container._repr_html_()
    assert "&lt;b&gt;" in shown
    assert "<script>" not in shown
    assert "VirtualChunkContainer" in shown
    config = icechunk_core.RepositoryConfig(compression=icechunk_core.CompressionConfig(level=7))
    assert "<td>7</td>" in config._repr_html_()
    secret = icechunk_core.S3StaticCredentials("id", "very-secret")
    assert "very-secret" not in secret._repr_html_()
    assert "Storage" in Storage.new_in_memory()._repr_html_()


async def test_latency_can_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes and reads wait for what is set at the time of the call, and do what they do without."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setitem(icechunk_core.contract.wrappers.with_latency.__kwdefaults__, "sleep", sleep)
    storage = LatencyStorage(Storage.new_in_memory(), write_latency_ms=20)
    assert isinstance(storage, Storage)
    await storage.put("a", b"1")
    storage.write_latency_ms, storage.read_latency_ms = 5, 7
    await storage.put("a", b"2")
    data, _ = await storage.get_range("a")
    assert bytes(data) == b"2"
    assert waited == [0.020, 0.005, 0.007]
    with pytest.raises(ValueError, match="negative"):
        storage.read_latency_ms = -1


def test_type_checkers_see_the_names() -> None:
    """What is declared for them has the names and the signatures of what is attached, without exception."""
    tree = ast.parse(inspect.getsource(attached_names.AttachedNames))
    declared = {each.name: each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)}
    here = "icechunk_core.storage._methods"
    attached = {name for name, each in inspect.getmembers(Storage) if getattr(each, "__module__", "") == here}
    assert declared.keys() == {name for name in attached if not name.startswith("_")}
    for name, function in declared.items():
        arguments = ast.unparse(function.args).removeprefix("self, ").removeprefix("self")
        told = f"({arguments}) -> {ast.unparse(function.returns or function)}"
        ours = str(inspect.signature(getattr(Storage.new_in_memory(), name))).replace("'", "")
        assert _spaceless(told) == _spaceless(ours)


def _spaceless(signature: str) -> str:
    return "".join(signature.split())
