"""Who is behind the requests of a repository."""

from __future__ import annotations

import re
from typing import Any

from attrs import field, frozen

from icechunk_core.errors import InvalidInputError
from icechunk_core.repository.display import Described

__all__ = ["Attribution"]

_LONGEST = 128
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PRODUCT = re.compile(rf"{_TOKEN}(/{_TOKEN})?")
_FORBIDDEN = frozenset('()\\;="')


def _invalid(name: str, problem: str) -> InvalidInputError:
    return InvalidInputError(f"attribution: {name} {problem}")


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"attribution: {name} must be text, not {type(value).__name__}")
    if len(value.encode("utf-8", "surrogatepass")) > _LONGEST:
        raise _invalid(name, f"is longer than {_LONGEST} bytes")
    return value


def _product(_: Any, attribute: Any, value: Any) -> None:
    if value is not None and not _PRODUCT.fullmatch(_text(value, attribute.name)):
        raise _invalid(attribute.name, f"must be a product token, name or name/version, not {value!r}")


def _label(_: Any, attribute: Any, value: Any) -> None:
    if value is None:
        return
    for letter in _text(value, attribute.name):
        if not " " <= letter <= "~" or letter in _FORBIDDEN:
            raise _invalid(attribute.name, f"has the character {letter!r}, which is not allowed")


@frozen(repr=False, kw_only=True)
class Attribution(Described):
    """Labels for the requests of a repository, so that the owner of a server can tell them apart in its logs.

    They are for storages that talk to a server; memory and local directories make no requests.

    Parameters
    ----------
    client
        Which software asks: ``name`` or ``name/version``.
    workload
        What for: a job, a pipeline, a deployment.
    principal
        On whose behalf: a user, a tenant.

    Raises
    ------
    ValueError
        If a label is longer than 128 bytes or has characters that cannot be sent: ``workload`` and
        ``principal`` are printable ASCII without any of ``( ) \\ ; = "``.

    >>> Attribution(client="weatherlib/0.9", workload="nightly").client
    'weatherlib/0.9'
    """

    client: str | None = field(default=None, validator=_product)
    workload: str | None = field(default=None, validator=_label)
    principal: str | None = field(default=None, validator=_label)
