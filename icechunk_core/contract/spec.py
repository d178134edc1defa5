"""`BackendSpec` and `WrapperSpec`: what a plugin declares about a backend, and about a wrapper."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult

from attrs import field, frozen

from icechunk_core.contract.hookspecs import API_VERSION
from icechunk_core.contract.types import Capabilities

if TYPE_CHECKING:
    from icechunk_core.contract.storage import Storage

__all__ = ["BackendSpec", "WrapperSpec"]


def _as_tuple(schemes: Iterable[str]) -> tuple[str, ...]:
    return tuple(schemes)


@frozen
class BackendSpec:
    """One kind of storage.

    Attributes
    ----------
    name
        Short name, e.g. ``filesystem``.
    schemes
        URL schemes that open it, e.g. ``("file",)``.
    config
        attrs class of its configuration. Fields that hold secrets are declared with
        ``repr=False``; fields whose name starts with an underscore are not options that a
        user can set. Instances compare by value and must pickle. A property ``location``, if there is one,
        is the URL or path for messages, without secrets. A field with ``metadata={"tuned_by": name}`` takes
        what a repository asks of its storage's client (`icechunk_core.contract.Tuning`).
    capabilities
        What every storage of this kind can do; the backend object's ``capabilities``
        hook may narrow or widen it for one that was opened.
    factory
        Makes the backend object from a ``config`` instance. No network I/O.
    options_from_url
        Turns a split URL into options of ``config`` (query parameters are merged by the core).
    install_hint
        Shown when a needed package is missing, e.g. ``pip install 'icechunk-core[s3]'``.
    api_version
        Version of the contract that the plugin was written for.
    """

    name: str
    schemes: tuple[str, ...] = field(converter=_as_tuple)
    config: type[Any]
    capabilities: Capabilities
    factory: Callable[[Any], object]
    options_from_url: Callable[[SplitResult], Mapping[str, Any]]
    install_hint: str = ""
    api_version: int = API_VERSION


@frozen
class WrapperSpec:
    """Something that can be put around any storage, by naming it in the storage's URL.

    ``name+scheme://...`` opens the storage and wraps it; options of the wrapper are written
    ``name.option``.

    Attributes
    ----------
    name
        What stands before the ``+``, e.g. ``encrypted``: lower-case letters, digits and hyphens.
    config
        attrs class of its configuration; as that of a `BackendSpec`.
    wrap
        Makes the wrapped storage from a storage and a ``config`` instance, usually with
        `Storage.with_hooks`. No network I/O. It is called again where the storage is unpickled.
    install_hint
        Shown when a needed package is missing.
    api_version
        Version of the contract that the plugin was written for.
    """

    name: str
    config: type[Any]
    wrap: Callable[[Storage, Any], Storage]
    install_hint: str = ""
    api_version: int = API_VERSION
