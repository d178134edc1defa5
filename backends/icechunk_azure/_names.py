"""Names as the service takes them: of blobs, of metadata, and of access tiers.

Those of blobs and metadata are one-to-one, so that what was written comes back as it was.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

from icechunk_core.contract.errors import InvalidKey, Unsupported
from icechunk_core.contract.keys import check_key

__all__ = ["BlobNames", "access_tier", "decode_metadata", "encode_metadata", "is_folder"]

_LONGEST = 1024
_MOST_SEGMENTS = 254

# Control characters and what XML, in which listings come, cannot hold.
_FORBIDDEN = re.compile("[\\\\\x00-\x1f\x7f-\x9f\ufffe\uffff]")


class BlobNames:
    """Keys below a prefix of a container, from and to blob names."""

    def __init__(self, prefix: str) -> None:
        self.start = f"{prefix}/" if prefix else ""

    def name(self, key: str) -> str:
        """The blob name of a key.

        Raises
        ------
        InvalidKey
            If the contract or the service does not allow the key.
        """
        check_key(key)
        name = self.start + key
        found = _FORBIDDEN.search(key)
        if found:
            raise InvalidKey(
                f"object key {key!r} has the character {found.group()!r}, which Azure cannot keep", key=key
            )
        if key.endswith(".") or "./" in key:
            raise InvalidKey(
                f"object key {key!r} has a segment that ends in a dot, which Azure may drop", key=key
            )
        if 2 * len(name) > _LONGEST and _length(name) > _LONGEST:
            raise InvalidKey(
                f"the name has {_length(name)} characters, prefix included; Azure allows {_LONGEST}", key=key
            )
        if name.count("/") >= _MOST_SEGMENTS:
            raise InvalidKey(f"the name has more than {_MOST_SEGMENTS} segments", key=key)
        return name

    def may_begin(self, prefix: str) -> bool:
        """Whether a key can start with a text; the service refuses to look for some that cannot."""
        try:
            prefix.encode()
        except UnicodeEncodeError:
            return False
        return not prefix.startswith("/") and _FORBIDDEN.search(prefix) is None

    def key(self, name: str) -> str:
        """The key of a blob name from a listing below the prefix."""
        return name[len(self.start) :]


def _length(name: str) -> int:
    """Characters as the service counts them, in UTF-16."""
    return len(name.encode("utf-16-le")) // 2


# --- metadata ----------------------------------------------------------------

_ENCODED = "base64:"
_PLAIN_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?")


def encode_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata under names that are C# identifiers, with values that survive as HTTP headers.

    A hyphen becomes two underscores, and a leading digit gets one in front. A value that is empty
    or has spaces around it is kept as base64.

    >>> encode_metadata({"icechunkwriteid": "x", "a-b": "y", "1st": " "})
    {'icechunkwriteid': 'x', 'a__b': 'y', '_1st': 'base64:IA=='}
    """
    return {_encoded_name(name): _encoded_value(value) for name, value in metadata.items()}


def decode_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """What `encode_metadata` made, as it was given; names by other programs stay as they are.

    >>> decode_metadata({"a__b": "y", "_1st": "base64:IA==", "hdi_isfolder": "true"})
    {'a-b': 'y', '1st': ' ', 'hdi_isfolder': 'true'}
    """
    return {_decoded_name(name.lower()): _decoded_value(value) for name, value in metadata.items()}


def is_folder(metadata: Mapping[str, str]) -> bool:
    """Whether metadata is that of a folder, as accounts with a hierarchical namespace mark them."""
    return metadata.get("hdi_isfolder", "").lower() == "true"


def _encoded_name(name: str) -> str:
    text = name.replace("-", "__")
    return "_" + text if text[:1].isdigit() else text


def _decoded_name(name: str) -> str:
    text = name.replace("__", "-")
    return text[1:] if text[:1] == "_" and text[1:2].isdigit() else text


def _encoded_value(value: str) -> str:
    if _PLAIN_VALUE.fullmatch(value) and not value.startswith(_ENCODED):
        return value
    return _ENCODED + base64.b64encode(value.encode()).decode()


def _decoded_value(value: str) -> str:
    if not value.startswith(_ENCODED):
        return value
    try:
        return base64.b64decode(value[len(_ENCODED) :], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return value


# --- access tiers ------------------------------------------------------------

_TIERS = {name.lower(): name for name in ("Hot", "Cool", "Cold", "Archive")}


def access_tier(storage_class: str) -> str:
    """The tier that a storage class names, in any case.

    Raises
    ------
    Unsupported
        If there is none of that name.

    >>> access_tier("COOL")
    'Cool'
    """
    tier = _TIERS.get(storage_class.lower())
    if tier is None:
        raise Unsupported(f"Azure has no access tier {storage_class!r}; use Hot, Cool, Cold or Archive")
    return tier
