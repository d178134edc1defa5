"""Writes `configuration.md` from the configuration classes: ``python docs/reference/configuration_page.py``."""

# ruff: noqa: E501 - rows of Markdown

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import attrs

import icechunk_core
from icechunk_core.format.config_display import _DEFAULTS as DEFAULTS

PAGE = Path(__file__).with_name("configuration.md")

REPOSITORY = (
    "RepositoryConfig",
    "CompressionConfig",
    "CachingConfig",
    "ManifestConfig",
    "ManifestPreloadConfig",
    "ManifestSplittingConfig",
    "ManifestVirtualChunkLocationCompressionConfig",
    "RepoUpdateRetryConfig",
    "StorageSettings",
    "StorageConcurrencySettings",
    "StorageRetriesSettings",
    "StorageTimeoutSettings",
    "VirtualChunkContainer",
    "S3Options",
)
"""The classes whose values are stored in a repository, from the root down."""

CLIENT = ("PackConfig",)
"""The classes that belong to whoever opens a repository."""

WITHOUT_EFFECT = {
    "RepositoryConfig": ("max_concurrent_decodes",),
    "CachingConfig": ("num_transaction_changes", "num_bytes_attributes"),
    "ManifestConfig": ("max_concurrent_manifest_fetches_during_commit",),
}
"""What is stored for Icechunk's sake and changes nothing here."""

TOLD = {
    ("StorageSettings", "minimum_size_for_multipart_upload"): "16 MiB, Google 64 MiB",
    ("StorageConcurrencySettings", "max_concurrent_requests_for_object"): "S3 8, Google 32, Azure 6",
    ("StorageConcurrencySettings", "ideal_concurrent_request_size"): "8 MiB, reads from S3 12 MiB",
    ("StorageRetriesSettings", "max_tries"): "S3 10, Google 8, Azure 6, HTTP 5",
    ("StorageRetriesSettings", "initial_backoff_ms"): "100",
    ("StorageRetriesSettings", "max_backoff_ms"): "5,000",
    ("ManifestPreloadConfig", "preload_if"): "named like a coordinate, up to 1,000 references",
    ("RepoUpdateRetryConfig", "default"): "100 tries, 50 ms, 30,000 ms",
    ("CompressionConfig", "algorithm"): "`Zstd`",
    ("ManifestSplittingConfig", "split_sizes"): "131,072 references",
}
"""Defaults that are no plain values."""

VARIABLES = {
    "ICECHUNK_CORE_PLAIN_LAYOUT": "`1`: no packs and no automatic splitting of manifests, wherever a program "
    "does not say `packs=` itself. See [Packs](../explanation/packs.md).",
    "ICECHUNK_CORE_DISABLE_PLUGINS": "Schemes or names of distributions, with commas, whose storage "
    "plugins are never loaded; `all` for all plugins, those of this package included.",
    "ICECHUNK_LOG": "Write the library's messages to the terminal from the import on, and which: `info`, "
    "`icechunk_core.session=debug,warn`.",
    "ICECHUNK_LOG_TO_STDOUT": "Set to anything: those messages go to stdout instead of stderr.",
}
"""Environment variables of the core, with what they do."""

HEAD = """\
# Configuration

Three kinds of settings, in three places:

| Settings | Are given as | Belong to |
|---|---|---|
| of the repository: [`RepositoryConfig`](#repositoryconfig) | `config=`, `icechunk-core config` | the repository, if stored |
| of the one who opens it: [`PackConfig`](#packconfig), credentials, executors | arguments of `create` and `open` | this program |
| of the storage: endpoints, timeouts, retries, regions | the [storage's URL or constructor](urls.md) | this program |

```python
from icechunk_core import CompressionConfig, Repository, RepositoryConfig

slow_but_small = RepositoryConfig(compression=CompressionConfig(level=9))
repo = Repository.create("memory:", config=slow_but_small)
same = repo.reopen(config=RepositoryConfig(inline_chunk_threshold_bytes=0))
print(same.config.compression.level, same.config.inline_chunk_threshold_bytes)
```

```text
9 0
```

`create` stores its `config`. `open` and `reopen` merge what they are given over what is stored, for this object only, until
`save_config()` stores that. Whatever is `None` is not set, and the default applies; `print(repo.config)` shows
every setting with the value that applies. `virtual_chunk_containers`, `manifest.preload` and `manifest.splitting` are
replaced whole, everything else merges value by value.

Settings marked † are read, kept and written, since Icechunk heeds them, and change nothing in icechunk-core: it has no
such limit, since what they bound is small in columns (changes, attributes), or is bounded by
`max_concurrent_requests` already (decoding, manifests of a commit).

This page is written by `docs/reference/configuration_page.py` from the classes.
"""


