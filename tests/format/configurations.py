"""A configuration that sets everything, and strategies for others."""

from __future__ import annotations

from hypothesis import strategies as st

from icechunk_core.format.configuration import (
    CachingConfig,
    ChecksumAlgorithm,
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

Preload = ManifestPreloadCondition
Split = ManifestSplitCondition
Dim = ManifestSplitDimCondition


def rich_configuration() -> RepositoryConfig:
    """A configuration in which every value is set, with texts that YAML could misread."""
    config = RepositoryConfig(
        inline_chunk_threshold_bytes=65_535,
        get_partial_values_concurrency=2,
        compression=CompressionConfig(CompressionAlgorithm.Zstd, 19),
        max_concurrent_requests=4,
        caching=CachingConfig(2**64 - 1, 2, 3, 4, 5),
        storage=StorageSettings(
            concurrency=StorageConcurrencySettings(6, 2**40),
            retries=StorageRetriesSettings(8, 9, 10),
            unsafe_use_conditional_create=True,
            unsafe_use_conditional_update=False,
            unsafe_use_metadata=False,
            storage_class="null",
            metadata_storage_class="1e3",
            chunks_storage_class="",
            minimum_size_for_multipart_upload=11,
            timeouts=StorageTimeoutSettings(12, 13, 14, 15),
        ),
        manifest=ManifestConfig(
            preload=ManifestPreloadConfig(16, preload_conditions(), 17),
            splitting=split_rules(),
            virtual_chunk_location_compression=ManifestVirtualChunkLocationCompressionConfig(
                18,
                dictionary_max_training_samples=19,
                dictionary_max_size_bytes=20,
                compression_level=-7,
            ),
            max_concurrent_manifest_fetches_during_commit=21,
        ),
        repo_update_retries=RepoUpdateRetryConfig(StorageRetriesSettings(22, 23, 24)),
        num_updates_per_repo_info_file=25,
        max_concurrent_decodes=26,
    )
    for container in containers():
        config.set_virtual_chunk_container(container)
    return config


def preload_conditions() -> ManifestPreloadCondition:
    """Every kind of preload condition."""
    return Preload.or_conditions(
        [
            Preload.and_conditions([Preload.name_matches("yes"), Preload.path_matches("\u00fc: [x]\n#")]),
            Preload.num_refs(1, 5),
            Preload.num_refs(None, None),
            Preload.true() | Preload.false(),
        ]
    )


def split_rules() -> ManifestSplittingConfig:
    """Every kind of array and dimension condition."""
    return ManifestSplittingConfig.from_dict(
        {
            Split.name_matches("0o17") & Split.path_matches("~"): {
                Dim.Axis(1): 3,
                Dim.DimensionName("1:30"): 4,
            },
            Split.name_matches("a") | Split.name_matches("b"): {},
            Split.AnyArray(): {Dim.Any(): 5},
        }
    )


def containers() -> list[VirtualChunkContainer]:
    """Every kind of container."""
    options = S3Options("no", "http://x", True, False, True, 60, True, ChecksumAlgorithm.Crc32c)
    store = ObjectStoreConfig
    return [
        VirtualChunkContainer("s3://one/", store.S3(options), "named"),
        VirtualChunkContainer("s3://two/x/", store.S3Compatible(S3Options())),
        VirtualChunkContainer(
            "tigris://three/", store.Tigris(S3Options(checksum_algorithm=ChecksumAlgorithm.Sha1))
        ),
        VirtualChunkContainer("gs://four/", store.Gcs({"key": "12"})),
        VirtualChunkContainer("gs://five/", store.Gcs()),
        VirtualChunkContainer("az://six/", store.Azure({"account": "a", "key": "true"})),
        VirtualChunkContainer("https://seven/", store.Http({"timeout": "1s"}, {"accept": "off"})),
        VirtualChunkContainer("http://eight/", store.Http()),
        VirtualChunkContainer("file:///nine/", store.LocalFileSystem("/nine")),
    ]


texts = st.text(st.characters(codec="utf-8"), max_size=10)
preload = st.recursive(
    st.sampled_from([Preload.true(), Preload.false()])
    | st.builds(Preload.name_matches, texts)
    | st.builds(Preload.path_matches, texts)
    | st.builds(
        Preload.num_refs, st.none() | st.integers(0, 2**32 - 1), st.none() | st.integers(0, 2**32 - 1)
    ),
    lambda inner: (
        st.builds(Preload.or_conditions, st.lists(inner, max_size=3))
        | st.builds(Preload.and_conditions, st.lists(inner, max_size=3))
    ),
    max_leaves=6,
)
dims = st.builds(Dim.Axis, st.integers(0, 40)) | st.builds(Dim.DimensionName, texts) | st.builds(Dim.Any)
splits = st.recursive(
    st.builds(Split.AnyArray) | st.builds(Split.name_matches, texts) | st.builds(Split.path_matches, texts),
    lambda inner: (
        st.builds(Split.or_conditions, st.lists(inner, max_size=3))
        | st.builds(Split.and_conditions, st.lists(inner, max_size=3))
    ),
    max_leaves=5,
)
split_configs = st.builds(
    ManifestSplittingConfig.from_dict,
    st.dictionaries(splits, st.dictionaries(dims, st.integers(1, 2**32 - 1), max_size=3), max_size=3),
)
plain_keys = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
s3_options = st.builds(
    S3Options,
    st.none() | texts,
    st.none() | texts,
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.none() | st.integers(0, 2**32 - 1),
    st.booleans(),
    st.none() | st.sampled_from(ChecksumAlgorithm),
)
options = st.none() | st.dictionaries(
    plain_keys.filter(lambda key: key != "headers"), texts, min_size=1, max_size=2
)
stores = (
    st.builds(ObjectStoreConfig.InMemory)
    | st.builds(ObjectStoreConfig.LocalFileSystem, texts)
    | st.builds(ObjectStoreConfig.S3, s3_options)
    | st.builds(ObjectStoreConfig.S3Compatible, s3_options)
    | st.builds(ObjectStoreConfig.Gcs, options)
    | st.builds(ObjectStoreConfig.Azure, options)
    | st.builds(ObjectStoreConfig.Http, options, options)
)
u16 = st.none() | st.integers(0, 2**16 - 1)
u64 = st.none() | st.integers(0, 2**64 - 1)
flags = st.none() | st.booleans()
retries = st.builds(StorageRetriesSettings, st.none() | st.integers(1, 100), u16, u16)
storages = st.builds(
    StorageSettings,
    retries=st.none() | retries,
    unsafe_use_metadata=flags,
    storage_class=st.none() | texts,
    minimum_size_for_multipart_upload=u64,
)
manifests = st.builds(
    ManifestConfig,
    preload=st.none() | st.builds(ManifestPreloadConfig, u16, st.none() | preload, u16),
    splitting=st.none() | split_configs,
)
configurations = st.builds(
    RepositoryConfig,
    inline_chunk_threshold_bytes=u16,
    compression=st.none() | st.builds(CompressionConfig, level=st.none() | st.integers(0, 255)),
    caching=st.none() | st.builds(CachingConfig, u64, u64),
    storage=st.none() | storages,
    manifest=st.none() | manifests,
    virtual_chunk_containers=st.none()
    | st.dictionaries(
        plain_keys, st.builds(VirtualChunkContainer, texts, stores, st.none() | texts), max_size=2
    ),
    num_updates_per_repo_info_file=u16,
)
