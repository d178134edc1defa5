"""Where virtual chunks may be read from: containers and their storage (FORMAT.md, sections 8 and 20)."""

# ruff: noqa: RUF009 - the calls make attrs fields

from __future__ import annotations

import operator
from collections.abc import Mapping
from enum import Enum
from typing import Any, ClassVar, TypeAlias

from attrs import define, field

from icechunk_core.format.config_base import (
    Codec,
    ConfigNode,
    InvalidTree,
    Variant,
    choice,
    custom,
    invalid,
    variant_of,
)
from icechunk_core.html import page, text

__all__ = ["ChecksumAlgorithm", "ObjectStoreConfig", "S3Options", "VirtualChunkContainer"]

Tree = Any


class ChecksumAlgorithm(Enum):
    """Checksum to send with S3 writes."""

    Crc32 = 0
    Crc32c = 1
    Crc64Nvme = 2
    Sha1 = 3
    Sha256 = 4


_CHECKSUM_NAMES: dict[Enum, str] = {
    ChecksumAlgorithm.Crc32: "crc32",
    ChecksumAlgorithm.Crc32c: "crc32c",
    ChecksumAlgorithm.Crc64Nvme: "crc64_nvme",
    ChecksumAlgorithm.Sha1: "sha1",
    ChecksumAlgorithm.Sha256: "sha256",
}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise invalid(f"expected a string, not {type(value).__name__}")
    return value


def _optional_text(value: Any) -> str | None:
    return None if value is None else _text(value)


def _timeout(value: Any) -> int | None:
    if value is None:
        return None
    seconds = operator.index(value)
    if not 0 <= seconds < 1 << 32:
        raise invalid(f"network_stream_timeout_seconds: {seconds} is not between 0 and 2^32")
    return seconds


@define(repr=False)
class S3Options(ConfigNode):
    """How to reach an S3 compatible service.

    Parameters
    ----------
    region, endpoint_url
        Where it is; None leaves it to the client.
    allow_http
        Permit requests without TLS.
    anonymous
        Do not sign requests.
    force_path_style
        Put the bucket into the path instead of the host name.
    network_stream_timeout_seconds
        Give up when nothing was transferred for so long; 0 never does, None is the client's default.
    requester_pays
        Accept being charged for requests.
    checksum_algorithm
        Overrides the client's choice for writes.
    """

    region: str | None = field(default=None, converter=_optional_text)
    endpoint_url: str | None = field(default=None, converter=_optional_text)
    allow_http: bool = field(default=False, converter=bool)
    anonymous: bool = field(default=False, converter=bool)
    force_path_style: bool = field(default=False, converter=bool)
    network_stream_timeout_seconds: int | None = field(default=None, converter=_timeout)
    requester_pays: bool = field(default=False, converter=bool)
    checksum_algorithm: ChecksumAlgorithm | None = choice(_CHECKSUM_NAMES)

    def to_tree(self) -> dict[str, Tree]:
        """The stored form."""
        algorithm = self.checksum_algorithm
        return self.unknown | {
            "region": self.region,
            "endpoint_url": self.endpoint_url,
            "anonymous": self.anonymous,
            "allow_http": self.allow_http,
            "force_path_style": self.force_path_style,
            "network_stream_timeout_seconds": self.network_stream_timeout_seconds,
            "requester_pays": self.requester_pays,
            "checksum_algorithm": None if algorithm is None else _CHECKSUM_NAMES[algorithm],
        }

    @classmethod
    def from_tree(cls, tree: Tree) -> S3Options:
        """Read the stored form; raises `InvalidTree`."""
        if not isinstance(tree, dict):
            raise InvalidTree("expected a map")
        options = cls()
        for key, value in tree.items():
            kind = _S3_KEYS.get(key)
            if kind is None:
                options.unknown[key] = value
            elif value is not None:
                options._set_from_tree(key, value, kind)
        return options

    def _set_from_tree(self, key: str, value: Tree, kind: type) -> None:
        if kind is Enum:
            value = {name: member for member, name in _CHECKSUM_NAMES.items()}.get(str(value))
        if value is None or (kind is not Enum and type(value) is not kind):
            raise InvalidTree("unexpected value", key)
        try:
            setattr(self, key, value)
        except ValueError as error:
            raise InvalidTree(str(error), key) from None


