"""Array metadata of Zarr format 2 as format 3: the same chunks, described for another reader.

The bytes of chunks stay as they are, so every filter and compressor has to become the codec that
undoes it: format 3's own where it has one, else numcodecs' under ``numcodecs.<id>``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from zarr.abc.codec import ArrayArrayCodec, ArrayBytesCodec
from zarr.core.metadata.v2 import ArrayV2Metadata
from zarr.core.metadata.v3 import ArrayV3Metadata
from zarr.registry import get_codec_class

from icechunk_core.errors import ErrorKind, InvalidInputError

__all__ = ["array_metadata_from_v2"]

_DIMENSIONS = "_ARRAY_DIMENSIONS"
_SHUFFLES = {0: "noshuffle", 1: "shuffle", 2: "bitshuffle", -1: "shuffle"}


def array_metadata_from_v2(
    path: str, document: Mapping[str, Any], attributes: Mapping[str, Any]
) -> ArrayV3Metadata:
    """Metadata of format 3 for the chunks that a ``.zarray`` describes.

    Dimension names are taken from where xarray keeps them in format 2. A fill value also becomes the
    attribute ``_FillValue``, as xarray masks by the fill value in format 2 and by that attribute in 3.

    Parameters
    ----------
    path
        Of the array, for errors.
    document, attributes
        What ``.zarray`` and ``.zattrs`` hold.

    Raises
    ------
    InvalidInputError
        Kind ``INVALID_ARRAY_METADATA`` if the document is malformed, or a data type or codec has no
        counterpart in format 3.
    """
    try:
        return _converted(path, document, dict(attributes))
    except InvalidInputError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise _refused(
            path, f"its metadata of Zarr format 2 cannot be expressed in format 3: {error}"
        ) from error


def _refused(path: str, why: str) -> InvalidInputError:
    return InvalidInputError(f"array {path!r}: {why}", kind=ErrorKind.INVALID_ARRAY_METADATA)


def _converted(path: str, document: Mapping[str, Any], attributes: dict[str, Any]) -> ArrayV3Metadata:
    filters = [dict(each) for each in document.get("filters") or []]
    compressor = document.get("compressor")
    compressors = [compressor] if isinstance(compressor, Mapping) else list(compressor or [])
    # zarr's own reading of the old document: types, fill values. Codecs are looked at below.
    objects = document["dtype"] == "|O"
    old: Any = ArrayV2Metadata.from_dict(
        {
            **document,
            "chunks": [size or 1 for size in document["chunks"]],
            "filters": filters if objects else None,
            "compressor": None,
            "fill_value": _tidy(document.get("fill_value")),
            "attributes": {},
        }
    )
    data_type: Any = old.dtype
    codecs = [
        *_transposed(document.get("order", "C"), len(old.shape)),
        *_codecs(path, [*filters, *compressors], data_type.to_native_dtype()),
    ]
    fill = old.fill_value
    if fill is not None:
        _keep_as_mask(attributes, fill, data_type.to_native_dtype())
    else:
        fill = _undefined(data_type)
    names = attributes.pop(_DIMENSIONS, None)
    return ArrayV3Metadata.from_dict(
        {
            "zarr_format": 3,
            "node_type": "array",
            "shape": list(old.shape),
            "data_type": data_type.to_json(zarr_format=3),
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(old.chunks)}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": data_type.to_json_scalar(fill, zarr_format=3),
            "codecs": codecs,
            "attributes": attributes,
            "dimension_names": names if names is None else list(names),
        }
    )


def _tidy(fill: Any) -> Any:
    """Kerchunk writes NaN in several ways; format 2 knows one."""
    if isinstance(fill, float) and math.isnan(fill):
        return "NaN"
    return "NaN" if fill == "nan" else fill


def _undefined(data_type: Any) -> Any:
    """What a chunk that is not there reads as, where format 2 leaves that open."""
    native = data_type.to_native_dtype()
    return native.type(np.nan) if native.kind in "fc" else data_type.default_scalar()


def _keep_as_mask(attributes: dict[str, Any], fill: Any, dtype: np.dtype[Any]) -> None:
    if "_FillValue" in attributes or dtype.kind not in "SbiufcU":
        return
    from xarray.backends.zarr import FillValueCoder

    value = fill.item() if isinstance(fill, np.generic) else fill
    attributes["_FillValue"] = FillValueCoder.encode(value, dtype)


def _byte_order(path: str, dtype: np.dtype[Any]) -> str:
    orders = _orders(dtype)
    if len(orders) > 1:
        raise _refused(path, f"the fields of {dtype} have different byte orders; format 3 has one for all")
    return "big" if ">" in orders else "little"


def _orders(dtype: np.dtype[Any]) -> set[str]:
    base = dtype.base
    if base.fields is None:
        order = base.newbyteorder("=").str[0] if base.byteorder == "=" else base.byteorder
        return set() if order == "|" else {order}
    return {order for field in base.fields.values() for order in _orders(field[0])}


def _transposed(order: str, ndim: int) -> list[dict[str, Any]]:
    if order == "C" or ndim < 2:
        return []
    return [{"name": "transpose", "configuration": {"order": list(range(ndim))[::-1]}}]


def _codecs(path: str, configs: Sequence[Mapping[str, Any]], dtype: np.dtype[Any]) -> list[dict[str, Any]]:
    """The codecs for filters and compressors, in the order of encoding, around the one that makes bytes."""
    before: list[dict[str, Any]] = []
    serializer: dict[str, Any] | None = None
    after: list[dict[str, Any]] = []
    for config in configs:
        codec, kind = _codec(path, config, max(dtype.itemsize, 1))
        if issubclass(kind, ArrayBytesCodec):
            if serializer is not None or after:
                raise _refused(
                    path, f"its filters make bytes of arrays twice, the second time by {config['id']!r}"
                )
            serializer = codec
        elif issubclass(kind, ArrayArrayCodec):
            if serializer is not None or after:
                raise _refused(
                    path, f"its filter {config['id']!r} works on arrays, but comes after one on bytes"
                )
            before.append(codec)
        else:
            after.append(codec)
    plain = {"name": "bytes", "configuration": {"endian": _byte_order(path, dtype)}}
    return [*before, serializer or plain, *after]


def _codec(path: str, config: Mapping[str, Any], item_size: int) -> tuple[dict[str, Any], type[Any]]:
    """Format 3's own codec where it has one that undoes the same, else that of numcodecs."""
    settings = dict(config)
    identifier = str(settings.pop("id"))
    codec = _standard(identifier, settings, item_size)
    if codec is None:
        codec = {"name": f"numcodecs.{identifier.removeprefix('numcodecs.')}"}
        codec |= {"configuration": settings} if settings else {}
    try:
        return codec, get_codec_class(codec["name"])
    except KeyError as error:
        raise _refused(
            path,
            f"no installed package has the codec {codec['name']!r}, which is what its filter or compressor "
            f"{identifier!r} is called in Zarr format 3. Those of numcodecs come with zarr 3.1.3 and later",
        ) from error


def _standard(identifier: str, settings: Mapping[str, Any], item_size: int) -> dict[str, Any] | None:
    """The codec in format 3's specification or registry; decoding needs none of the settings."""
    if identifier in ("vlen-utf8", "vlen-bytes"):
        return {"name": identifier}
    if identifier == "gzip":
        return {"name": "gzip", "configuration": {"level": settings.get("level", 1)}}
    if identifier == "zstd":
        chosen = {"level": settings.get("level", 0), "checksum": bool(settings.get("checksum", False))}
        return {"name": "zstd", "configuration": chosen}
    if identifier == "blosc":
        chosen = {
            "cname": settings.get("cname", "lz4"),
            "clevel": settings.get("clevel", 5),
            "shuffle": _SHUFFLES[settings.get("shuffle", 1)],
            "typesize": item_size,
            "blocksize": settings.get("blocksize", 0),
        }
        return {"name": "blosc", "configuration": chosen}
    return None
