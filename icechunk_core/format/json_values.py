"""JSON values given by the caller, checked before they are stored."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

__all__ = ["json_object"]

_I64_MIN, _U64_MAX = -(2**63), 2**64 - 1
_MAX_DEPTH = 100


def json_object(values: Any) -> dict[str, Any]:
    """A copy of a dictionary that has nothing in it but JSON values.

    Tuples become lists, numbers of other types (NumPy's) become Python's, NaN and infinities
    become None, integers beyond 64 bits become floats.

    Raises
    ------
    TypeError
        If it holds anything else; the message says where.
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"metadata must be a dictionary, not {type(values).__name__}")
    result: dict[str, Any] = _json_value(values, "metadata", 0)
    return result


def _json_value(value: Any, where: str, depth: int) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if depth > _MAX_DEPTH:
        raise TypeError(f"{where} is nested more than {_MAX_DEPTH} levels deep")
    if isinstance(value, Integral):
        number = int(value)
        return number if _I64_MIN <= number <= _U64_MAX else _as_float(number)
    if isinstance(value, Real):
        return _finite(float(value))
    if isinstance(value, Mapping):
        return {
            _key(key, where): _json_value(item, f"{where}[{key!r}]", depth + 1) for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_json_value(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]
    raise TypeError(f"{where} is a {type(value).__name__}, which is no JSON value")


def _as_float(number: int) -> float | None:
    try:
        return float(number)
    except OverflowError:
        return None


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _key(key: Any, where: str) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{where} has the key {key!r}; keys must be text")
    return key
