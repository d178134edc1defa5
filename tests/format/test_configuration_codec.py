"""Stored configurations."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icechunk_core.error_kinds import ErrorKind
from icechunk_core.errors import Corrupt
from icechunk_core.format import config_yaml
from icechunk_core.format.config_base import Variant
from icechunk_core.format.config_codec import (
    config_from_tree,
    config_to_tree,
    decode_config_flexbuffers,
    decode_config_yaml,
    encode_config_flexbuffers,
    encode_config_yaml,
)
from icechunk_core.format.configuration import (
    CompressionConfig,
    ManifestSplitDimCondition,
    RepositoryConfig,
)
from tests.format.configurations import configurations, rich_configuration
from tests.format.json_values import texts


@given(configurations)
def test_round_trips(config: RepositoryConfig) -> None:
    """Every configuration survives the tree, FlexBuffers and YAML."""
    assert config_from_tree(config_to_tree(config), name="x") == config
    assert decode_config_flexbuffers(encode_config_flexbuffers(config), name="x") == config
    assert decode_config_yaml(encode_config_yaml(config), name="x") == config


def test_rich_configuration() -> None:
    """A configuration with everything set survives both encodings."""
    config = rich_configuration()
    assert decode_config_flexbuffers(encode_config_flexbuffers(config), name="x") == config
    assert decode_config_yaml(encode_config_yaml(config), name="x") == config


def test_stored_sample() -> None:
    """The stored form has every key, unset ones as null, and nothing else."""
    tree = config_to_tree(RepositoryConfig(inline_chunk_threshold_bytes=12))
    assert tree.pop("inline_chunk_threshold_bytes") == 12
    assert tree == dict.fromkeys(
        [
            "caching",
            "compression",
            "get_partial_values_concurrency",
            "manifest",
            "max_concurrent_decodes",
            "max_concurrent_requests",
            "num_updates_per_repo_info_file",
            "previous_file",
            "repo_update_retries",
            "storage",
            "virtual_chunk_containers",
        ]
    )


YAML = """
inline_chunk_threshold_bytes: 100
compression:
  algorithm: null
  level: 7
virtual_chunk_containers:
  s3://bk/:
    name: null
    url_prefix: s3://bk/
    store: !s3
      region: us-east-1
      allow_http: false
  gs://gb/:
    url_prefix: gs://gb/
    store: !gcs {}
  file:///foo/:
    name: ext
    url_prefix: file:///foo/
    store: !local_file_system /foo
manifest:
  preload:
    preload_if: !and
    - !name_matches
      regex: yes
    - !num_refs
      from: Unbounded
      to: !Excluded 5
    - 'true'
  splitting:
    split_sizes:
    - - !name_matches
        regex: 0x
      - - condition: !DimensionName 1:30
          num_chunks: 3
        - condition: !Axis 1
          num_chunks: 2
        - condition: Any
          num_chunks: 9
    - - any_array
      - - condition: Any
          num_chunks: 8
