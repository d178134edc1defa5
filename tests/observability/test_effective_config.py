"""What applies to an opened repository, and where it comes from."""

from __future__ import annotations

import json

import pytest

import icechunk_core as ic
from icechunk_core.repository.effective import SettingSource

SECRETS = {"access_key_id": "AKIAEXAMPLE", "secret_access_key": "hunter2hunter2"}


def test_each_value_says_where_it_comes_from() -> None:
    """Defaults, what is stored, what was given on opening, and what the environment says are told apart."""
    stored = ic.RepositoryConfig(inline_chunk_threshold_bytes=7, max_concurrent_requests=9)
    ic.Repository.create("memory:effective", config=stored)
    given = ic.RepositoryConfig(max_concurrent_requests=5, caching=ic.CachingConfig(num_bytes_chunks=3))
    repo = ic.Repository.open("memory:effective", config=given, packs=ic.PackConfig(read_ahead_bytes=0))
    shown = repo.effective_config()
    assert {
        name: (shown[name].value, shown[name].source)
        for name in (
            "repository.inline_chunk_threshold_bytes",
            "repository.max_concurrent_requests",
            "repository.caching.num_bytes_chunks",
            "repository.compression.level",
            "packs.read_ahead_bytes",
            "packs.target_bytes",
            "storage.name",
            "storage.read_only",
        )
    } == {
        "repository.inline_chunk_threshold_bytes": ("7", SettingSource.STORED),
        "repository.max_concurrent_requests": ("5", SettingSource.GIVEN),
        "repository.caching.num_bytes_chunks": ("3", SettingSource.GIVEN),
        "repository.compression.level": ("3", SettingSource.DEFAULT),
        "packs.read_ahead_bytes": ("0", SettingSource.GIVEN),
        "packs.target_bytes": (str(8 << 20), SettingSource.DEFAULT),
        "storage.name": ("effective", SettingSource.GIVEN),
        "storage.read_only": ("False", SettingSource.DEFAULT),
    }
    with pytest.raises(KeyError, match="nowhere"):
        shown["storage.nowhere"]


def test_the_environment_switches_packs_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packs that a variable switched off say so."""
    monkeypatch.setenv("ICECHUNK_CORE_PLAIN_LAYOUT", "1")
    found = ic.Repository.create("memory:").effective_config()["packs.enabled"]
    assert (found.value, found.source) == ("False", SettingSource.ENVIRONMENT)


@pytest.mark.parametrize("form", ["text", "html", "json"])
def test_secrets_are_never_shown(form: str) -> None:
    """Timeouts, attempts and connections of a backend are there; of secrets only that they are set."""
    from icechunk_core.repository.effective import EffectiveConfig, _options

    storage = ic.storage_from_url("s3://bucket/prefix?connect_timeout=3", **SECRETS)
    shown = EffectiveConfig({"storage": list(_options(storage.config, storage))})
    text = {
        "text": repr(shown),
        "html": shown._repr_html_(),
        "json": json.dumps(shown.to_dict()),
    }[form]
    assert not any(secret in text for secret in SECRETS.values())
    assert "set, not shown" in text
    assert (shown["storage.connect_timeout"].value, shown["storage.max_attempts"].value) == ("3.0", "10")
    assert shown["storage.secret_access_key"].source is SettingSource.GIVEN
    assert shown["storage.session_token"].value == "not set"


def test_values_are_escaped() -> None:
    """Names that look like markup are text in the HTML."""
    repo = ic.Repository.create("memory:<script>alert(1)</script>")
    assert "<script>" not in repo.effective_config()._repr_html_()
