"""Node paths in the two orders that the format uses, and ranges of a subtree in raw byte order."""

from __future__ import annotations

__all__ = [
    "ancestors",
    "is_valid_path",
    "parent",
    "path_key",
    "segment_key",
    "subtree_bounds",
]


def path_key(path: str) -> bytes:
    """Sort key of nodes: raw UTF-8 bytes (FORMAT.md, section 9).

    >>> sorted(["/ab", "/a/b", "/a-b", "/a"], key=path_key)
    ['/a', '/a-b', '/a/b', '/ab']
    """
    return path.encode("utf-8", "surrogatepass")


def segment_key(path: str) -> tuple[bytes, ...]:
    """Sort key of moves: segment by segment (FORMAT.md, section 9).

    >>> sorted(["/ab", "/a/b", "/a-b", "/a"], key=segment_key)
    ['/a', '/a/b', '/a-b', '/ab']
    """
    return tuple(path_key(path).strip(b"/").split(b"/"))


def subtree_bounds(path: str) -> tuple[bytes, bytes]:
    """Half open range of sort keys of everything *below* ``path`` (the node itself is not in it).

    >>> subtree_bounds("/a")
    (b'/a/', b'/a0')
    """
    stem = b"" if path == "/" else path_key(path)
    # "/" alone sorts as b"/", equal to the lower bound of the root's range: the root is not below itself.
    return (b"/\x00" if not stem else stem + b"/", stem + b"0")


def parent(path: str) -> str:
    """Path of the enclosing group.

    >>> parent("/a/b"), parent("/a")
    ('/a', '/')
    """
    return path.rpartition("/")[0] or "/"


def ancestors(path: str) -> list[str]:
    """Paths of all enclosing groups, nearest first, the root last.

    >>> ancestors("/a/b/c")
    ['/a/b', '/a', '/']
    """
    found = []
    while path != "/":
        path = parent(path)
        found.append(path)
    return found


def is_valid_path(path: str) -> bool:
    """Whether this is an absolute node path (FORMAT.md, section 6.6).

    >>> is_valid_path("/a/b"), is_valid_path("/"), is_valid_path("/a//b"), is_valid_path("/a/..")
    (True, True, False, False)
    """
    if path == "/":
        return True
    return path.startswith("/") and all(part not in ("", ".", "..") for part in path[1:].split("/"))
