"""Checks of what callers pass to a repository."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from types import FrameType
from typing import Any

from icechunk_core.errors import ErrorKind, InvalidInputError
from icechunk_core.format import base32

__all__ = ["frames_of_ours", "ref_name", "snapshot_id_bytes", "warn_about_missing_credentials"]


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{what} must be text, not {type(value).__name__}")
    return value


def ref_name(value: Any, what: str = "the name of a branch") -> str:
    """A name of a branch or tag.

    Raises
    ------
    TypeError
        If it is no text.
    InvalidInputError
        ``invalid-ref-name``: it cannot be stored, which has UTF-8.
    """
    name = _text(value, what)
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"{name!r} cannot be {what}: it has half a surrogate pair in it", kind=ErrorKind.INVALID_REF_NAME
        ) from error
    return name


def snapshot_id_bytes(value: Any) -> bytes:
    """The 12 bytes of an id.

    Raises
    ------
    TypeError
        If it is no text.
    InvalidInputError
        ``invalid-snapshot-id``: it is no id.
    """
    return base32.decode(_text(value, "an id"))


_EXPLICIT = {
    **dict.fromkeys(("s3", "tigris"), "Credentials.S3(S3Credentials.FromEnv())"),
    **dict.fromkeys(("gs", "gcs"), "Credentials.Gcs(GcsCredentials.FromEnv())"),
    **dict.fromkeys(("az", "azure", "abfs"), "Credentials.Azure(AzureCredentials.FromEnv())"),
    "file": "Credentials.LocalFileSystemAccess()",
    **dict.fromkeys(("http", "https"), "Credentials.HttpAccess()"),
}


def warn_about_missing_credentials(authorized: Mapping[str, Any] | None) -> None:
    """Warn, as Icechunk does, about prefixes of virtual chunks that are authorised with ``None``.

    ``None`` stands for "no credentials needed" and for "whatever the environment has", which is not
    the same: whoever means one of them should say so.
    """
    for prefix, credentials in (authorized or {}).items():
        if credentials is None:
            explicit = _EXPLICIT.get(prefix.partition("://")[0], "{...}")
            warnings.warn(
                f"authorize_virtual_chunk_access: None for {prefix!r} is deprecated; say what you mean, "
                f"such as {{{prefix!r}: {explicit}}}",
                DeprecationWarning,
                stacklevel=frames_of_ours() + 1,
            )


def frames_of_ours() -> int:
    """How many calls of this package are between here and the caller's own code."""
    frame: FrameType | None = sys._getframe(1)
    count = 1
    while frame is not None and frame.f_globals.get("__name__", "").startswith("icechunk_core"):
        frame = frame.f_back
        count += 1
    return count - 1 if frame is not None else 1