def meanings(cls: type[Any]) -> dict[str, str]:
    """What the docstring of a class says about each setting."""
    text = inspect.cleandoc(cls.__doc__ or "")
    section = re.split(r"(?:Parameters|Attributes)\n-+\n", text)[-1]
    section = re.split(r"\n\w+\n-+\n|\n\n", section)[0]
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", section):
        names, _, meaning = entry.partition("\n")
        if meaning:
            for name in names.split(","):
                found[name.strip()] = _tidy(meaning)
    return found


def _tidy(meaning: str) -> str:
    """Without what the other columns tell."""
    text = " ".join(meaning.split()).replace("``", "`").replace("See their classes.", "")
    return re.sub(r" \(effective defaults?:? [^)]*\)", "", text)


def settings_of(cls: type[Any]) -> list[attrs.Attribute[Any]]:
    """The fields that somebody can set."""
    attrs.resolve_types(cls)
    return [each for each in attrs.fields(cls) if each.init and each.name != "unknown"]


def render() -> str:
    """The page as Markdown."""
    lines = [HEAD, "## Of the repository", ""]
    for name in REPOSITORY:
        lines += _section(name)
    lines += ["## Of the one who opens it", ""]
    for name in CLIENT:
        lines += _section(name)
    lines += ["## Environment variables", "", "| Variable | Meaning |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in VARIABLES.items()]
    lines += ["", "Backends read those of their services, such as `AWS_REGION`; see [Storage URLs](urls.md)."]
    return "\n".join(lines) + "\n"


def _section(name: str) -> list[str]:
    cls = getattr(icechunk_core, name)
    text = inspect.cleandoc(cls.__doc__ or "")
    summary = re.split(r"\n\n(?:>>>|(?:Parameters|Attributes)\n)", text)[0].replace("``", "`")
    lines = [f"### {name}", "", summary, "", "| Setting | Value | Default | Meaning |", "|---|---|---|---|"]
    return [*lines, *("| " + " | ".join(row) + " |" for row in _rows(cls)), ""]


def _rows(cls: type[Any]) -> Iterator[tuple[str, str, str, str]]:
    """Settings that the docstring describes together, and that have one kind, share a row."""
    told, idle = meanings(cls), WITHOUT_EFFECT.get(cls.__name__, ())

    def together(each: attrs.Attribute[Any]) -> tuple[str, str, bool]:
        return told[each.name], _kind(each), each.name in idle

    for (meaning, kind, without), group in groupby(settings_of(cls), key=together):
        settings = list(group)
        yield (
            ", ".join(f"`{each.name}`" for each in settings) + " †" * without,
            kind,
            ", ".join(_default(cls.__name__, each) for each in settings).strip(", "),
            meaning or _summary_of(settings[0]),
        )


def _summary_of(setting: attrs.Attribute[Any]) -> str:
    nested = setting.metadata.get("node")
    return inspect.cleandoc(nested.__doc__).partition("\n")[0] if nested else ""


def _kind(setting: attrs.Attribute[Any]) -> str:
    text = setting.type.__name__ if isinstance(setting.type, type) else str(setting.type)
    text = re.sub(r"(?:\w+\.)+(?=\w)", "", text).removesuffix(" | None")
    nested = re.search(r"[A-Z]\w+(?:Config|Settings|Container)$|[A-Z]\w+(?:Config|Container)(?=\])", text)
    if nested and nested[0] in REPOSITORY:
        by_prefix = "by prefix, " if text.startswith("dict") else ""
        return f"{by_prefix}[`{nested[0]}`](#{nested[0].lower()})"
    plain = {"int": "number", "bool": "true or false", "str": "text"}
    return plain.get(text, "rules" if "tuple" in text else f"`{text}`")


def _default(owner: str, setting: attrs.Attribute[Any]) -> str:
    if (owner, setting.name) in TOLD:
        return TOLD[owner, setting.name]
    value = DEFAULTS.get(owner, {}).get(setting.name, setting.default)
    if value is None or value is attrs.NOTHING:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
