"""CRC32C, as Google Cloud Storage writes it; left out where it would have to be computed in Python."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

import google_crc32c

from icechunk_core.contract import Buffer, pieces

__all__ = ["crc32c", "damaged"]


_COPIED = 64 << 10
"""Bytes that are copied at a time, so few that they stay in the processor's cache."""


def crc32c(data: Sequence[Buffer]) -> str | None:
    """The checksum of concatenated buffers, big-endian in base64."""
    if google_crc32c.implementation != "c":
        return None
    value = 0
    for each in data:
        if isinstance(each, bytes):
            value = google_crc32c.extend(value, each)
        else:
            for piece in pieces([each], _COPIED):  # the function takes nothing but bytes
                value = google_crc32c.extend(value, bytes(piece))
    return base64.b64encode(value.to_bytes(4, "big")).decode()


def damaged(body: Buffer, headers: Mapping[str, str]) -> bool:
    """Whether a whole object, as stored, has another checksum than its headers tell."""
    told, mark, value = headers.get("x-goog-hash", "").partition("crc32c=")
    if not mark or told or headers.get("x-goog-stored-content-encoding", "identity") != "identity":
        return False
    computed = crc32c([body])
    return computed is not None and value.split(",")[0].strip() != computed
