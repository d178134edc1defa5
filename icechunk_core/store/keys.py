"""Zarr store keys: which node or chunk a key names.

The layout is fixed (FORMAT.md, section 10)::

    zarr.json             metadata of the root node
    PATH/zarr.json        metadata of a group or array
    PATH/c/I/J            a chunk of an array, one non-negative integer per dimension
    PATH/c                the chunk of a 0-d array
    c/I/J, c              the same for an array at the root

A key has at most one reading: the coordinates follow the **last** segment ``c``, so nodes
may themselves be named ``c`` or ``0``. Numbers have one spelling (no sign, no leading
zero, ASCII digits only). One leading slash is tolerated.

This module runs for every chunk that is read or written; the common case of `parse_key`
takes less than a microsecond.
"""

from __future__ import annotations

from icechunk_core.errors import ErrorKind, InvalidInputError

__all__ = [
    "METADATA_NAME",
    "V2_NAMES",
    "chunk_key",
    "metadata_key",
    "node_path",
    "normalize_directory",
    "parse_chunk_directory",
    "parse_key",
]

METADATA_NAME = "zarr.json"
V2_NAMES = frozenset({".zarray", ".zgroup", ".zattrs", ".zmetadata"})

MAX_COORDINATE = 0xFFFF_FFFF
"""Coordinates are 32-bit in manifests."""

_SMALL = {str(number): number for number in range(10_000)}


def parse_key(key: str) -> tuple[str, tuple[int, ...] | None]:
    """The node path that a key is about, and the chunk's coordinates, or ``None`` for metadata.

    Raises
    ------
    InvalidInputError
        If no node or chunk can have that key.

    >>> parse_key("group/array/c/3/14")
    ('/group/array', (3, 14))
    >>> parse_key("scalar/c")
    ('/scalar', ())
    >>> parse_key("zarr.json")
    ('/', None)
    """
    full = key if key[:1] == "/" else "/" + key
    head, found, tail = full.rpartition("/c/")
    if found:
        texts = tail.split("/")
        try:
            if len(texts) == 2:  # without a list in between
                first, second = texts
                return head or "/", (_SMALL[first], _SMALL[second])
            return head or "/", tuple([_SMALL[text] for text in texts])
        except KeyError:
            pass
    return _parse_rare(key, full)


def _parse_rare(key: str, full: str) -> tuple[str, tuple[int, ...] | None]:
    """Metadata, 0-d chunks, large coordinates, and the reason why a key is wrong."""
    head, _, name = full.rpartition("/")
    if name == METADATA_NAME:
        return _checked_path(key, head), None
    if name == "c":
        return head or "/", ()
    if name in V2_NAMES:
        raise _invalid(key, "it belongs to zarr format 2, and only format 3 is stored")
    path, found, tail = full.rpartition("/c/")
    if not found:
        raise _invalid(
            key,
            "keys are PATH/zarr.json, and PATH/c/0/1 for chunks (chunk key encoding 'default' with "
            "separator '/')",
        )
    return path or "/", tuple([_coordinate(key, text) for text in tail.split("/")])


def _coordinate(key: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()) or (text[0] == "0" and len(text) > 1):
        raise _invalid(key, f"{text!r} is not a chunk coordinate (a decimal number without sign or zeros)")
    if len(text) > 10 or int(text) > MAX_COORDINATE:
        raise InvalidInputError(
            f"invalid key {key!r}: chunk coordinate {text[:24]} does not fit into 32 bits",
            kind=ErrorKind.INVALID_CHUNK_INDEX,
        )
    return int(text)


def _checked_path(key: str, path: str) -> str:
    """A node path, or why it cannot be one (FORMAT.md, section 6.6)."""
    if path == "":
        return "/"
    for segment in path.split("/")[1:]:
        if segment in ("", ".", ".."):
            raise _invalid(key, "paths have no empty, '.' or '..' segment")
    if not path.isascii():
        try:
            path.encode()
        except UnicodeEncodeError:
            raise _invalid(key, "it is not valid Unicode") from None
    return path


def _invalid(key: str, reason: str) -> InvalidInputError:
    shown = key if len(key) <= 200 else key[:200] + "…"
    return InvalidInputError(f"invalid key {shown!r}: {reason}", kind=ErrorKind.INVALID_KEY)


def metadata_key(path: str) -> str:
    """The key of a node's metadata.

    >>> metadata_key("/"), metadata_key("/group/array")
    ('zarr.json', 'group/array/zarr.json')
    """
    return METADATA_NAME if path == "/" else f"{path[1:]}/{METADATA_NAME}"


def chunk_key(path: str, coords: tuple[int, ...]) -> str:
    """The key of a chunk.

    >>> chunk_key("/group/array", (3, 14)), chunk_key("/", ()), chunk_key("/", (7,))
    ('group/array/c/3/14', 'c', 'c/7')
    """
    start = "c" if path == "/" else f"{path[1:]}/c"
    return "/".join([start, *map(str, coords)])


def normalize_directory(prefix: str) -> str:
    """A directory argument without slashes at its ends; the root is ``""``.

    >>> normalize_directory("/group/"), normalize_directory("/")
    ('group', '')
    """
    return prefix.strip("/")


def node_path(directory: str) -> str:
    """The node path of a normalized directory."""
    return "/" + directory


def parse_chunk_directory(directory: str) -> tuple[str, tuple[int, ...]] | None:
    """Array path and leading coordinates, if a normalized directory can hold chunks.

    >>> parse_chunk_directory("group/array/c/3")
    ('/group/array', (3,))
    >>> parse_chunk_directory("c")
    ('/', ())
    >>> parse_chunk_directory("group") is None
    True
    """
    try:
        path, coords = parse_key(directory)
    except InvalidInputError:
        return None
    return None if coords is None else (path, coords)
