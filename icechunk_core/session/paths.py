"""Node paths as users pass them to a session."""

from __future__ import annotations

from icechunk_core.errors import ErrorKind, InvalidInputError

__all__ = ["absolute_path"]


def absolute_path(path: str) -> str:
    """A node path with single slashes, and none at its end.

    >>> absolute_path("/group//array/"), absolute_path("/")
    ('/group/array', '/')

    Raises
    ------
    InvalidInputError
        ``invalid-path``: it does not start with a slash, or has a segment ``.`` or ``..``.
    """
    if not path.startswith("/"):
        raise InvalidInputError(
            f"{path!r} is not a node path: paths start with a slash", kind=ErrorKind.INVALID_PATH
        )
    segments = [segment for segment in path.split("/") if segment]
    if "." in segments or ".." in segments:
        raise InvalidInputError(
            f"{path!r} is not a node path: no segment may be '.' or '..'", kind=ErrorKind.INVALID_PATH
        )
    return "/" + "/".join(segments)
