"""Errors that name the key that was asked for."""

from __future__ import annotations

import copy

from icechunk_core.errors import IcechunkError

__all__ = ["naming_key"]


def naming_key(error: IcechunkError, key: str) -> IcechunkError:
    """The same error with the key in its message.

    What failed below the store knows objects and locations; only the store knows the key.
    It is a copy, because several readers may be waiting for the same object and its error.
    """
    named = copy.copy(error)
    named.message = f"reading {key!r}: {error.message}"
    named.args = (named.message,)
    return named
