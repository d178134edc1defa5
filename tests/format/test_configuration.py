"""Configuration values: checks, merging, effective values, containers, conditions."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import attrs
import pytest
from hypothesis import given

from icechunk_core.errors import InvalidInputError
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
    RetrySettings,
    S3Options,
    StorageConcurrencySettings,
    StorageRetriesSettings,
    StorageSettings,
    VirtualChunkContainer,
)
from icechunk_core.format.locations import LocationCompression
from tests.format.configurations import configurations, containers, rich_configuration

Preload = ManifestPreloadCondition
Split = ManifestSplitCondition


def test_nothing_is_set_at_first() -> None:
    """The default configuration sets nothing, and is equal to an empty one."""
    assert RepositoryConfig.default() == RepositoryConfig()
    assert set(RepositoryConfig().to_tree().values()) == {None}
    assert CachingConfig.default() == CachingConfig()
    assert CompressionConfig.default() == CompressionConfig()
    assert CompressionAlgorithm.default() is CompressionAlgorithm.Zstd


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"inline_chunk_threshold_bytes": 65_536}, "inline_chunk_threshold_bytes: 65536 is not between"),
        ({"inline_chunk_threshold_bytes": -1}, "inline_chunk_threshold_bytes"),
        ({"inline_chunk_threshold_bytes": "12"}, "inline_chunk_threshold_bytes"),
        ({"inline_chunk_threshold_bytes": 1.5}, "inline_chunk_threshold_bytes"),
        ({"compression": 3}, "compression: expected a CompressionConfig, not int"),
        ({"storage": CachingConfig()}, "storage"),
        ({"virtual_chunk_containers": {"a": 1}}, "virtual_chunk_containers"),
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any], message: str) -> None:
    """Wrong types and values out of range are refused when given and when set; the error names the field."""
    with pytest.raises(InvalidInputError, match=message):
        RepositoryConfig(**values)
    config = RepositoryConfig()
    ((name, value),) = values.items()
    with pytest.raises(InvalidInputError, match=message):
        setattr(config, name, value)
    assert config == RepositoryConfig()


def test_zero_is_refused_where_it_makes_no_sense() -> None:
    """Counts of tries and requests start at 1."""
    with pytest.raises(InvalidInputError, match="max_tries"):
        StorageRetriesSettings(max_tries=0)
    with pytest.raises(InvalidInputError, match="ideal_concurrent_request_size"):
        StorageConcurrencySettings(ideal_concurrent_request_size=0)


def test_merge_goes_key_by_key() -> None:
    """Nested settings of the other configuration win one by one; what it does not set stays."""
    mine = RepositoryConfig(
        inline_chunk_threshold_bytes=1,
        compression=CompressionConfig(level=2),
        storage=StorageSettings(retries=StorageRetriesSettings(3, 4), storage_class="A"),
        repo_update_retries=RepoUpdateRetryConfig(StorageRetriesSettings(5)),
        manifest=ManifestConfig(
            virtual_chunk_location_compression=ManifestVirtualChunkLocationCompressionConfig(6)
        ),
    )
    other = RepositoryConfig(
        inline_chunk_threshold_bytes=0,
        storage=StorageSettings(retries=StorageRetriesSettings(max_backoff_ms=7)),
        repo_update_retries=RepoUpdateRetryConfig(StorageRetriesSettings(None, 8)),
        manifest=ManifestConfig(
            virtual_chunk_location_compression=ManifestVirtualChunkLocationCompressionConfig(
                compression_level=9
            )
        ),
    )
    before = copy.deepcopy((mine, other))
    merged = mine.merge(other)
    assert merged == RepositoryConfig(
        inline_chunk_threshold_bytes=0,
        compression=CompressionConfig(level=2),
        storage=StorageSettings(retries=StorageRetriesSettings(3, 4, 7), storage_class="A"),
        repo_update_retries=RepoUpdateRetryConfig(StorageRetriesSettings(5, 8)),
        manifest=ManifestConfig(
            virtual_chunk_location_compression=ManifestVirtualChunkLocationCompressionConfig(
                6, compression_level=9
            )
        ),
    )
    assert (mine, other) == before


def test_some_settings_are_replaced_whole() -> None:
    """Containers, preloading and splitting of the other configuration replace those here."""
    mine = RepositoryConfig(
        manifest=ManifestConfig(
            preload=ManifestPreloadConfig(max_total_refs=1),
            splitting=ManifestSplittingConfig.from_dict({Split.AnyArray(): {}}),
        )
    )
    mine.set_virtual_chunk_container(containers()[0])
    other = RepositoryConfig(
        manifest=ManifestConfig(
            preload=ManifestPreloadConfig(max_arrays_to_scan=2), splitting=ManifestSplittingConfig()
        )
    )
    other.set_virtual_chunk_container(containers()[1])
    merged = mine.merge(other)
    assert merged.manifest == other.manifest
    assert merged.virtual_chunk_containers == other.virtual_chunk_containers
    other.clear_virtual_chunk_containers()
    assert mine.merge(other).virtual_chunk_containers == {}
    assert mine.merge(RepositoryConfig()) == mine


@given(configurations, configurations)
def test_merging_laws(one: RepositoryConfig, other: RepositoryConfig) -> None:
    """Merging with nothing changes nothing, merging twice is merging once, and the result shares nothing."""
    assert one.merge(RepositoryConfig()) == one == RepositoryConfig().merge(one)
    merged = one.merge(other)
    assert merged.merge(other) == merged
    if merged.storage is not None:
        before = copy.deepcopy((one, other))
        merged.storage.storage_class = "changed"
        assert (one, other) == before


@given(configurations)
def test_configurations_pickle_and_copy(config: RepositoryConfig) -> None:
    """Configurations survive pickling, with conditions and stores inside."""
    assert pickle.loads(pickle.dumps(config)) == config
    assert copy.deepcopy(config) == config


def test_effective_defaults() -> None:
    """What is not set has the documented defaults."""
    config = RepositoryConfig()
    assert config.effective_inline_threshold() == 512
    assert config.effective_compression_level() == 3
    assert config.effective_max_concurrent_requests() == 256
    assert config.effective_num_updates_per_repo_info_file() == 1000
    assert config.effective_repo_update_retries() == RetrySettings(100, 50, 30_000)
    assert config.effective_storage_retries() == RetrySettings(10, 100, 180_000)
    assert config.effective_caching() == CachingConfig(500_000, 15_000_000, 0, 0, 0)
    assert config.effective_split_sizes() == ()
    assert config.effective_location_compression() == LocationCompression(1000, 100, 2048, 3)


def test_effective_values_of_what_is_set() -> None:
    """Set values count, zero included."""
    config = rich_configuration()
    assert config.effective_inline_threshold() == 65_535
    assert config.effective_compression_level() == 19
    assert config.effective_repo_update_retries() == RetrySettings(22, 23, 24)
    assert config.effective_location_compression() == LocationCompression(18, 19, 20, -7)
    assert len(config.effective_split_sizes()) == 3
    assert RepositoryConfig(inline_chunk_threshold_bytes=0).effective_inline_threshold() == 0


def test_named_containers_replace_each_other() -> None:
    """A container replaces the one of its name, wherever that was, or the one of its prefix."""
    config = RepositoryConfig()
    local, store = ObjectStoreConfig.LocalFileSystem("/x"), ObjectStoreConfig.S3(S3Options())
    config.set_virtual_chunk_container(VirtualChunkContainer("file:///x/", local))
    config.set_virtual_chunk_container(VirtualChunkContainer("s3://a/", store, "data"))
    config.set_virtual_chunk_container(VirtualChunkContainer("s3://b/", store, "data"))
    assert config.virtual_chunk_containers is not None
    assert set(config.virtual_chunk_containers) == {"file:///x/", "s3://b/"}
    by_name = config.get_virtual_chunk_container("data")
    assert by_name is not None
    assert by_name.url_prefix == "s3://b/"
    assert config.get_virtual_chunk_container("file:///x/") == VirtualChunkContainer("file:///x/", local)
    assert config.get_virtual_chunk_container("other") is None


@pytest.mark.parametrize(
    ("prefix", "name", "message"),
    [
        ("s3://bucket", None, "must end in '/'"),
        ("bucket/", None, "is no URL"),
        ("gs://bucket/", None, "S3 cannot read gs://"),
        ("s3:///", None, "lacks a bucket"),
        ("s3://bucket/", "", "must not be empty"),
        ("s3://bucket/", "a/b", "contain '/'"),
    ],
)
def test_unusable_containers_are_refused(prefix: str, name: str | None, message: str) -> None:
    """Containers that could never be read through are refused, saying why."""
    container = VirtualChunkContainer(prefix, ObjectStoreConfig.S3(S3Options()), name)
    with pytest.raises(InvalidInputError, match=message):
        RepositoryConfig().set_virtual_chunk_container(container)


def test_stored_containers_are_mended_or_ignored() -> None:
    """A missing slash is added; a stored container that cannot be used is left out."""
    good = VirtualChunkContainer("s3://bucket/x", ObjectStoreConfig.S3(S3Options()))
    bad = VirtualChunkContainer("gs://bucket/", ObjectStoreConfig.S3(S3Options()))
    config = RepositoryConfig(virtual_chunk_containers={"s3://bucket/x": good, "gs://bucket/": bad})
    assert config.effective_virtual_chunk_containers() == {
        "s3://bucket/x/": attrs.evolve(good, url_prefix="s3://bucket/x/")
    }


def test_secrets_are_not_shown() -> None:
    """Options of a store, which may be keys, and HTTP headers do not appear in a repr."""
    for store in (
        ObjectStoreConfig.Azure({"account": "a", "access_key": "SECRET"}),
        ObjectStoreConfig.Gcs({"service_account_key": "SECRET"}),
        ObjectStoreConfig.Http({"x": "SECRET"}, {"authorization": "SECRET"}),
    ):
        config = RepositoryConfig(virtual_chunk_containers={"x": VirtualChunkContainer("x", store)})
        assert "SECRET" not in repr(config)


def test_store_kinds_are_told_apart() -> None:
    """Each kind of store is an `ObjectStoreConfig`, and not of another kind."""
    options = S3Options(region="x")
    s3, compatible = ObjectStoreConfig.S3(options), ObjectStoreConfig.S3Compatible(options)
    assert isinstance(s3, ObjectStoreConfig)
    assert s3 != compatible
    assert s3 == ObjectStoreConfig.S3(S3Options("x"))
    with pytest.raises(InvalidInputError, match="S3Options"):
        ObjectStoreConfig.S3({"region": "x"})


def test_preload_conditions() -> None:
    """Conditions look for regexes in paths and names, count refs from and up to, and combine."""
    assert Preload.name_matches("temp").matches("/temp/lat", 1) is False
    assert Preload.path_matches("temp").matches("/temp/lat", 1) is True
    between = Preload.num_refs(2, 4)
    assert [between.matches("/a", count) for count in (1, 2, 3, 4)] == [False, True, True, False]
    assert Preload.num_refs(None, None).matches("/a", 0)
    assert (Preload.true() & Preload.false()).matches("/a", 0) is False
    assert (Preload.true() | Preload.false()).matches("/a", 0) is True
    assert Preload.name_matches("(").matches("/(", 0) is False


def test_split_conditions() -> None:
    """Conditions on arrays and dimensions."""
    assert Split.AnyArray().matches("/a")
    assert (Split.name_matches("^b$") & Split.path_matches("^/a/")).matches("/a/b")
    assert not (Split.name_matches("^a$") | Split.path_matches("^/b/")).matches("/a/b")
    dims = ManifestSplitDimCondition
    assert [dims.Axis(1).matches(axis, None) for axis in range(3)] == [False, True, False]
    assert [dims.DimensionName("^t").matches(0, name) for name in ("time", "lat", None)] == [
        True,
        False,
        False,
    ]
    assert dims.Any().matches(5, None)
    assert isinstance(dims.Any(), ManifestSplitDimCondition)
    assert len({dims.Axis(1), dims.Axis(1), dims.Axis(2), dims.Any()}) == 3


def test_split_sizes_as_dict_and_tuples() -> None:
    """Rules given as a dict come back in the same order, and cannot be zero chunks large."""
    rules: dict[ManifestSplitCondition, dict[Any, int]] = {
        Split.name_matches("a"): {ManifestSplitDimCondition.Axis(0): 2, ManifestSplitDimCondition.Any(): 3},
        Split.AnyArray(): {ManifestSplitDimCondition.Any(): 4},
    }
    config = ManifestSplittingConfig.from_dict(rules)
    assert config.to_dict() == rules
    assert [len(dims) for _, dims in config.split_sizes or ()] == [2, 1]
    assert ManifestSplittingConfig().to_dict() == {}
    with pytest.raises(InvalidInputError, match="split_sizes"):
        ManifestSplittingConfig.from_dict({Split.AnyArray(): {ManifestSplitDimCondition.Any(): 0}})
