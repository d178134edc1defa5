"""Kerchunk's reference sets, from whatever holds them: dictionaries, JSON, Parquet.

The text form has two versions. Version 0 is one dictionary from keys to references; version 1 puts it
under ``refs`` and may shorten URLs by templates and whole series of references by ``gen``. Parquet
keeps the references of each array as columns, some thousand to a file.

Written after the specification at https://fsspec.github.io/kerchunk/spec.html; templates are
rendered by Jinja2 in its sandbox.
"""

from __future__ import annotations

import base64
import functools
import importlib
import io
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import zstandard
from attrs import frozen

from icechunk_core.contract import Storage
from icechunk_core.drive import run
from icechunk_core.errors import ErrorKind, InvalidInputError, NotFound
from icechunk_core.storage import as_storage, storage_from_url

__all__ = ["ParquetReferences", "Reference", "TextReferences", "as_bytes", "as_document", "load_references"]

Reference: TypeAlias = "str | bytes | Mapping[str, Any] | Sequence[Any]"
"""Bytes (as text, or ``base64:``), a JSON document, ``[url]``, or ``[url, offset, length]``."""

_METADATA = (".zarray", ".zattrs", ".zgroup", "zarr.json")
_ZSTD = b"\x28\xb5\x2f\xfd"


@frozen
class TextReferences:
    """Keys and references, templates filled in."""

    references: Mapping[str, Reference]

    def metadata(self) -> dict[str, dict[str, Any]]:
        """The metadata documents by key."""
        return {key: as_document(key, ref) for key, ref in self.references.items() if _is_metadata(key)}

    def chunks(self) -> Iterator[tuple[str, Reference]]:
        """All other keys and their references."""
        return ((key, ref) for key, ref in self.references.items() if not _is_metadata(key))


