"""Mistakes with keys."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from urllib.parse import unquote

from attrs import evolve

from icechunk_conformance.broken.gallery import broken
from icechunk_conformance.reference import REFERENCE, Entry, ReferenceStorage
from icechunk_core.contract import Condition, KeySpace, ObjectInfo, Version
from icechunk_core.contract.keys import check_key
from icechunk_core.errors import Closed, InvalidKey, NotFound, StorageError


def parents(key: str) -> list[str]:
    """The folders that a key is in."""
    segments = key.split("/")
    return ["/".join(segments[:count]) for count in range(1, len(segments))]


class Renaming(ReferenceStorage):
    """Stores objects under other names than their keys."""

    def rename(self, key: str) -> str:
        """The name that a key is stored under."""
        return key

    def find(self, key: str) -> Entry:
        entry = super().find(self.rename(key))
        return Entry(entry.data, evolve(entry.info, key=key))

    def remove(self, key: str) -> None:
        super().remove(self.rename(key))

    async def write(
        self, key: str, data: bytes, condition: Condition, metadata: Mapping[str, str]
    ) -> Version:
        return await super().write(self.rename(key), data, condition, metadata)


@broken("no-dots", "C01 D01 G13 G14 G15 M01 M02 M06 M07 M08")
class NoDots(ReferenceStorage):
    """Refuses keys with a dot."""

    async def enter(self, *keys: str) -> None:
        await super().enter(*keys)
        for key in keys:
            if "." in key:
                raise InvalidKey("no dots", key=key)


@broken("ascii-only", "C02 C03 D04")
class AsciiOnly(ReferenceStorage):
    """Fails with an encoding error for keys in other scripts."""

    async def enter(self, *keys: str) -> None:
        await super().enter(*keys)
        for key in keys:
            key.encode("latin-1")


@broken("normalises", "C03")
class Normalises(Renaming):
    """Takes keys that look alike for the same (Unicode normalisation), as macOS does."""

    def rename(self, key: str) -> str:
        return unicodedata.normalize("NFC", key)


@broken("decodes-percent", "C01 C04")
class DecodesPercent(Renaming):
    """Decodes percent signs in keys."""

    def rename(self, key: str) -> str:
        return unquote(key)


@broken("trims-spaces", "C05")
class TrimsSpaces(Renaming):
    """Drops spaces and dots at the end of a segment, as Windows does."""

    def rename(self, key: str) -> str:
        return "/".join(segment.rstrip(" .") or segment for segment in key.split("/"))


@broken("normalises-paths", "C06")
class NormalisesPaths(Renaming):
    """Resolves ``..``, ``.`` and double slashes instead of refusing them."""

    def rename(self, key: str) -> str:
        parts: list[str] = []
        for part in key.split("/"):
            if part == "..":
                parts = parts[:-1]
            elif part not in ("", "."):
                parts.append(part)
        return "/".join(parts)

    async def enter(self, *keys: str) -> None:
        if self.closed:
            raise Closed("closed")
        for key in keys:
            check_key(self.rename(key) or "x")


@broken("backslash-is-slash", "C07")
class BackslashIsSlash(Renaming):
    """Takes a backslash for a slash."""

    def rename(self, key: str) -> str:
        return key.replace("\\", "/")


@broken("cuts-long-keys", "C08")
class CutsLongKeys(Renaming):
    """Cuts segments after 255 characters."""

    def rename(self, key: str) -> str:
        return "/".join(segment[:255] for segment in key.split("/"))


@broken("hidden-tree", "C09")
class HiddenTree(ReferenceStorage):
    """Declares a flat key space, and cannot hold an object below another."""

    def store(self, key: str, data: bytes, metadata: Mapping[str, str]) -> Version:
        if any(parent in self.place.objects for parent in parents(key)):
            raise InvalidKey("an object is in the way", key=key)
        return super().store(key, data, metadata)


@broken("overgrown-tree", "C10")
class OvergrownTree(ReferenceStorage):
    """Declares a tree key space; an object below another removes that one."""

    CAPABILITIES = evolve(REFERENCE, key_space=KeySpace.TREE)

    def store(self, key: str, data: bytes, metadata: Mapping[str, str]) -> Version:
        for parent in parents(key):
            self.remove(parent)
        return super().store(key, data, metadata)


@broken("folders-are-objects", "C11")
class FoldersAreObjects(ReferenceStorage):
    """Finds a folder as an empty object."""

    def find(self, key: str) -> Entry:
        try:
            return super().find(key)
        except NotFound:
            below = self.select(key + "/", None)
            if not below:
                raise
            return Entry(b"", evolve(below[0], key=key, size=0))


@broken("delete-is-recursive", "C09 C11")
class DeleteIsRecursive(ReferenceStorage):
    """Deleting a key deletes everything below it."""

    def remove(self, key: str) -> None:
        super().remove(key)
        for info in self.select(key + "/", None):
            super().remove(info.key)


@broken("ignores-case", "C01 C03 C04 C07 C12 C13 D04 M07")
class IgnoresCase(Renaming):
    """Takes capital and small letters for the same."""

    def rename(self, key: str) -> str:
        return key.lower()


@broken("hides-dotfiles", "C05 C13")
class HidesDotfiles(ReferenceStorage):
    """Leaves names that begin with a dot out of listings."""

    def select(self, prefix: str, start_after: str | None) -> list[ObjectInfo]:
        infos = super().select(prefix, start_after)
        return [info for info in infos if "/." not in info.key]


@broken("foreign-errors", "A03 A12 A13 A18 B10 B12 C11 E05 G06 G07 G09 G10 G11 I07 J04 J05 M02")
class ForeignErrors(ReferenceStorage):
    """Lets its own exceptions through: ``KeyError`` where the contract says `NotFound`."""

    def error(self, kind: type[StorageError], message: str, key: str) -> StorageError:
        if kind is NotFound:
            raise KeyError(key)
        return super().error(kind, message, key)
