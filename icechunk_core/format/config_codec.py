"""Reading and writing stored configurations: FlexBuffers in spec 2, YAML in spec 1 (FORMAT.md, section 8)."""

from __future__ import annotations

from typing import Any

from icechunk_core.error_kinds import ErrorKind
from icechunk_core.errors import Corrupt
from icechunk_core.format import config_yaml, flexbuffers
from icechunk_core.format.config_base import InvalidTree, Variant
from icechunk_core.format.configuration import RepositoryConfig

__all__ = [
    "config_from_tree",
    "config_to_tree",
    "decode_config_flexbuffers",
    "decode_config_yaml",
    "encode_config_flexbuffers",
    "encode_config_yaml",
]


def config_to_tree(config: RepositoryConfig) -> dict[str, Any]:
    """The stored form as JSON values: every known key, unset ones as None.

    >>> config_to_tree(RepositoryConfig(inline_chunk_threshold_bytes=12))["inline_chunk_threshold_bytes"]
    12
    """
    tree: dict[str, Any] = _without_variants(config.to_tree())
    return tree


def config_from_tree(tree: Any, *, name: str) -> RepositoryConfig:
    """Read the stored form. Missing keys count as None; unknown ones are kept.

    Parameters
    ----------
    tree
        JSON values, or what the YAML reader gives.
    name
        What errors call the object it comes from.

    Raises
    ------
    Corrupt
        A known key has a value of the wrong type or out of range; the message names the key.
    """
    try:
        return RepositoryConfig.from_tree(tree)
    except (InvalidTree, RecursionError) as error:
        problem = str(error) if isinstance(error, InvalidTree) else "nested too deep"
        raise Corrupt(
            f"invalid configuration: {problem}", object_name=name, kind=ErrorKind.CONFIG_DESERIALIZATION
        ) from error


def encode_config_flexbuffers(config: RepositoryConfig) -> bytes:
    """The bytes for ``Repo.config`` of spec 2."""
    return flexbuffers.encode(config_to_tree(config))


def decode_config_flexbuffers(data: bytes, *, name: str) -> RepositoryConfig:
    """Read ``Repo.config`` of spec 2; raises `Corrupt`."""
    return config_from_tree(flexbuffers.decode(data, name=name), name=name)


def encode_config_yaml(config: RepositoryConfig) -> bytes:
    """The content of ``config.yaml`` of spec 1."""
    return config_yaml.dump(config.to_tree())


def decode_config_yaml(data: bytes, *, name: str) -> RepositoryConfig:
    """Read ``config.yaml`` of spec 1; an empty file is an empty configuration. Raises `Corrupt`."""
    tree = config_yaml.load(data, name=name)
    return config_from_tree({} if tree is None else tree, name=name)


def _without_variants(tree: Any) -> Any:
    if isinstance(tree, Variant):
        return {tree.name: _without_variants(tree.payload)}
    if isinstance(tree, dict):
        return {key: _without_variants(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_without_variants(value) for value in tree]
    return tree