@frozen
class ParquetReferences:
    """References in Parquet files; those of an array are read when they are asked for."""

    read: Callable[[str], bytes]
    documents: Mapping[str, dict[str, Any]]
    record_size: int

    def metadata(self) -> dict[str, dict[str, Any]]:
        """The metadata documents by key."""
        return {key: value for key, value in self.documents.items() if _is_metadata(key)}

    def columns(self, path: str, count: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """For each file of an array of so many chunks: the number of its first chunk, and its columns.

        Chunks are numbered in C order. The columns are ``path``, ``offset``, ``size`` and ``raw``; some
        may be missing.
        """
        for record in range(-(-count // self.record_size)):
            try:
                data = self.read(f"{path}/refs.{record}.parq")
            except NotFound:  # nothing but fill values
                continue
            table = _parquet(data).iloc[: count - record * self.record_size]
            yield record * self.record_size, {name: table[name].to_numpy() for name in table.columns}


def load_references(
    source: Any, storage_options: Mapping[str, Any] | None = None
) -> TextReferences | ParquetReferences:
    """Read a reference set.

    Parameters
    ----------
    source
        A dictionary; or path or URL of a JSON file (zstd-compressed or not) or of a Parquet directory.
    storage_options
        Options of the storage backend for a URL.

    Raises
    ------
    InvalidInputError
        If it is none.
    NotFound
        If there is nothing at the location.
    """
    if isinstance(source, Mapping):
        return TextReferences(_expanded(source))
    if not isinstance(source, str | os.PathLike):
        raise _malformed(f"references are a dictionary, a path or a URL, not a {type(source).__name__}")
    place = os.fspath(source).rstrip("/")
    folder, slash, name = place.rpartition("/")
    read = _reader(folder or (slash or "."), storage_options)
    try:
        listing = json.loads(read(f"{name}/.zmetadata"))
    except NotFound:
        data = read(name)
    else:
        inside = functools.partial(_inside, read, name)
        return ParquetReferences(inside, listing["metadata"], int(listing["record_size"]))
    if data.startswith(_ZSTD):
        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    try:
        document = json.loads(data)
    except ValueError as error:
        raise _malformed(f"{place!r} is no JSON: {error}") from error
    if not isinstance(document, Mapping):
        raise _malformed(f"{place!r} holds no JSON object")
    return TextReferences(_expanded(document))


def as_document(key: str, ref: Reference) -> dict[str, Any]:
    """A metadata reference as what it holds.

    Raises
    ------
    InvalidInputError
        If that is no JSON object.
    """
    try:
        document = dict(ref) if isinstance(ref, Mapping) else json.loads(as_bytes(key, ref))
    except ValueError as error:
        raise _malformed(f"the reference {key!r} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise _malformed(f"the reference {key!r} is no JSON object")
    return document


def as_bytes(key: str, ref: Reference) -> bytes:
    """The bytes that a reference holds itself.

    >>> as_bytes("x/0", "base64:AAE=")
    b'\\x00\\x01'
    """
    if isinstance(ref, bytes):
        ref = ref.decode("latin-1") if ref.startswith(b"base64:") else ref
    if isinstance(ref, bytes):
        return ref
    if isinstance(ref, str):
        return base64.b64decode(ref[7:]) if ref.startswith("base64:") else ref.encode()
    if isinstance(ref, Mapping):
        return json.dumps(ref).encode()
    raise _malformed(f"{key!r} holds no bytes but refers to others; metadata has to be in the reference set")


def _malformed(why: str) -> InvalidInputError:
    return InvalidInputError(why, kind=ErrorKind.INVALID_VIRTUAL_REF)


def _is_metadata(key: str) -> bool:
    return key.endswith(_METADATA) and key.rpartition("/")[2] in _METADATA


def _reader(place: str, options: Mapping[str, Any] | None) -> Callable[[str], bytes]:
    storage: Storage = storage_from_url(place, **options) if options else as_storage(place)

    def read(name: str) -> bytes:
        return bytes(run(storage.get_range(name), may_suspend=storage.may_suspend)[0])

    return read


def _inside(read: Callable[[str], bytes], folder: str, name: str) -> bytes:
    return read(f"{folder}/{name}")


def _parquet(data: bytes) -> Any:
    try:
        pandas = importlib.import_module("pandas")
        return pandas.read_parquet(io.BytesIO(data))
    except ImportError as error:
        raise InvalidInputError(
            "references in Parquet need pandas and pyarrow or fastparquet: pip install pandas fastparquet",
            kind=ErrorKind.NOT_ALLOWED,
        ) from error


# --- version 1


def _expanded(document: Mapping[str, Any]) -> dict[str, Reference]:
    """Keys and references without templates and generators."""
    version = document.get("version") if "refs" in document or "gen" in document else 0
    if version not in (0, 1):
        raise _malformed(f"version {version!r} of kerchunk's references is not known; known are 0 and 1")
    if not version:
        return dict(document)
    templates = {name: _template(text) for name, text in (document.get("templates") or {}).items()}

    @functools.cache
    def filled(text: str) -> str:
        for name, value in templates.items():
            if isinstance(value, str):
                text = text.replace(f"{{{{{name}}}}}", value)
        return _render(text, templates) if "{{" in text else text

    found: dict[str, Reference] = {}
    for key, ref in (document.get("refs") or {}).items():
        is_place = isinstance(ref, list | tuple) and ref and isinstance(ref[0], str)
        found[key] = [filled(ref[0]), *ref[1:]] if is_place and "{{" in ref[0] else ref
    for generator in document.get("gen") or ():
        found.update(_generated(generator, templates))
    return found


def _template(text: str) -> str | Callable[..., str]:
    """A text, or a function of the arguments that are in it."""
    return (lambda **given: _render(text, given)) if "{{" in text else text


def _generated(generator: Mapping[str, Any], templates: Mapping[str, Any]) -> Iterator[tuple[str, Reference]]:
    dimensions = {
        name: values
        if isinstance(values, list)
        else range(values.get("start", 0), values["stop"], values.get("step", 1))
        for name, values in generator["dimensions"].items()
    }
    for chosen in itertools.product(*dimensions.values()):
        given = {**templates, **dict(zip(dimensions, chosen, strict=True))}
        ref: list[Any] = [_render(generator["url"], given)]
        if "offset" in generator and "length" in generator:
            ref += [int(_render(str(generator[name]), given)) for name in ("offset", "length")]
        yield _render(generator["key"], given), ref


def _render(text: str, given: Mapping[str, Any]) -> str:
    try:
        sandbox = importlib.import_module("jinja2.sandbox")
    except ImportError as error:
        raise InvalidInputError(
            "these references have templates with arguments, or are generated: pip install jinja2",
            kind=ErrorKind.NOT_ALLOWED,
        ) from error
    rendered: str = sandbox.SandboxedEnvironment().from_string(text).render(**given)
    return rendered
