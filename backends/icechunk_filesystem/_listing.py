"""Listing: directories are read one by one, as far as the caller goes, in the order of the keys."""

from __future__ import annotations

import os
from collections.abc import Iterator

from icechunk_core.contract import ObjectInfo
from icechunk_filesystem._directories import Directories
from icechunk_filesystem._errors import translated
from icechunk_filesystem._paths import HIDDEN, KeyCodec
from icechunk_filesystem._reading import last_modified

__all__ = ["walk"]

_ABSENT = (FileNotFoundError, NotADirectoryError)


def walk(
    directories: Directories, codec: KeyCodec, prefix: str, start_after: str | None
) -> Iterator[ObjectInfo]:
    """Objects whose key starts with the text ``prefix``, after ``start_after``, in key order.

    Text compares by code points, which is the order of the UTF-8 bytes. A directory sorts
    as its name with a slash: ``a!`` comes before what is in ``a/``. Links, other special
    files and files that no key leads to are left out; what vanishes meanwhile, too.
    """
    folder, _, _ = prefix.rpartition("/")
    segments = folder.split("/") if folder else []
    if any(segment in ("", ".", "..") or "\0" in segment for segment in segments) or prefix.startswith("/"):
        return  # No key starts like that.
    if segments and segments[0].casefold() == HIDDEN:
        return
    try:
        relative = "/".join([codec.name(segment) for segment in segments])
    except UnicodeEncodeError:
        return
    try:
        if not directories.check(relative):
            return
    except OSError as error:
        raise translated(error, None) from error
    yield from _below(directories, codec, relative, f"{folder}/" if folder else "", prefix, start_after or "")


def _below(
    directories: Directories, codec: KeyCodec, relative: str, parent: str, prefix: str, after: str
) -> Iterator[ObjectInfo]:
    for key, entry in _entries(directories, codec, relative, parent):
        if key.endswith("/"):
            if key.startswith(prefix) or prefix.startswith(key):
                if after > key and not after.startswith(key):
                    continue
                below = f"{relative}/{entry.name}" if relative else entry.name
                yield from _below(directories, codec, below, key, prefix, after)
        elif key > after and key.startswith(prefix):
            try:
                status = entry.stat(follow_symlinks=False)
            except _ABSENT:
                continue
            except OSError as error:
                raise translated(error, key) from error
            yield ObjectInfo(key, status.st_size, None, last_modified(status.st_mtime_ns))


def _entries(
    directories: Directories, codec: KeyCodec, relative: str, parent: str
) -> list[tuple[str, os.DirEntry[str]]]:
    """Keys (those of directories end in a slash) and entries of one directory, in order."""
    found = []
    try:
        with os.scandir(directories.absolute(relative)) as entries:
            for entry in entries:
                segment = codec.segment(entry.name)
                if segment is None or (not relative and segment.casefold() == HIDDEN):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    found.append((f"{parent}{segment}/", entry))
                elif entry.is_file(follow_symlinks=False):
                    found.append((f"{parent}{segment}", entry))
    except _ABSENT:
        return []
    except OSError as error:
        raise translated(error, None) from error
    found.sort(key=_key)
    return found


def _key(item: tuple[str, os.DirEntry[str]]) -> str:
    return item[0]