"""


def test_yaml_of_other_writers() -> None:
    """Tags, plain words that older YAML takes for other things, and missing keys."""
    config = decode_config_yaml(YAML.encode(), name="config.yaml")
    assert config.inline_chunk_threshold_bytes == 100
    assert config.compression == CompressionConfig(level=7)
    assert config.manifest is not None
    assert config.manifest.preload is not None
    assert repr(config.manifest.preload.preload_if) == (
        "ManifestPreloadCondition.and_conditions([ManifestPreloadCondition.name_matches('yes'), "
        "ManifestPreloadCondition.num_refs(None, 5), ManifestPreloadCondition.true()])"
    )
    (_, dims), _ = config.effective_split_sizes()
    assert dims[0] == (ManifestSplitDimCondition.DimensionName("1:30"), 3)
    assert sorted(config.virtual_chunk_containers or {}) == ["file:///foo/", "gs://gb/", "s3://bk/"]
    for empty in (b"", b"# nothing\n", b"{}", b"null\n"):
        assert decode_config_yaml(empty, name="config.yaml") == RepositoryConfig()


def test_unknown_keys_survive() -> None:
    """Keys of a newer version are kept at every level, through both encodings and a merge."""
    tree = {
        "new": {"deep": [1, {"x": None}]},
        "compression": {"level": 1, "window": 27},
        "storage": {"retries": {"jitter": "full"}},
        "virtual_chunk_containers": {
            "s3://a/": {"url_prefix": "s3://a/", "store": {"s3": {"fast": True}}, "colour": "blue"}
        },
    }
    config = config_from_tree(tree, name="x")
    for again in (
        decode_config_flexbuffers(encode_config_flexbuffers(config), name="x"),
        decode_config_yaml(encode_config_yaml(config), name="x"),
        RepositoryConfig().merge(config),
    ):
        kept = config_to_tree(again)
        assert kept["new"] == tree["new"]
        assert kept["compression"]["window"] == 27
        assert kept["storage"]["retries"]["jitter"] == "full"
        container = kept["virtual_chunk_containers"]["s3://a/"]
        assert container["colour"] == "blue"
        assert container["store"]["s3"]["fast"] is True


@pytest.mark.parametrize(
    ("tree", "path"),
    [
        ([], ""),
        ({"inline_chunk_threshold_bytes": "x"}, "inline_chunk_threshold_bytes"),
        ({"inline_chunk_threshold_bytes": 65_536}, "inline_chunk_threshold_bytes"),
        ({"inline_chunk_threshold_bytes": True}, "inline_chunk_threshold_bytes"),
        ({"compression": {"algorithm": "lz4"}}, "compression.algorithm"),
        ({"storage": {"retries": {"max_tries": 0}}}, "storage.retries.max_tries"),
        ({"storage": {"unsafe_use_metadata": 1}}, "storage.unsafe_use_metadata"),
        ({"virtual_chunk_containers": {"a": {"url_prefix": "a"}}}, "virtual_chunk_containers.a.store"),
        (
            {"virtual_chunk_containers": {"a": {"url_prefix": "a", "store": {"ftp": {}}}}},
            "virtual_chunk_containers.a.store",
        ),
        (
            {"virtual_chunk_containers": {"a": {"url_prefix": "a", "store": {"s3": {"region": 1}}}}},
            "virtual_chunk_containers.a.store.s3.region",
        ),
        ({"manifest": {"preload": {"preload_if": "maybe"}}}, "manifest.preload.preload_if"),
        ({"manifest": {"preload": {"preload_if": {"num_refs": {"from": 1}}}}}, "manifest.preload.preload_if"),
        ({"manifest": {"splitting": {"split_sizes": [1]}}}, "manifest.splitting.split_sizes"),
        (
            {"manifest": {"splitting": {"split_sizes": [["any_array", [{}]]]}}},
            "manifest.splitting.split_sizes",
        ),
    ],
)
def test_wrong_values_name_their_key(tree: Any, path: str) -> None:
    """A known key with a wrong value is `Corrupt`; the message has the object and the whole key."""
    with pytest.raises(Corrupt, match=f"config.yaml: invalid configuration: {path}") as caught:
        config_from_tree(tree, name="config.yaml")
    assert caught.value.kind == ErrorKind.CONFIG_DESERIALIZATION


@pytest.mark.parametrize(
    "data",
    [
        b"a: [",
        b"\xff\xfe\x00",
        b"- 1\n- 2",
        b"text",
        b"1: 2",
        b"a: &x [1]\nb: *x",
        b"a: !!python/object/apply:os.getcwd []",
        b"a: !!binary x",
        b"[" * 5000,
        b"a: " * 500,
        b"x" * (2**20 + 1),
        b"a: 1\n---\nb: 2",
        b"inline_chunk_threshold_bytes: 0x" + b"f" * 10_000,
        b"inline_chunk_threshold_bytes: " + b"9" * 10_000,
    ],
)
def test_malformed_yaml(data: bytes) -> None:
    """Broken, dangerous, deep, huge and ambiguous documents are `Corrupt`, quickly."""
    with pytest.raises(Corrupt, match=r"config\.yaml"):
        decode_config_yaml(data, name="config.yaml")


scalars = st.none() | st.booleans() | st.integers(-(2**64), 2**64) | texts
variant_names = st.sampled_from(["s3", "Axis", "local_file_system"])


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    plain = st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
    return plain | st.builds(Variant, variant_names, plain | scalars)


@pytest.mark.parametrize(
    "data", [b"key: SECRET: x", b"a: &SECRET [1]\nb: *SECRET", b"store: !gcs\n  key: 'SECRET", b"a: [SECRET"]
)
def test_errors_do_not_quote_the_file(data: bytes) -> None:
    """An error tells where the file is broken, but not what is in it: that may be a credential."""
    with pytest.raises(Corrupt) as caught:
        decode_config_yaml(data, name="config.yaml")
    assert "SECRET" not in str(caught.value)
    assert caught.value.__cause__ is None


trees = st.recursive(scalars, containers, max_leaves=10)


@given(trees)
def test_yaml_values_survive(tree: Any) -> None:
    """Every tree, with any text in any place, is read back as it was written."""
    assert config_yaml.load(config_yaml.dump(tree), name="x") == tree


@given(st.text(alphabet="ab:-[]{}!&*#'\"|>%@ \n\t0123~.,?", max_size=40))
def test_any_text(text: str) -> None:
    """Whatever the text, the answer is a configuration or `Corrupt`."""
    with contextlib.suppress(Corrupt):
        decode_config_yaml(text.encode(), name="x")
