"""Repo info files and configurations are exchanged with Icechunk itself, in both directions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from attrs import evolve

from icechunk_core.format import base32
from icechunk_core.format.config_codec import (
    decode_config_flexbuffers,
    decode_config_yaml,
    encode_config_flexbuffers,
    encode_config_yaml,
)
from icechunk_core.format.configuration import (
    CachingConfig,
    CompressionAlgorithm,
    CompressionConfig,
    ManifestConfig,
    ManifestPreloadCondition,
    ManifestPreloadConfig,
    ManifestSplitCondition,
    ManifestSplitDimCondition,
    ManifestSplittingConfig,
    ManifestVirtualChunkLocationCompressionConfig,
    ObjectStoreConfig,
    RepositoryConfig,
    RepoUpdateRetryConfig,
    S3Options,
    StorageConcurrencySettings,
    StorageRetriesSettings,
    StorageSettings,
    StorageTimeoutSettings,
    VirtualChunkContainer,
)
from icechunk_core.format.repo_info import RepoInfo, decode_repo_info, encode_repo_info
from tests.format.configurations import rich_configuration

icechunk = pytest.importorskip("icechunk", minversion="2.3", reason="needs icechunk 2.3")


def storage(root: Path) -> Any:
    return icechunk.local_filesystem_storage(str(root))


def read_info(root: Path) -> RepoInfo:
    return decode_repo_info((root / "repo").read_bytes(), name="repo")


def rewrite(root: Path) -> None:
    """Decode and encode the repo info file of a repository, in place."""
    (root / "repo").write_bytes(encode_repo_info(read_info(root)))


def history(repository: Any) -> dict[str, Any]:
    """What the library reports about refs, ancestry and the operations log."""
    return {
        "branches": {name: repository.lookup_branch(name) for name in repository.list_branches()},
        "tags": {name: repository.lookup_tag(name) for name in repository.list_tags()},
        "ancestry": [
            (info.id, info.parent_id, info.message, info.written_at, info.metadata)
            for info in repository.ancestry(branch="main")
        ],
        "log": [
            (repr(update.kind), update.updated_at, update.backup_path) for update in repository.ops_log()
        ],
        "metadata": repository.metadata,
    }


def commit(repository: Any, name: str, value: int, **options: Any) -> str:
    """Write an array with one value and commit it."""
    session = repository.writable_session("main")
    array = zarr.create_array(session.store, name=name, shape=4, chunks=2, dtype="i4", overwrite=True)
    array[:] = value
    return str(session.commit(f"set {name}", **options))


@pytest.fixture
def repository(tmp_path: Path) -> Any:
    """A repository of the library with some history."""
    repo = icechunk.Repository.create(storage(tmp_path))
    first = commit(repo, "a", 1, metadata={"author": "me", "n": [1, 2.5, None]})
    repo.create_tag("v1", first)
    repo.create_branch("dev", first)
    repo.create_tag("gone", first)
    repo.delete_tag("gone")
    commit(repo, "b", 2)
    repo.reset_branch("dev", repo.lookup_branch("main"))
    repo.set_metadata({"title": "Ozean \u2713"})
    return repo


def test_rewritten_repository_means_the_same(repository: Any, tmp_path: Path) -> None:
    """Refs, ancestry, log and metadata are the same after this codec rewrote the root."""
    before = history(repository)
    rewrite(tmp_path)
    again = icechunk.Repository.open(storage(tmp_path))
    assert history(again) == before
    values = np.asarray(zarr.open_array(again.readonly_session("main").store, path="b")[:])
    assert values.tolist() == [2] * 4
    with pytest.raises(icechunk.IcechunkError):
        again.create_tag("gone", again.lookup_branch("main"))


def test_library_commits_on_a_rewritten_root(repository: Any, tmp_path: Path) -> None:
    """Commits of the library and rewriting take turns; nothing of the history is lost."""
    tips = []
    for value in range(40):
        rewrite(tmp_path)
        repo = icechunk.Repository.open(storage(tmp_path))
        tips.append(commit(repo, "c", value))
    rewrite(tmp_path)
    repo = icechunk.Repository.open(storage(tmp_path))
    assert [info.id for info in repo.ancestry(branch="main")][:40] == tips[::-1]
    info = read_info(tmp_path)
    assert base32.encode(info.branches["main"]) == tips[-1]
    assert len(list(repo.ops_log())) == len(info.updates)
    assert repo.garbage_collect(repo.lookup_snapshot(tips[-1]).written_at).snapshots_deleted == 0


def test_new_snapshot_rows_are_understood(repository: Any, tmp_path: Path) -> None:
    """Rows added between copied ones, and moved indices of parents and refs, are what the library reads."""
    for value in range(30):
        commit(repository, "c", value)
    info = read_info(tmp_path)
    before = history(repository)
    tip = info.snapshots.get(info.branches["main"])
    assert tip is not None
    table = info.snapshots
    ids = [bytes([first]) * 12 for first in (0, 1, 100, 200, 255)]
    for id in ids:
        table = table.added(evolve(tip, id=id, message=f"copy {id[0]}"))
    branches = {**info.branches, **{f"copy-{id[0]}": id for id in ids}}
    (tmp_path / "repo").write_bytes(encode_repo_info(evolve(info, snapshots=table, branches=branches)))
    again = icechunk.Repository.open(storage(tmp_path))
    assert history(again)["ancestry"] == before["ancestry"]
    parents = [info.id for info in again.ancestry(branch="main")][1:]
    for id in ids:
        found = list(again.ancestry(branch=f"copy-{id[0]}"))
        assert [info.id for info in found] == [base32.encode(id), *parents]
        assert found[0].message == f"copy {id[0]}"


def peer_configuration() -> Iterator[Any]:
    """Configurations of the library, from empty to rich."""
    yield icechunk.RepositoryConfig(inline_chunk_threshold_bytes=12)
    splitting = icechunk.ManifestSplittingConfig.from_dict(
        {
            icechunk.ManifestSplitCondition.name_matches("yes")
            & icechunk.ManifestSplitCondition.path_matches("0o17"): {
                icechunk.ManifestSplitDimCondition.Axis(1): 3,
                icechunk.ManifestSplitDimCondition.DimensionName("1:30"): 4,
                icechunk.ManifestSplitDimCondition.Any(): 9,
            },
            icechunk.ManifestSplitCondition.AnyArray(): {icechunk.ManifestSplitDimCondition.Any(): 3},
        }
    )
    condition = icechunk.ManifestPreloadCondition
    preload = icechunk.ManifestPreloadConfig(
        max_total_refs=5,
        preload_if=(condition.true() & condition.num_refs(1, None)) | condition.name_matches("no"),
        max_arrays_to_scan=6,
    )
    rich = icechunk.RepositoryConfig(
        compression=icechunk.CompressionConfig(level=7, algorithm=icechunk.CompressionAlgorithm.Zstd),
        caching=icechunk.CachingConfig(num_chunk_refs=2**40),
        storage=icechunk.StorageSettings(
            retries=icechunk.StorageRetriesSettings(max_tries=3),
            timeouts=icechunk.StorageTimeoutSettings(read_timeout_ms=5),
            storage_class="COLD",
            minimum_size_for_multipart_upload=2**33,
        ),
        manifest=icechunk.ManifestConfig(
            preload=preload,
            splitting=splitting,
            virtual_chunk_location_compression=icechunk.ManifestVirtualChunkLocationCompressionConfig(
                compression_level=-3
            ),
        ),
        num_updates_per_repo_info_file=33,
        max_concurrent_decodes=3,
    )
    stores = icechunk.ObjectStoreConfig
    options = icechunk.S3Options(
        region="us-east-1",
        checksum_algorithm=icechunk.ChecksumAlgorithm.Crc64Nvme,
        network_stream_timeout_seconds=60,
    )
    for prefix, store, name in (
        ("s3://one/", stores.S3(options), "named"),
        ("s3://two/", stores.S3Compatible(options), None),
        ("tigris://three/", stores.Tigris(options), None),
        ("gs://four/", stores.Gcs({"key": "value"}), None),
        ("gs://five/", stores.Gcs(None), None),
        ("az://six/", stores.Azure({"account": "a", "key": "1"}), None),
        ("https://seven/", stores.Http({"timeout": "1s"}, {"accept": "true"}), None),
        ("http://eight/", stores.Http(None, None), None),
        ("file:///nine/", stores.LocalFileSystem("/nine"), None),
    ):
        rich.set_virtual_chunk_container(icechunk.VirtualChunkContainer(prefix, store, name))
    yield rich


@pytest.mark.parametrize("spec_version", [1, 2])
@pytest.mark.parametrize("which", [0, 1])
def test_configurations_written_by_the_library(tmp_path: Path, spec_version: int, which: int) -> None:
    """A configuration that the library stored is read, written again, and means the same to the library."""
    config = list(peer_configuration())[which]
    icechunk.Repository.create(storage(tmp_path), config=config, spec_version=spec_version)
    before = icechunk.Repository.fetch_config(storage(tmp_path))
    if spec_version == 1:
        path = tmp_path / "config.yaml"
        ours = decode_config_yaml(path.read_bytes(), name="config.yaml")
        path.write_bytes(encode_config_yaml(ours))
    else:
        info = read_info(tmp_path)
        assert info.config is not None
        ours = decode_config_flexbuffers(info.config, name="repo")
        rewritten = evolve(info, config=encode_config_flexbuffers(ours))
        (tmp_path / "repo").write_bytes(encode_repo_info(rewritten))
    assert not ours.unknown
    assert icechunk.Repository.fetch_config(storage(tmp_path)) == before
    assert icechunk.Repository.open(storage(tmp_path)).list_branches() == {"main"}


@pytest.mark.parametrize("spec_version", [1, 2])
def test_configurations_written_here(tmp_path: Path, spec_version: int) -> None:
    """A rich configuration written here is read by the library, value by value."""
    config = rich_configuration()
    icechunk.Repository.create(storage(tmp_path), spec_version=spec_version)
    if spec_version == 1:
        (tmp_path / "config.yaml").write_bytes(encode_config_yaml(config))
    else:
        info = evolve(read_info(tmp_path), config=encode_config_flexbuffers(config))
        (tmp_path / "repo").write_bytes(encode_repo_info(info))
    theirs = icechunk.Repository.fetch_config(storage(tmp_path))
    assert_same(config, theirs)
    assert set(theirs.virtual_chunk_containers) == set(config.virtual_chunk_containers or {})
    # What the library makes of it, saved by the library, is what we had.
    repo = icechunk.Repository.open(storage(tmp_path), config=theirs)
    repo.save_config()
    if spec_version == 1:
        saved = decode_config_yaml((tmp_path / "config.yaml").read_bytes(), name="config.yaml")
    else:
        saved = decode_config_flexbuffers(read_info(tmp_path).config or b"", name="repo")
    assert saved == config


PLAIN_CLASSES = (
    CachingConfig,
    CompressionConfig,
    ManifestConfig,
    ManifestPreloadConfig,
    ManifestVirtualChunkLocationCompressionConfig,
    RepoUpdateRetryConfig,
    RepositoryConfig,
    StorageConcurrencySettings,
    StorageRetriesSettings,
    StorageSettings,
    StorageTimeoutSettings,
)


def assert_same(ours: Any, theirs: Any) -> None:
    """Compare property by property, by the names of the library."""
    for key in type(ours).codecs():
        mine, other = getattr(ours, key), getattr(theirs, key)
        if isinstance(mine, PLAIN_CLASSES):
            assert_same(mine, other)
        elif isinstance(mine, ManifestSplittingConfig):
            assert len(mine.to_dict()) == len(other.to_dict())
        elif isinstance(mine, CompressionAlgorithm):
            assert mine.name == str(other).rpartition(".")[2]
        elif key == "virtual_chunk_containers":
            for prefix, container in mine.items():
                assert (container.name, container.url_prefix) == (
                    other[prefix].name,
                    other[prefix].url_prefix,
                )
                assert type(container.store).__name__ == type(other[prefix].store).__name__
        elif not isinstance(mine, ManifestPreloadCondition):
            assert mine == other, key


def test_same_names_and_arguments() -> None:
    """The classes take the library's arguments by name, and show them under the same names."""
    made = RepositoryConfig(
        inline_chunk_threshold_bytes=1,
        get_partial_values_concurrency=2,
        compression=CompressionConfig(CompressionAlgorithm.Zstd, 3),
        max_concurrent_requests=4,
        caching=CachingConfig(num_snapshot_nodes=5),
        storage=StorageSettings(concurrency=StorageConcurrencySettings(6, 7)),
        virtual_chunk_containers={},
        manifest=ManifestConfig(splitting=ManifestSplittingConfig()),
        repo_update_retries=RepoUpdateRetryConfig(default=StorageRetriesSettings(8, 9, 10)),
        num_updates_per_repo_info_file=11,
        max_concurrent_decodes=12,
    )
    public = {name for name in dir(icechunk.RepositoryConfig) if not name.startswith("_")}
    assert public <= set(dir(made))
    conditions = {"or_conditions", "and_conditions", "path_matches", "name_matches"}
    assert conditions | {"num_refs", "true", "false"} <= set(dir(ManifestPreloadCondition))
    assert conditions | {"AnyArray"} <= set(dir(ManifestSplitCondition))
    for ours, theirs in (
        (ManifestSplitDimCondition, icechunk.ManifestSplitDimCondition),
        (ManifestSplittingConfig, icechunk.ManifestSplittingConfig),
        (ObjectStoreConfig, icechunk.ObjectStoreConfig),
        (VirtualChunkContainer, icechunk.VirtualChunkContainer),
        (StorageSettings, icechunk.StorageSettings),
        (ManifestConfig, icechunk.ManifestConfig),
        (CachingConfig, icechunk.CachingConfig),
        (CompressionConfig, icechunk.CompressionConfig),
        (S3Options, icechunk.S3Options),
    ):
        public = {name for name in dir(theirs) if not name.startswith("_")}
        assert public <= set(dir(ours)), ours
