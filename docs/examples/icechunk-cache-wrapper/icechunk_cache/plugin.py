"""What icechunk-core finds: the wrapper ``cached`` and its options."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from attrs import field, frozen, validators

from icechunk_core.contract import Storage, WrapperSpec, hookimpl

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SMALLEST = 16 << 20


def parse_size(value: int | str) -> int:
    """Bytes, from a number or a text such as ``20G``.

    >>> parse_size("20G") == parse_size("20 GiB") == 20 * 2**30
    True
    """
    if isinstance(value, int):
        return value
    match = re.fullmatch(r"(\d+)\s*([kmgt]?)(i?b)?", value.strip().lower())
    if match is None:
        raise ValueError(f"size: expected bytes, or a text such as 20G, not {value!r}")
    return int(match[1]) * _UNITS[match[2]]


def parse_path(value: str | Path) -> Path:
    """A path, with ``~`` for the home directory."""
    return Path(value).expanduser().absolute()


@frozen
class CacheConfig:
    """Where the cache is and how large it may become.

    Attributes
    ----------
    directory
        Processes and storages may share it.
    size
        Bytes that its files may take: a number or a text such as ``20G``, from 16 MiB on.
    """

    directory: Path = field(default=Path("~/.cache/icechunk-core"), converter=parse_path)
    size: int = field(default=10 << 30, converter=parse_size, validator=validators.ge(_SMALLEST))


def wrap(storage: Storage, config: CacheConfig) -> Storage:
    """The storage, with what never changes read from disk the second time."""
    from icechunk_cache._storage import cached

    return cached(storage, config)


@hookimpl
def icechunk_wrappers() -> Iterable[WrapperSpec]:
    """The wrapper."""
    return [WrapperSpec(name="cached", config=CacheConfig, wrap=wrap)]