_S3_KEYS: dict[str, type] = {
    "region": str,
    "endpoint_url": str,
    "anonymous": bool,
    "allow_http": bool,
    "force_path_style": bool,
    "network_stream_timeout_seconds": int,
    "requester_pays": bool,
    "checksum_algorithm": Enum,
}


class ObjectStoreConfig:
    """Which kind of storage a container reads, and its settings; one of the classes inside.

    >>> ObjectStoreConfig.S3(S3Options(region="eu-west-1")).accepts("s3")
    True
    """

    variant: ClassVar[str] = ""
    schemes: ClassVar[tuple[str, ...]] = ()

    InMemory: TypeAlias = "_InMemory"
    LocalFileSystem: TypeAlias = "_LocalFileSystem"
    S3Compatible: TypeAlias = "_S3Compatible"
    S3: TypeAlias = "_S3"
    Gcs: TypeAlias = "_Gcs"
    Azure: TypeAlias = "_Azure"
    Tigris: TypeAlias = "_Tigris"
    Http: TypeAlias = "_Http"

    def accepts(self, scheme: str) -> bool:
        """Whether URLs with that scheme can be read through this kind of storage."""
        return scheme in self.schemes

    def _repr_html_(self) -> str:
        return page(type(self).__qualname__, f"<pre>{text(repr(self))}</pre>")

    def to_tree(self) -> Tree:
        """The stored form."""
        return Variant(self.variant, self._payload())

    def _payload(self) -> Tree:
        return {}

    @staticmethod
    def from_tree(tree: Tree) -> ObjectStoreConfig:
        """Read the stored form; raises `InvalidTree`."""
        variant = variant_of(tree)
        cls = _BY_VARIANT.get(variant.name)
        if cls is None:
            raise InvalidTree(f"unknown object store {variant.name!r}")
        try:
            return cls._from_payload(variant.payload)
        except InvalidTree as error:
            raise error.below(variant.name) from None

    @classmethod
    def _from_payload(cls, payload: Tree) -> ObjectStoreConfig:
        return cls()


@define
class _InMemory(ObjectStoreConfig):
    """Memory of this process."""

    variant = "in_memory"

    def to_tree(self) -> Tree:
        return self.variant


def _path(path: Any) -> str:
    return str(path)


@define
class _LocalFileSystem(ObjectStoreConfig):
    """A directory of this machine."""

    variant = "local_file_system"
    schemes = ("file",)

    path: str = field(converter=_path)

    def _payload(self) -> Tree:
        return self.path

    @classmethod
    def _from_payload(cls, payload: Tree) -> ObjectStoreConfig:
        if not isinstance(payload, str):
            raise InvalidTree("expected a path")
        return cls(payload)


def _s3_options(options: Any) -> S3Options:
    if not isinstance(options, S3Options):
        raise invalid(f"expected S3Options, not {type(options).__name__}")
    return options


@define
class _S3(ObjectStoreConfig):
    """Amazon S3."""

    variant = "s3"
    schemes: ClassVar[tuple[str, ...]] = ("s3",)

    options: S3Options = field(converter=_s3_options)

    def _payload(self) -> Tree:
        return self.options.to_tree()

    @classmethod
    def _from_payload(cls, payload: Tree) -> ObjectStoreConfig:
        return cls(S3Options.from_tree(payload))


@define
class _S3Compatible(_S3):
    """A service that speaks S3's protocol."""

    variant = "s3_compatible"


@define
class _Tigris(_S3):
    """Tigris."""

    variant = "tigris"
    schemes = ("tigris", "s3")

    options: S3Options = field(converter=_s3_options, alias="opts")


def _strings(mapping: Mapping[str, str] | None) -> dict[str, str] | None:
    if mapping is None:
        return None
    return {_text(key): _text(value) for key, value in mapping.items()}


def _hidden(mapping: dict[str, str] | None) -> str:
    """Options without their values, which may be secrets."""
    return "None" if mapping is None else "{" + ", ".join(f"{key!r}: ..." for key in mapping) + "}"


