"""Spec 1 branch and tag pointers: small JSON files (FORMAT.md, section 2)."""

from __future__ import annotations

import json

from icechunk_core.errors import Corrupt, InvalidInputError
from icechunk_core.format import base32

__all__ = ["decode_ref", "encode_ref"]

_MAX_SIZE = 65_536


def encode_ref(snapshot_id: bytes) -> bytes:
    """The content of a pointer to a snapshot.

    >>> encode_ref(bytes(12))
    b'{"snapshot":"00000000000000000000"}'
    """
    return b'{"snapshot":"%s"}' % base32.encode(snapshot_id).encode("ascii")


def decode_ref(data: bytes, *, name: str) -> bytes:
    """The snapshot id that a pointer names.

    Parameters
    ----------
    data
        Content of a ``ref.json``.
    name
        What errors call the object, normally its key.

    Raises
    ------
    Corrupt
        It is no JSON object with a valid id under ``snapshot``.
    """
    if len(data) > _MAX_SIZE:
        raise Corrupt(f"a ref of {len(data)} bytes is too large to be one", object_name=name)
    try:
        pointer = json.loads(data)
        text = pointer["snapshot"]
        if not isinstance(text, str):
            raise TypeError("the snapshot id is no string")
        return base32.decode(text)
    except (ValueError, LookupError, TypeError, RecursionError, InvalidInputError) as error:
        raise Corrupt(f"not a valid ref: {error}", object_name=name) from error
