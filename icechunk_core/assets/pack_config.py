"""How small chunks are packed when they are written, and read together when they are read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from attrs import Attribute, evolve, field, frozen

from icechunk_core.errors import InvalidInputError

__all__ = ["PLAIN_LAYOUT_VARIABLE", "PackConfig", "as_pack_config", "plain_layout"]

PLAIN_LAYOUT_VARIABLE = "ICECHUNK_CORE_PLAIN_LAYOUT"
"""Environment variable that switches packs and automatic splitting of manifests off."""

_KIB = 1 << 10
_MIB = 1 << 20
_NO = ("", "0", "false", "no", "off")


def _at_least(smallest: int) -> Any:
    def check(_: object, attribute: Attribute[int], value: int) -> None:
        if value < smallest:
            raise InvalidInputError(f"PackConfig.{attribute.name} must be at least {smallest}, not {value}")

    return check


@frozen(kw_only=True)
class PackConfig:
    """How chunks are packed. It belongs to whoever opens a repository and is never stored in it.

    A pack is one object that holds many chunks. Every Icechunk reads it, since each chunk's ref
    says where in its object the chunk is.

    >>> import icechunk_core
    >>> packs = icechunk_core.PackConfig(max_chunk_bytes=64 * 1024)
    >>> repo = icechunk_core.Repository.create("memory:", packs=packs)
    >>> plain = repo.reopen(packs=False)

    Attributes
    ----------
    enabled
        Whether chunks are packed at all. Without packs each chunk is an object of its own.
    max_chunk_bytes
        Larger chunks are always objects of their own.
    target_bytes
        Size of a full pack; at least ``max_chunk_bytes``.
    buffered_bytes
        Full packs that wait for the storage, in bytes of memory per session. Writers wait while
        there is more.
    over_read_bytes
        Reads at the same time that lie close together become one request if that fetches at
        most so many bytes in vain.
    read_ahead_bytes
        Chunks that are read in the order in which they lie in an object are fetched ahead, up
        to so many bytes; 0 switches that off.
    """

    enabled: bool = True
    max_chunk_bytes: int = field(default=512 * _KIB, validator=_at_least(1))
    target_bytes: int = field(default=8 * _MIB, validator=_at_least(1))
    buffered_bytes: int = field(default=64 * _MIB, validator=_at_least(0))
    over_read_bytes: int = field(default=256 * _KIB, validator=_at_least(0))
    read_ahead_bytes: int = field(default=2 * _MIB, validator=_at_least(0))

    def __attrs_post_init__(self) -> None:
        if self.target_bytes < self.max_chunk_bytes:
            raise InvalidInputError(
                f"a pack of target_bytes={self.target_bytes} cannot hold a chunk of "
                f"max_chunk_bytes={self.max_chunk_bytes}; make the first at least as large"
            )


def plain_layout(environment: Mapping[str, str] | None = None) -> bool:
    """Whether the environment asks for objects laid out as plainly as possible (`PLAIN_LAYOUT_VARIABLE`)."""
    environment = os.environ if environment is None else environment
    return environment.get(PLAIN_LAYOUT_VARIABLE, "").strip().lower() not in _NO


def as_pack_config(packs: PackConfig | bool | None) -> PackConfig:
    """A configuration from what callers pass; ``None`` is the default, or what the environment says.

    Raises
    ------
    TypeError
        If it is something else.
    """
    if isinstance(packs, PackConfig):
        return packs
    if packs is None:
        packs = not plain_layout()
    if not isinstance(packs, bool):
        raise TypeError(f"packs is a PackConfig, True, False or None, not {type(packs).__name__}")
    return PackConfig() if packs else evolve(PackConfig(), enabled=False)