def _strings_of(payload: Tree) -> dict[str, str]:
    if not isinstance(payload, dict) or not all(isinstance(value, str) for value in payload.values()):
        raise InvalidTree("expected a map of strings")
    return dict(payload)


@define
class _Options(ObjectStoreConfig):
    """Settings by the names that the storage client gives them."""

    opts: dict[str, str] | None = field(default=None, converter=_strings, repr=_hidden)

    def _payload(self) -> Tree:
        return dict(self.opts or {})

    @classmethod
    def _from_payload(cls, payload: Tree) -> ObjectStoreConfig:
        return cls(_strings_of({} if payload is None else payload) or None)


@define
class _Gcs(_Options):
    """Google Cloud Storage."""

    variant = "gcs"
    schemes = ("gs", "gcs")


@define
class _Azure(_Options):
    """Azure Blob Storage; the option ``account`` is needed."""

    variant = "azure"
    schemes = ("az", "azure", "abfs")


@define
class _Http(_Options):
    """Plain HTTP, with headers to send along."""

    variant = "http"
    schemes = ("http", "https")

    headers: dict[str, str] | None = field(default=None, converter=_strings, repr=_hidden)

    def _payload(self) -> Tree:
        return dict(self.opts or {}) | ({"headers": dict(self.headers)} if self.headers else {})

    @classmethod
    def _from_payload(cls, payload: Tree) -> ObjectStoreConfig:
        if not isinstance(payload, dict):
            raise InvalidTree("expected a map")
        options = {key: value for key, value in payload.items() if key != "headers"}
        headers = payload.get("headers")
        return cls(_strings_of(options) or None, None if headers is None else _strings_of(headers))


_VARIANTS = (_InMemory, _LocalFileSystem, _S3, _S3Compatible, _Tigris, _Gcs, _Azure, _Http)
_BY_VARIANT: dict[str, type[ObjectStoreConfig]] = {cls.variant: cls for cls in _VARIANTS}
for _variant in _VARIANTS:
    # They can only be put where users look for them once both classes exist.
    _variant.__name__ = _variant.__name__.removeprefix("_")
    _variant.__qualname__ = f"ObjectStoreConfig.{_variant.__name__}"
    setattr(ObjectStoreConfig, _variant.__name__, _variant)


def _check_store(value: Any) -> ObjectStoreConfig:
    if not isinstance(value, ObjectStoreConfig) or not value.variant:
        raise TypeError(f"expected one of the ObjectStoreConfig classes, not {type(value).__name__}")
    return value


def _check_prefix(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("expected a URL prefix")
    return value


def _prefix_from_tree(tree: Tree) -> str:
    if not isinstance(tree, str):
        raise InvalidTree("expected a URL prefix")
    return tree


@define(repr=False)
class VirtualChunkContainer(ConfigNode):
    """A place that virtual chunks may be read from.

    Parameters
    ----------
    url_prefix
        Locations starting with it belong to the container; ends in ``/``.
    store
        How to read it.
    name
        Optional; locations may then be written ``vcc://name/path``.
    """

    required: ClassVar[tuple[str, ...]] = ("url_prefix", "store")

    url_prefix: str = custom(Codec(_check_prefix, _check_prefix, _prefix_from_tree))
    store: ObjectStoreConfig = custom(
        Codec(_check_store, lambda store: store.to_tree(), ObjectStoreConfig.from_tree)
    )
    name: str | None = custom(Codec(_check_prefix, _check_prefix, _prefix_from_tree))

    def problem(self) -> str | None:
        """Why the container cannot be used, or None if it can."""
        scheme, separator, rest = self.url_prefix.partition("://")
        if not separator or not scheme:
            return f"url_prefix {self.url_prefix!r} is no URL"
        if not self.url_prefix.endswith("/"):
            return f"url_prefix {self.url_prefix!r} must end in '/'"
        if not self.store.accepts(scheme):
            return f"{type(self.store).__name__} cannot read {scheme}:// URLs"
        if not rest.strip("/"):
            missing = "a path" if scheme == "file" else "a bucket, container or host"
            return f"url_prefix {self.url_prefix!r} lacks {missing}"
        if self.name is not None and (not self.name or "/" in self.name):
            return f"container name {self.name!r} must not be empty or contain '/'"
        return None
