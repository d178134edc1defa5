"""How configurations show themselves: as code that makes them again, and as a list of what applies."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

import attrs

from icechunk_core.html import facts, fold, page

if TYPE_CHECKING:
    from icechunk_core.format.config_base import ConfigNode

__all__ = ["Setting", "as_html", "described", "executable", "settings"]

_INDENT = "    "
_CLASS = re.compile(r"(?<![.\w])(?:Manifest\w+|ObjectStoreConfig)(?=\.)")
_MODULES = {
    "S3Options": "storage",
    "StorageConcurrencySettings": "storage",
    "StorageRetriesSettings": "storage",
    "StorageSettings": "storage",
    "StorageTimeoutSettings": "storage",
    "VirtualChunkContainer": "virtual",
}
"""The public modules of classes that are not in ``config``."""

_DEFAULTS: dict[str, dict[str, Any]] = {
    "RepositoryConfig": {
        "inline_chunk_threshold_bytes": 512,
        "get_partial_values_concurrency": 10,
        "max_concurrent_requests": 256,
        "num_updates_per_repo_info_file": 1000,
    },
    "CompressionConfig": {"algorithm": "Zstd", "level": 3},
    "CachingConfig": {
        "num_snapshot_nodes": 500_000,
        "num_chunk_refs": 15_000_000,
        "num_transaction_changes": 0,
        "num_bytes_attributes": 0,
        "num_bytes_chunks": 0,
    },
    "ManifestPreloadConfig": {"max_total_refs": 10_000, "max_arrays_to_scan": 50},
    "ManifestSplittingConfig": {"split_sizes": "automatic"},
    "ManifestVirtualChunkLocationCompressionConfig": {
        "min_num_chunks": 1000,
        "dictionary_max_training_samples": 100,
        "dictionary_max_size_bytes": 2048,
        "compression_level": 3,
    },
    "ManifestConfig": {"max_concurrent_manifest_fetches_during_commit": 1},
    "StorageSettings": {
        "unsafe_use_conditional_create": True,
        "unsafe_use_conditional_update": True,
        "unsafe_use_metadata": True,
    },
    "RepoUpdateRetryConfig.default": {
        "max_tries": 100,
        "initial_backoff_ms": 50,
        "max_backoff_ms": 30_000,
    },
}
"""What applies where nothing is set; ``Class.field`` for a nested configuration with defaults of its own."""

_NESTED_BY_DEFAULT = {
    "RepositoryConfig": ("compression", "caching", "manifest", "repo_update_retries"),
    "ManifestConfig": ("preload", "splitting", "virtual_chunk_location_compression"),
    "RepoUpdateRetryConfig": ("default",),
}
"""Nested configurations whose defaults are shown where they are not set."""


def _public(name: str) -> str:
    return f"icechunk_core.{_MODULES.get(name.split('.', maxsplit=1)[0], 'config')}.{name}"


def _fields(value: ConfigNode) -> Iterator[attrs.Attribute[Any]]:
    """What the constructor takes, plain values before nested ones."""
    fields = [each for each in attrs.fields(type(value)) if each.init and each.name != "unknown"]
    return iter(sorted(fields, key=lambda each: "node" in each.metadata))


def executable(value: Any, indent: str = "") -> str:
    """Code that makes the value, over several lines where it is nested.

    >>> from icechunk_core.format.configuration import CompressionConfig
    >>> print(executable(CompressionConfig(level=3)))
    icechunk_core.config.CompressionConfig(
        algorithm=None,
        level=3,
    )
    """
    inner = indent + _INDENT
    if hasattr(value, "codecs"):
        parts = [f"{each.name}={executable(getattr(value, each.name), inner)}" for each in _fields(value)]
        return _block(_public(type(value).__name__) + "(", parts, ")", indent)
    if isinstance(value, Mapping):
        parts = [f"{executable(key)}: {executable(item, inner)}" for key, item in value.items()]
        return _block("{", parts, "}", indent)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Enum):
        return f"{_public(type(value).__name__)}.{value.name}"
    if isinstance(value, tuple):
        items = [executable(item, indent) for item in value]
        return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"
    options = getattr(value, "options", None)
    if options is not None and hasattr(options, "codecs"):
        name = repr(value).partition("(")[0]
        return f"{_public(name)}({executable(options, indent)})"
    return _CLASS.sub(lambda found: _public(found[0]), repr(value)).replace(".any_array()", ".AnyArray()")


def _block(start: str, parts: list[str], end: str, indent: str) -> str:
    if not parts:
        return start + end
    lines = "".join(f"{indent}{_INDENT}{part},\n" for part in parts)
    return f"{start}\n{lines}{indent}{end}"


def described(value: ConfigNode) -> str:
    """Every setting with the value that applies; what is not set says that it is a default."""
    return "\n".join(_described(value, _DEFAULTS.get(type(value).__name__, {}))) + "\n"


def _described(value: ConfigNode, defaults: Mapping[str, Any], title: str = "") -> Iterator[str]:
    name = type(value).__name__
    yield f"<{_public(title or name)}>"
    for each in _fields(value):
        yield from _line(name, each, getattr(value, each.name), defaults)


def _line(owner: str, each: attrs.Attribute[Any], value: Any, defaults: Mapping[str, Any]) -> Iterator[str]:
    cls = each.metadata.get("node")
    if value is None and cls is not None and each.name in _NESTED_BY_DEFAULT.get(owner, ()):
        value = cls()
    if hasattr(value, "codecs"):
        below = f"{owner}.{each.name}" if f"{owner}.{each.name}" in _DEFAULTS else type(value).__name__
        yield f"{each.name}:"
        yield from (_INDENT + line for line in _described(value, _DEFAULTS.get(below, {})))
    elif isinstance(value, Mapping) and value and all(hasattr(item, "codecs") for item in value.values()):
        yield f"{each.name}:"
        for key, item in value.items():
            yield f"{_INDENT}{key}:"
            yield from (2 * _INDENT + line for line in _described(item, {}))
    elif hasattr(getattr(value, "options", None), "codecs"):
        yield f"{each.name}:"
        lines = _described(value.options, {}, repr(value).partition("(")[0])
        yield from (_INDENT + line for line in lines)
    elif value is None and each.name in defaults:
        yield f"{each.name}: {defaults[each.name]} (default)"
    else:
        yield f"{each.name}: {value.name if isinstance(value, Enum) else executable(value)}"


@attrs.frozen
class Setting:
    """One setting and its value.

    Attributes
    ----------
    name
        Its place, such as ``caching.num_chunk_refs``.
    value
        The value that applies, as text.
    given
        Whether it was set; otherwise it is the default.
    """

    name: str
    value: str
    given: bool


def settings(value: ConfigNode) -> list[Setting]:
    """Every setting of a configuration that has a value, nested ones included.

    >>> from icechunk_core.format.configuration import CompressionConfig
    >>> [(each.name, each.value, each.given) for each in settings(CompressionConfig(level=5))]
    [('algorithm', 'Zstd', False), ('level', '5', True)]
    """
    return list(_settings(value, _DEFAULTS.get(type(value).__name__, {}), ""))


def _settings(value: ConfigNode, defaults: Mapping[str, Any], prefix: str) -> Iterator[Setting]:
    owner = type(value).__name__
    for each in _fields(value):
        inner, name = getattr(value, each.name), prefix + each.name
        cls = each.metadata.get("node")
        if inner is None and cls is not None and each.name in _NESTED_BY_DEFAULT.get(owner, ()):
            inner = cls()
        if hasattr(inner, "codecs"):
            below = f"{owner}.{each.name}" if f"{owner}.{each.name}" in _DEFAULTS else type(inner).__name__
            yield from _settings(inner, _DEFAULTS.get(below, {}), name + ".")
        elif isinstance(inner, Mapping) and inner and all(hasattr(item, "codecs") for item in inner.values()):
            for key, item in inner.items():
                yield from _settings(item, {}, f"{name}[{key}].")
        elif hasattr(getattr(inner, "options", None), "codecs"):
            yield Setting(name, repr(inner).partition("(")[0], True)
            yield from _settings(inner.options, {}, name + ".")
        elif inner is not None:
            yield Setting(name, inner.name if isinstance(inner, Enum) else _plain(inner), True)
        elif each.name in defaults:
            yield Setting(name, str(defaults[each.name]), False)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else executable(value)


def as_html(value: ConfigNode) -> str:
    """What was set, and behind a line that unfolds it what has its default."""
    every = settings(value)
    given = [(each.name, each.value) for each in every if each.given]
    rest = [(each.name, each.value) for each in every if not each.given]
    shown = facts(given) if given else "<div class='icck-note'>nothing is set</div>"
    folded = fold(f"<span class='icck-mute'>{len(rest)} defaults</span>", facts(rest)) if rest else ""
    return page(type(value).__name__, shown, folded)
