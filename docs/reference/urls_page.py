"""Writes `urls.md` from the backends' configuration classes: ``python docs/reference/urls_page.py``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any

import attrs

from icechunk_core.contract import BackendSpec

PAGE = Path(__file__).with_name("urls.md")

PLUGINS = ("filesystem", "memory", "s3", "gcs", "azure", "http")

HEAD = """\
# Storage URLs

A storage URL is `scheme://place?option=value&option=value`. Wherever a storage is expected, such a URL will
do; the same options can be keyword arguments of `storage_from_url`, which win over those in the URL, or keys
of a mapping with the key `scheme`. See [Open a storage](../how-to/open-a-storage.md).

Values in a URL are text: `true` and `false`, numbers, and names as they are; special characters
percent-encoded. Options marked "keyword" are values that a URL cannot hold. A **secret** appears in no
`repr`, message or log; keep secrets out of URLs, which tend to be written down, and pass them as keywords or
through the environment.

A wrong option is a `StorageConfigError` that names it and says what was expected. Packages from elsewhere
bring schemes and options of their own.

This page is written by `docs/reference/urls_page.py` from the configuration classes.
"""

ADDRESSES = {
    "filesystem": "`file:///absolute/path`, `file:relative/path`",
    "memory": "`memory:` (a new one each time), `memory:name` (shared within the process)",
    "s3": "`s3://bucket/prefix`",
    "r2": "`r2://bucket/prefix?account_id=…`",
    "tigris": "`tigris://bucket/prefix`",
    "hf": "`hf://namespace/bucket/prefix`",
    "gcs": "`gs://bucket/prefix`",
    "azure": "`az://container/prefix?account=…`, `abfs://container@account.dfs.core.windows.net/prefix`",
    "http": "`https://host/path`, `http://host:port/path`; for reading",
    "redirect": "`redirect:https://host/path`; for reading where that address redirects to",
}
CONSTRUCTORS: dict[str, tuple[str, ...]] = {
    "filesystem": ("local_filesystem_storage",),
    "memory": ("in_memory_storage",),
    "s3": ("s3_storage", "s3_object_store_storage", "r2_storage"),
    "tigris": ("tigris_storage",),
    "hf": ("hf_storage",),
    "gcs": ("gcs_storage",),
    "azure": ("azure_storage",),
    "http": ("http_storage",),
    "redirect": ("redirect_storage",),
}
PLAIN = {"str": "text", "int": "number", "float": "number", "bool": "true or false", "Path": "path"}


def specs() -> Iterator[BackendSpec]:
    """The backends of this distribution. Imports none of their SDKs."""
    for name in PLUGINS:
        yield from import_module(f"icechunk_{name}.plugin").icechunk_backends()


def options_of(config: type[Any]) -> list[attrs.Attribute[Any]]:
    """The fields that are options."""
    attrs.resolve_types(config)  # else it depends on what was opened before
    return [each for each in attrs.fields(config) if each.init and not each.name.startswith("_")]


def meanings(config: type[Any]) -> dict[str, str]:
    """What the docstring of a class, and of those it derives from, says about each option."""
    found: dict[str, str] = {}
    for each in reversed(config.__mro__):
        text = inspect.cleandoc(each.__dict__.get("__doc__") or "")
        _, _, section = text.partition("Attributes\n----------\n")
        section = re.split(r"\n\w+\n-+\n", section)[0]
        for entry in re.split(r"\n(?=\S)", section):
            names, _, meaning = entry.partition("\n")
            for name in filter(None, names.split(",")):
                found[name.strip()] = " ".join(meaning.split()).replace("``", "`")
    return found


def render() -> str:
    """The page as Markdown."""
    lines = [HEAD]
    seen: dict[tuple[str, ...], str] = {}
    for spec in specs():
        lines += _section(spec, seen)
    return "\n".join(lines)


def _section(spec: BackendSpec, seen: dict[tuple[str, ...], str]) -> list[str]:
    lines = [f"## {spec.name}", "", f"Address: {ADDRESSES[spec.name]}.  "]
    others = [f"`{scheme}`" for scheme in spec.schemes[1:]]
    if others:
        lines.append(f"Also with the scheme {', '.join(others)}.  ")
    constructors = [f"`{name}`" for name in CONSTRUCTORS.get(spec.name, ())]
    if constructors:
        lines.append(f"Constructors in `icechunk_core`: {', '.join(constructors)}.  ")
    if spec.install_hint:
        lines.append(f"Needs `{spec.install_hint}`.")
    rows = list(_rows(spec.config))
    known = [name for base, name in ((row, seen.get(row)) for row in rows) if name]
    if known and len(known) > len(rows) // 2:
        lines += ["", f"All options of [{known[0]}](#{known[0]}), with these differences:"]
        rows = [row for row in rows if row not in seen]
    else:
        seen.update(dict.fromkeys(rows, spec.name))
    lines += ["", "| Option | Value | Default | Meaning |", "|---|---|---|---|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return [*lines, ""]


def _rows(config: type[Any]) -> Iterator[tuple[str, str, str, str]]:
    """Options that the docstring describes together share a row."""
    told = meanings(config)
    for meaning, together in groupby(options_of(config), key=lambda each: meaning_of(each.name, told)):
        options = list(together)
        yield (
            ", ".join(f"`{each.name}`" for each in options),
            _each(map(_kind, options), "; "),
            _each(map(_default, options), ", "),
            meaning,
        )


def _each(values: Iterable[str], separator: str) -> str:
    """One value if all are the same, else each in order."""
    listed = list(values)
    return listed[0] if len(set(listed)) == 1 else separator.join(each or "none" for each in listed)


def meaning_of(name: str, told: dict[str, str]) -> str:
    """What is said about an option by its own entry, or which other entry speaks of it; else nothing."""
    if name in told:
        return told[name]
    return next((f"See `{other}`." for other, text in told.items() if f"`{name}`" in text), "")


def _kind(attribute: attrs.Attribute[Any]) -> str:
    kind = attribute.type
    text = kind.__name__ if isinstance(kind, type) else str(kind)
    names = [name.strip() for name in text.split("|") if name.strip() != "None"]
    told = PLAIN.get(names[0], "keyword") if len(names) == 1 else "keyword"
    return told if attribute.repr else f"{told}, secret"


def _default(attribute: attrs.Attribute[Any]) -> str:
    default = attribute.default
    if default is attrs.NOTHING:
        return "required"
    if default is None or isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return ""
    text = str(default).lower() if isinstance(default, bool) else str(default)
    return f"`{text}`" if text else ""


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
