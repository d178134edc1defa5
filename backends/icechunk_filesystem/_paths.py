"""Keys and file names: the mapping of Icechunk's own local store (FORMAT.md, section 2).

Key segments become file names with every non-ASCII byte, control character and one of
``" # % * < > ? [ \\ ] ^ { | } ~ `` and the backtick percent-encoded, so that other
implementations find the same files.
"""

from __future__ import annotations

import os
import re

from icechunk_core.contract.errors import InvalidKey
from icechunk_core.contract.keys import check_key

__all__ = ["HIDDEN", "KeyCodec"]

HIDDEN = ".icechunk-core"
"""Name of the directory under the root that holds locks, write ids and temporary files."""

_ENCODED = frozenset(b'"#%*<>?[\\]^{|}~`\x7f') | frozenset(range(0x20)) | frozenset(range(0x80, 0x100))
_TABLE = tuple(f"%{byte:02X}" if byte in _ENCODED else chr(byte) for byte in range(256))

# Keys that are their own path: no segment starts with a dot, nothing to encode.
_SEGMENT = r"[A-Za-z0-9_\-=+,;:@!$&'() ][A-Za-z0-9_\-=+,;:@!$&'() .]*"
_PLAIN = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*").fullmatch
_PERCENT = re.compile("%([0-9A-F]{2})")

_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$"]
    + [f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"]
)


class KeyCodec:
    """Turns keys into paths relative to the root, and file names back into key segments.

    Parameters
    ----------
    windows
        Whether to refuse what Windows cannot hold or would silently change; by default
        what this machine is.
    verbatim
        Whether file names are the segments as they are: files that other programs named.
    """

    def __init__(self, windows: bool | None = None, *, verbatim: bool = False) -> None:
        self._windows = os.name == "nt" if windows is None else windows
        self._verbatim = verbatim

    def path(self, key: str) -> str:
        """The path of a key, relative to the root, with ``/`` between segments.

        Raises
        ------
        InvalidKey
            If the contract does not allow the key, it starts with the hidden directory,
            or Windows cannot hold it.

        >>> KeyCodec(windows=False).path("refs/tag.étiquette/ref.json")
        'refs/tag.%C3%A9tiquette/ref.json'
        """
        if not self._windows and _PLAIN(key):
            return key
        check_key(key)
        segments = key.split("/")
        if segments[0].casefold() == HIDDEN:
            raise InvalidKey(f"object key {key!r}: {HIDDEN!r} is reserved for bookkeeping", key=key)
        names = [self.name(segment) for segment in segments]
        if self._windows:
            for name in names:
                _check_windows(name, key)
        return "/".join(names)

    def name(self, segment: str) -> str:
        """The file name of one key segment; `UnicodeEncodeError` if it is not valid Unicode."""
        encoded = encode_segment(segment)
        return segment if self._verbatim else encoded

    def segment(self, name: str) -> str | None:
        """The key segment that a file name stands for; ``None`` if no key leads to that file.

        >>> KeyCodec().segment("tag.%C3%A9tiquette")
        'tag.étiquette'
        >>> KeyCodec().segment("tag.étiquette") is None
        True
        """
        if _PLAIN(name):
            return name
        if self._verbatim:
            return None if any("\ud800" <= char <= "\udfff" for char in name) else name
        if not name.isascii():
            return None
        if "%" not in name:
            return name if encode_segment(name) == name else None
        raw = _PERCENT.sub(lambda match: chr(int(match[1], 16)), name).encode("latin-1")
        try:
            segment = raw.decode("utf-8")
        except UnicodeDecodeError:
            return None
        if "/" in segment or "\0" in segment or encode_segment(segment) != name:
            return None
        return segment


def encode_segment(segment: str) -> str:
    """One key segment as a file name."""
    return "".join([_TABLE[byte] for byte in segment.encode()])


def _check_windows(name: str, key: str) -> None:
    if ":" in name:
        raise InvalidKey(f"object key {key!r} has a ':', which Windows cannot hold in a file name", key=key)
    if name.endswith((".", " ")):
        raise InvalidKey(
            f"object key {key!r} has a segment that ends in a dot or space, which Windows drops", key=key
        )
    if name.split(".", 1)[0].rstrip(" ").casefold() in _DEVICES:
        raise InvalidKey(f"object key {key!r} has a segment that is a device name on Windows", key=key)
