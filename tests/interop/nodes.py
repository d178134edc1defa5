"""Metadata documents of nodes."""

from __future__ import annotations

import json

__all__ = ["GROUP", "array_json"]

GROUP = b'{"zarr_format":3,"node_type":"group"}'


def array_json(shape: tuple[int, ...], chunks: tuple[int, ...]) -> bytes:
    """The ``zarr.json`` of an array of bytes without compression."""
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes"}],
        "attributes": {},
    }
    return json.dumps(document).encode()
