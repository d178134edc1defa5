"""The page of configurations says what the classes have, and what they do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import attrs
import pytest

import icechunk_core
from icechunk_core import RepositoryConfig
from icechunk_core.format.config_base import ConfigNode
from tests.docs.test_urls_page import load

ROOT = Path(__file__).parents[2]
writer: Any = load(ROOT / "docs" / "reference" / "configuration_page.py")
SOURCES = [
    path.read_text(encoding="utf-8")
    for folder in ("icechunk_core", "backends")
    for path in (ROOT / folder).rglob("*.py")
    if not path.name.startswith(("config", "configuration"))
]


def test_the_page_is_current() -> None:
    """`docs/reference/configuration.md` is what `configuration_page.py` writes from the classes."""
    assert writer.PAGE.read_text(encoding="utf-8") == writer.render(), (
        "run python docs/reference/configuration_page.py"
    )


@pytest.mark.parametrize("name", [*writer.REPOSITORY, *writer.CLIENT])
def test_every_setting_is_described(name: str) -> None:
    """The docstring of each class describes each of its settings, and no others."""
    cls = getattr(icechunk_core, name)
    assert set(writer.meanings(cls)) == {each.name for each in writer.settings_of(cls)}


def test_every_class_of_settings_is_there() -> None:
    """The page has every configuration that can be reached from `RepositoryConfig`, and no others."""
    reached, open_ends = set(), [RepositoryConfig]
    while open_ends:
        cls = open_ends.pop()
        reached.add(cls.__name__)
        open_ends += [each.metadata["node"] for each in attrs.fields(cls) if "node" in each.metadata]
    also = {"VirtualChunkContainer", "S3Options"}  # below a map and a union
    assert set(writer.REPOSITORY) == reached | also
    assert all(issubclass(getattr(icechunk_core, name), ConfigNode) for name in writer.REPOSITORY)


def test_defaults_are_those_that_apply() -> None:
    """The defaults on the page are what an empty configuration amounts to."""
    config, told = RepositoryConfig(), writer.DEFAULTS
    root, compression, caching = (
        told[name] for name in ("RepositoryConfig", "CompressionConfig", "CachingConfig")
    )
    preload, locations = config.effective_preload(), config.effective_location_compression()
    assert root["inline_chunk_threshold_bytes"] == config.effective_inline_threshold()
    assert root["get_partial_values_concurrency"] == config.effective_get_partial_values_concurrency()
    assert root["max_concurrent_requests"] == config.effective_max_concurrent_requests()
    assert root["num_updates_per_repo_info_file"] == config.effective_num_updates_per_repo_info_file()
    assert compression["level"] == config.effective_compression_level()
    assert caching.items() <= attrs.asdict(config.effective_caching()).items()
    assert told["ManifestPreloadConfig"] == {
        "max_total_refs": preload.effective_max_total_refs(),
        "max_arrays_to_scan": preload.effective_max_arrays_to_scan(),
    }
    assert list(told["ManifestVirtualChunkLocationCompressionConfig"].values()) == [*attrs.astuple(locations)]
    retries = config.effective_repo_update_retries()
    assert told["RepoUpdateRetryConfig.default"] == attrs.asdict(retries)
    assert writer.TOLD["RepoUpdateRetryConfig", "default"] == (
        f"{retries.max_tries} tries, {retries.initial_backoff_ms} ms, {retries.max_backoff_ms:,} ms"
    )


@pytest.mark.parametrize(
    "name",
    [
        name
        for owner, names in writer.WITHOUT_EFFECT.items()
        for name in names
        if owner not in ("StorageSettings", "StorageTimeoutSettings")  # backends have options of these names
    ],
)
def test_what_is_said_to_have_no_effect_has_none(name: str) -> None:
    """No code but that of the configuration itself mentions a setting marked as being without effect."""
    assert not [source for source in SOURCES if re.search(rf"\b{name}\b", source)]


def test_every_environment_variable_is_there() -> None:
    """The page has the environment variables that the sources name, and no others."""
    named = {found for source in SOURCES for found in re.findall(r"\"(ICECHUNK_[A-Z_]+)\"", source)}
    assert named == set(writer.VARIABLES)
