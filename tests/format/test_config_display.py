"""Configurations show themselves as code and as a list of what applies."""

from __future__ import annotations

import pytest

import icechunk_core
import icechunk_core as ic
import icechunk_core.config
import icechunk_core.virtual


def _full() -> ic.RepositoryConfig:
    """A configuration with something of everything."""
    sizes = {
        ic.ManifestSplitCondition.name_matches("x"): {
            ic.ManifestSplitDimCondition.DimensionName("t"): 5,
            ic.ManifestSplitDimCondition.Any(): 6,
        },
        ic.ManifestSplitCondition.AnyArray(): {ic.ManifestSplitDimCondition.Axis(1): 2},
    }
    condition = ic.ManifestPreloadCondition
    config = ic.RepositoryConfig(
        inline_chunk_threshold_bytes=5,
        caching=ic.CachingConfig(num_chunk_refs=7),
        compression=ic.CompressionConfig(algorithm=ic.CompressionAlgorithm.Zstd),
        storage=ic.StorageSettings(storage_class='"cold"', timeouts=ic.StorageTimeoutSettings(5)),
        manifest=ic.ManifestConfig(
            splitting=ic.ManifestSplittingConfig.from_dict(sizes),
            preload=ic.ManifestPreloadConfig(
                preload_if=condition.and_conditions([condition.name_matches("a"), condition.num_refs(1, 5)])
            ),
        ),
    )
    for container in (
        ic.VirtualChunkContainer("s3://b/", ic.s3_store(region="r")),
        ic.VirtualChunkContainer("file:///x/", ic.local_filesystem_store("/x"), name="nm"),
    ):
        config.set_virtual_chunk_container(container)
    return config


@pytest.mark.parametrize("config", [ic.RepositoryConfig(), _full()], ids=["empty", "full"])
def test_the_repr_is_code(config: ic.RepositoryConfig) -> None:
    """Evaluating the repr gives an equal configuration."""
    assert eval(repr(config), {"icechunk_core": icechunk_core}) == config


def test_the_text_tells_what_applies() -> None:
    """As text, settings that are not set show their defaults and say so; those that are set do not."""
    text = str(_full())
    assert "inline_chunk_threshold_bytes: 5\n" in text
    assert "max_concurrent_requests: 256 (default)\n" in text
    assert "    num_chunk_refs: 7\n    num_transaction_changes: 0 (default)\n" in text
    assert "        split_sizes: ((" in text
    assert "        store:\n            <icechunk_core.config.ObjectStoreConfig.S3>\n" in text
    empty = str(ic.RepositoryConfig())
    assert "manifest:\n    <icechunk_core.config.ManifestConfig>\n" in empty
    assert "        split_sizes: automatic (default)\n" in empty
    assert "        max_tries: 100 (default)\n" in empty


def test_the_defaults_are_those_that_apply() -> None:
    """The defaults that the text tells are those that the library works with."""
    config, text = ic.RepositoryConfig(), str(ic.RepositoryConfig())
    assert f"inline_chunk_threshold_bytes: {config.effective_inline_threshold()} (default)" in text
    assert f"max_tries: {config.effective_repo_update_retries().max_tries} (default)" in text
    caching = config.effective_caching()
    assert f"num_chunk_refs: {caching.num_chunk_refs} (default)" in text


def test_headers_stay_hidden() -> None:
    """What may be a secret is in neither form."""
    store = ic.http_store({"token": "SECRET-VALUE"})
    container = ic.VirtualChunkContainer("https://example.com/", store)
    assert "SECRET-VALUE" not in repr(container) + str(container)
